import BuildCacheBytes
package import BuildCacheCore
import Synchronization

/// The rules for sending a request again that failed.
///
/// Failures that may pass are tried again: 408, 429, 5xx, connections that break or stall. Pauses double, with jitter, so that many clients
/// that failed together do not come back together. A server's `Retry-After` is kept to. A host that refuses connections is tried four times at
/// most, see ``ConnectionRefused``.
public struct RetryPolicy: Hashable, Sendable {
    /// Tries in a row that move nothing forward before an operation gives up, 1 or more.
    ///
    /// Default 6. A transfer that got further counts from the beginning.
    public var attempts: Int
    /// The pause after the first failure.
    ///
    /// Default 200 milliseconds; each later one is twice as long.
    public var firstPause: Duration
    /// The longest pause, but for what a server asks for.
    ///
    /// Default 20 seconds.
    public var longestPause: Duration
    /// All pauses of one operation together.
    ///
    /// Default 2 minutes. An operation is what a caller asks for, as one blob that is stored, with all its requests.
    public var budget: Duration

    /// Makes a policy.
    public init(
        attempts: Int = 6, firstPause: Duration = .milliseconds(200), longestPause: Duration = .seconds(20),
        budget: Duration = .seconds(120)
    ) {
        self.attempts = attempts
        self.firstPause = firstPause
        self.longestPause = longestPause
        self.budget = budget
    }

    /// Every request is sent once.
    public static let none = RetryPolicy(attempts: 1)
}

/// The tries of one operation, whatever requests it is made of.
package final class Retries: Sendable {
    private struct State {
        /// Failures in a row.
        var failures = 0
        /// Those of ``failures`` at which no server was found at all.
        var refusals = 0
        var hasFailed = false
    }

    /// Tries at a port that refuses connections: a server that is just starting is there within a second or two.
    private static let refusedAttempts = 4

    private let policy: RetryPolicy
    private let jitter: @Sendable () -> Double
    private let pauses: PauseBudget
    private let isSingle: Bool
    private let state = Mutex(State())

    /// - Parameters:
    ///   - jitter: A number from 0 to 1 for each pause, random outside of tests.
    ///   - pauses: The pauses of a larger operation, which those of this one are part of; `nil` for `policy.budget`.
    package convenience init(
        _ policy: RetryPolicy, clock: any Clock<Duration>, pauses: PauseBudget? = nil,
        jitter: @escaping @Sendable () -> Double
    ) {
        self.init(policy, pauses ?? PauseBudget(policy.budget, clock: clock), isSingle: false, jitter)
    }

    private init(
        _ policy: RetryPolicy, _ pauses: PauseBudget, isSingle: Bool, _ jitter: @escaping @Sendable () -> Double
    ) {
        self.policy = policy
        self.pauses = pauses
        self.isSingle = isSingle
        self.jitter = jitter
    }

    /// A single try for requests of the same operation, whose failure is thrown as it is and not counted.
    package var once: Retries { Retries(policy, pauses, isSingle: true, jitter) }

    /// Whether any try failed so far, which may have done what it was meant to do.
    package var hasFailed: Bool { state.withLock { $0.hasFailed } }

    /// Notes that bytes arrived where they should: the next failure is the first one again.
    package func madeProgress() {
        state.withLock { state in
            state.failures = 0
            state.refusals = 0
        }
    }

    /// Runs `body` until it succeeds, with a pause after each failure that another attempt may mend.
    ///
    /// - Throws: As ``pause(after:)``; other errors of `body` at once.
    package func retry<Value>(_ body: () async throws -> Value) async throws -> Value {
        while true {
            do { return try await body() } catch let error as CacheError { try await pause(after: error) }
        }
    }

    /// Waits before the next try, and reports that to the ``PauseObserver`` of this task.
    ///
    /// - Throws: `error` itself if another try is not worth it; the same with `.exhausted` if there were enough; `CancellationError`.
    package func pause(after error: CacheError) async throws {
        let wished: Duration
        switch error.retry {
        case .never, .exhausted: throw error
        case .worthwhile: wished = .zero
        case .notBefore(let duration): wished = duration
        }
        if isSingle { throw error }
        let (failures, mayRetry) = state.withLock { state in
            state.hasFailed = true
            state.failures += 1
            state.refusals = error.cause is ConnectionRefused ? state.refusals + 1 : 0
            return (state.failures, state.failures < policy.attempts && state.refusals < Retries.refusedAttempts)
        }
        let tried = failures > 1 ? "; tried \(failures) times" : ""
        var error = error
        if failures > 1 { error.context.attempts = failures }
        guard mayRetry else { throw error.exhausted(tried) }
        let pause = max(wished, backoff(failures))
        TrafficMeter.current?.countRetry()
        if try await pauses.pause(for: pause, because: error.message) { return }
        throw error.exhausted(
            wished > policy.longestPause
                ? "\(tried); the server wants no other try for \(wished), which is longer than this waits"
                : "\(tried); paused \(pauses.spent) of \(pauses.limit) that may be paused altogether")
    }

    /// Half of the doubled pause for certain, the other half by chance.
    private func backoff(_ failure: Int) -> Duration {
        var pause = min(policy.firstPause, policy.longestPause)
        // Doubled one by one, because the product could be more than a duration holds.
        for _ in 1..<max(1, min(failure, 30)) where pause < policy.longestPause {
            pause = pause > policy.longestPause / 2 ? policy.longestPause : pause * 2
        }
        return pause * (0.5 + 0.5 * jitter())
    }
}

extension CacheError {
    fileprivate func exhausted(_ addition: String) -> CacheError {
        var last = self
        last.retry = .exhausted
        last.message += addition
        return last
    }
}
