import BuildCacheBytes
package import BuildCacheCore
import Synchronization

/// When a request that failed is sent again.
///
/// What may pass is tried again: 408, 429, 5xx, connections that break or stall. Pauses double, with jitter, so that many clients
/// that failed together do not come back together. A server's `Retry-After` is kept to.
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
        var failures = 0
        var paused = Duration.zero
    }

    private let policy: RetryPolicy
    private let clock: any Clock<Duration>
    private let jitter: @Sendable () -> Double
    private let state = Mutex(State())

    /// - Parameter jitter: A number from 0 to 1 for each pause, random outside of tests.
    package init(
        _ policy: RetryPolicy, clock: any Clock<Duration>, jitter: @escaping @Sendable () -> Double
    ) {
        self.policy = policy
        self.clock = clock
        self.jitter = jitter
    }

    /// Says that bytes arrived where they should: the next failure is the first one again.
    package func madeProgress() { state.withLock { $0.failures = 0 } }

    /// Waits before the next try.
    ///
    /// - Throws: `error` itself if another try is not worth it; the same with `.exhausted` if there were enough; `CancellationError`.
    package func pause(after error: CacheError) async throws {
        let wished: Duration
        switch error.retry {
        case .never, .exhausted: throw error
        case .worthwhile: wished = .zero
        case .notBefore(let duration): wished = duration
        }
        let pause = state.withLock { state -> Duration? in
            state.failures += 1
            guard state.failures < policy.attempts else { return nil }
            let pause = max(wished, backoff(state.failures))
            guard state.paused + pause <= policy.budget else { return nil }
            state.paused += pause
            return pause
        }
        guard let pause else {
            var last = error
            last.retry = .exhausted
            let failures = state.withLock { $0.failures }
            if wished > policy.longestPause {
                last.message += "; the server wants no other try for \(wished), which is longer than this waits"
            } else if failures > 1 {
                last.message += "; tried \(failures) times"
            }
            throw last
        }
        TrafficMeter.current?.countRetry()
        try await clock.sleep(for: pause)
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
