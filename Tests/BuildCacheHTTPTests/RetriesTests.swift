import BuildCacheCore
import BuildCacheHTTP
import TestTools
import Testing

@Suite("An operation that fails")
struct RetriesTests {
    private static let passing = CacheError(.unavailable, "not now", retry: .worthwhile)

    private func pauses(_ policy: RetryPolicy, jitter: Double = 1, _ errors: [CacheError]) async -> (
        [Duration], CacheError?
    ) {
        let clock = NotingClock()
        let retries = Retries(policy, clock: clock) { jitter }
        for error in errors {
            do { try await retries.pause(after: error) } catch { return (clock.pauses, error as? CacheError) }
        }
        return (clock.pauses, nil)
    }

    @Test("pauses twice as long each time, up to the longest pause")
    func doubles() async {
        let policy = RetryPolicy(attempts: 6, firstPause: .seconds(1), longestPause: .seconds(5), budget: .seconds(60))
        let (pauses, error) = await pauses(policy, Array(repeating: Self.passing, count: 5))
        #expect(pauses == [.seconds(1), .seconds(2), .seconds(4), .seconds(5), .seconds(5)])
        #expect(error == nil)
    }

    @Test("pauses half as long at the least, by chance")
    func jitters() async {
        let policy = RetryPolicy(attempts: 3, firstPause: .seconds(1), longestPause: .seconds(5), budget: .seconds(60))
        let (pauses, _) = await pauses(policy, jitter: 0, [Self.passing, Self.passing])
        #expect(pauses == [.milliseconds(500), .seconds(1)])
    }

    @Test("gives up after its attempts, and says how many they were")
    func givesUp() async {
        let policy = RetryPolicy(attempts: 3, firstPause: .seconds(1), longestPause: .seconds(5), budget: .seconds(60))
        let (pauses, error) = await pauses(policy, Array(repeating: Self.passing, count: 9))
        #expect(pauses.count == 2)
        #expect(error?.retry == .exhausted)
        #expect(error?.message == "not now; tried 3 times")
    }

    @Test("waits as long as the server asks, and not longer than its budget")
    func keepsToRetryAfter() async {
        let policy = RetryPolicy(attempts: 9, firstPause: .seconds(1), longestPause: .seconds(5), budget: .seconds(60))
        let (pauses, error) = await pauses(
            policy,
            [
                CacheError(.unavailable, "later", retry: .notBefore(.seconds(30))),
                CacheError(.unavailable, "much later", retry: .notBefore(.seconds(31))),
            ])
        #expect(pauses == [.seconds(30)])
        #expect(error?.message.contains("the server wants no other try for") == true)
    }

    @Test("fails at once where another try changes nothing")
    func neverRetries() async {
        let (pauses, error) = await pauses(RetryPolicy(), [CacheError(.denied, "no")])
        #expect(pauses.isEmpty)
        #expect(error?.code == .denied && error?.message == "no" && error?.retry == .never)
    }

    @Test("starts over when something moved forward")
    func forgetsFailures() async throws {
        let clock = NotingClock()
        let policy = RetryPolicy(attempts: 2, firstPause: .seconds(1), longestPause: .seconds(5), budget: .seconds(60))
        let retries = Retries(policy, clock: clock) { 1 }
        for _ in 0..<5 {
            try await retries.pause(after: Self.passing)
            retries.madeProgress()
        }
        #expect(clock.pauses == Array(repeating: .seconds(1), count: 5))
    }
}
