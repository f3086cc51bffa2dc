import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import Synchronization
import TestTools
import Testing

@Suite("An operation that fails")
struct RetriesTests {
    private static let passing = CacheError(.unavailable, "not now", retry: .worthwhile)

    private func pauses(_ policy: RetryPolicy, jitter: Double = 1, _ errors: [CacheError]) async -> (
        [Duration], CacheError?
    ) {
        let clock = ImmediateClock()
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
        let clock = ImmediateClock()
        let policy = RetryPolicy(attempts: 2, firstPause: .seconds(1), longestPause: .seconds(5), budget: .seconds(60))
        let retries = Retries(policy, clock: clock) { 1 }
        for _ in 0..<5 {
            try await retries.pause(after: Self.passing)
            retries.madeProgress()
        }
        #expect(clock.pauses == Array(repeating: .seconds(1), count: 5))
    }

    @Test("pauses within a budget that several operations share, and counts what they pause at the same time once")
    func sharesBudget() async throws {
        let clock = ManualClock()
        let policy = RetryPolicy(attempts: 9, firstPause: .seconds(4), longestPause: .seconds(4), budget: .seconds(1))
        let pauses = PauseBudget(.seconds(10), clock: clock)
        let retries = (0..<3).map { _ in Retries(policy, clock: clock, pauses: pauses) { 1 } }
        for _ in 0..<2 {
            async let first: Void = retries[0].pause(after: Self.passing)
            async let second: Void = retries[1].pause(after: Self.passing)
            await clock.sleepers(2)
            await clock.step()
            _ = try await (first, second)
        }
        #expect(pauses.spent == .seconds(8))
        let error = await #expect(throws: CacheError.self) { try await retries[2].pause(after: Self.passing) }
        #expect(error?.retry == .exhausted)
        #expect(error?.message == "not now; paused 8.0 seconds of 10.0 seconds that may be paused altogether")
    }

    @Test("tells the observer of its task how long it pauses, and why")
    func tellsOfPauses() async throws {
        let told = Mutex<[String]>([])
        let retries = Retries(
            RetryPolicy(attempts: 3, firstPause: .seconds(1), longestPause: .seconds(5)), clock: ImmediateClock()
        ) { 1 }
        let observer = PauseObserver { duration, reason in told.withLock { $0.append("\(duration): \(reason)") } }
        try await PauseObserver.$current.withValue(observer) { try await retries.pause(after: Self.passing) }
        try await retries.pause(after: Self.passing)
        #expect(told.withLock { $0 } == ["1.0 seconds: not now"])
    }

    @Test("fails at once with a single try, and does not count it")
    func single() async throws {
        let clock = ImmediateClock()
        let policy = RetryPolicy(attempts: 2, firstPause: .seconds(1), longestPause: .seconds(5))
        let retries = Retries(policy, clock: clock) { 1 }
        let error = await #expect(throws: CacheError.self) { try await retries.once.pause(after: Self.passing) }
        #expect(error?.retry == .worthwhile && error?.message == "not now")
        #expect(!retries.hasFailed)
        try await retries.pause(after: Self.passing)
        #expect(retries.hasFailed)
    }
}
