import Synchronization

/// A clock on which every sleep is over at once, and which has moved on by then.
package final class ImmediateClock: Clock {
    private let time = Mutex(ContinuousClock().now)

    package init() {}

    package var now: ContinuousClock.Instant { time.withLock { $0 } }
    package var minimumResolution: Duration { .zero }
    package func sleep(until deadline: ContinuousClock.Instant, tolerance: Duration?) async throws {
        try Task.checkCancellation()
        time.withLock { $0 = max($0, deadline) }
    }
}
