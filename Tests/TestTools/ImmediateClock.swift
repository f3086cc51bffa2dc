import Synchronization

/// A clock on which every sleep is over at once, and noted.
package final class ImmediateClock: Clock {
    private let state = Mutex((now: ContinuousClock().now, pauses: [Duration]()))
    private let whenPausing: @Sendable () -> Void

    /// - Parameter whenPausing: Called in each sleep.
    package init(whenPausing: @escaping @Sendable () -> Void = {}) { self.whenPausing = whenPausing }

    package var now: ContinuousClock.Instant { state.withLock { $0.now } }
    package var minimumResolution: Duration { .zero }
    /// The durations of all sleeps, in their order.
    package var pauses: [Duration] { state.withLock { $0.pauses } }

    package func sleep(until deadline: ContinuousClock.Instant, tolerance: Duration?) async throws {
        try Task.checkCancellation()
        state.withLock { state in
            state.pauses.append(state.now.duration(to: deadline))
            state.now = max(state.now, deadline)
        }
        whenPausing()
        // Others get their turn, as in a sleep.
        await Task.yield()
    }
}

/// A clock that is faster than others.
package struct HurriedClock: Clock {
    private let factor: Int

    /// - Parameter factor: The seconds that pass on it in one.
    package init(times factor: Int) { self.factor = factor }

    package var now: ContinuousClock.Instant { ContinuousClock.now }
    package var minimumResolution: Duration { .zero }
    package func sleep(until deadline: ContinuousClock.Instant, tolerance: Duration?) async throws {
        try await ContinuousClock().sleep(for: now.duration(to: deadline) / factor)
    }
}
