import BuildCacheCore
import Synchronization

/// Keeps a service that fails from being asked more and more: tries again cost, and successes pay.
///
/// - Source: AWS, "Retry behavior", standard mode; `Documentation/Spec/backends.md` §5.6.
final class RetryQuota: Sendable {
    static let cost = 5
    private static let capacity = 500
    private let left = Mutex(RetryQuota.capacity)

    /// Takes so much, if it is there.
    func take(_ cost: Int) -> Bool {
        left.withLock { left in
            guard left >= cost else { return false }
            left -= cost
            return true
        }
    }

    /// Pays for a success.
    func giveBack(_ amount: Int) { left.withLock { $0 = min(RetryQuota.capacity, $0 + amount) } }
}

/// Spaces requests to a service that throttles: `retry_mode=adaptive`.
///
/// The rate falls by a third when the service throttles, and then follows a cubic curve back up, flat around the rate at which it last
/// throttled. Until then nothing is slowed down.
///
/// - Source: AWS, "Retry behavior", adaptive mode; botocore `retries/adaptive.py`, `retries/throttling.py`.
struct AdaptiveRate: Sendable {
    private static let beta = 0.7
    private static let scale = 0.4
    private static let slowest = 0.5
    private static let smoothing = 0.8
    /// Answers are counted in half seconds.
    private static let bucket = 0.5

    private var isThrottling = false
    /// Requests per second that may be sent.
    private(set) var rate = AdaptiveRate.slowest
    private var tokens = 0.0
    private var filledAt = 0.0
    /// Requests per second that were answered.
    private var measured = 0.0
    private var countedAt = 0.0
    private var count = 0.0
    private var lastMaximum = 0.0
    private var throttledAt = 0.0

    /// Takes a turn at this time, in seconds; gives the seconds until it comes.
    mutating func turn(at now: Double) -> Double {
        guard isThrottling else { return 0 }
        fill(at: now)
        tokens -= 1
        return tokens >= 0 ? 0 : -tokens / rate
    }

    /// Takes note of an answer.
    mutating func answered(throttled: Bool, at now: Double) {
        measure(at: now)
        var next: Double
        if throttled {
            let reached = isThrottling ? min(measured, rate) : measured
            lastMaximum = reached
            throttledAt = now
            next = reached * AdaptiveRate.beta
            isThrottling = true
        } else {
            guard isThrottling else { return }
            let flat = cubeRoot(lastMaximum * (1 - AdaptiveRate.beta) / AdaptiveRate.scale)
            let away = now - throttledAt - flat
            next = AdaptiveRate.scale * away * away * away + lastMaximum
        }
        next = min(next, 2 * measured)
        fill(at: now)
        rate = max(next, AdaptiveRate.slowest)
        tokens = min(tokens, max(rate, 1))
    }

    private mutating func fill(at now: Double) {
        if filledAt > 0 { tokens = min(max(rate, 1), tokens + max(0, now - filledAt) * rate) }
        filledAt = now
    }

    private mutating func measure(at now: Double) {
        let slot = (now / AdaptiveRate.bucket).rounded(.down) * AdaptiveRate.bucket
        count += 1
        guard slot > countedAt else { return }
        let current = count / (slot - countedAt)
        measured = current * AdaptiveRate.smoothing + measured * (1 - AdaptiveRate.smoothing)
        count = 0
        countedAt = slot
    }

    /// By Newton's way, which needs no library; for 0 and more.
    private func cubeRoot(_ value: Double) -> Double {
        guard value > 0 else { return 0 }
        var root = max(1, value / 3)
        for _ in 0..<60 { root -= (root * root * root - value) / (3 * root * root) }
        return root
    }
}

/// An ``AdaptiveRate`` that all requests to a service share.
final class Pace: Sendable {
    private let rate = Mutex(AdaptiveRate())
    private let started = ContinuousClock.now

    private var seconds: Double {
        let elapsed = (ContinuousClock.now - started).components
        return Double(elapsed.seconds) + Double(elapsed.attoseconds) / 1e18
    }

    /// Waits for a turn.
    func wait(_ clock: any Clock<Duration>) async throws {
        let pause = rate.withLock { $0.turn(at: seconds) }
        if pause > 0 { try await clock.sleep(for: .seconds(pause)) }
    }

    func answered(throttled: Bool) { rate.withLock { $0.answered(throttled: throttled, at: seconds) } }
}
