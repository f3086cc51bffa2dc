import BuildCacheBytes
import Synchronization

/// The pauses of one operation, within a limit on all of them together.
///
/// The tasks of an operation may pause at the same time: such time counts once.
package final class PauseBudget: Sendable {
    private struct State {
        var ended = Duration.zero
        /// Pauses that go on, and the time at which the first of them began.
        var running = 0
        var since = Duration.zero

        func spent(_ now: Duration) -> Duration { running > 0 ? ended + (now - since) : ended }
    }

    /// The limit.
    package let limit: Duration
    private let elapsed: @Sendable () -> Duration
    private let sleep: @Sendable (Duration) async throws -> Void
    private let state = Mutex(State())

    package init(_ limit: Duration, clock: some Clock<Duration>) {
        self.limit = limit
        let start = clock.now
        elapsed = { start.duration(to: clock.now) }
        sleep = { try await clock.sleep(for: $0) }
    }

    /// The time that was paused so far.
    package var spent: Duration { state.withLock { [now = elapsed()] in $0.spent(now) } }

    /// Pauses, and reports that to the ``PauseObserver`` of this task.
    ///
    /// - Parameter reason: The event or condition that is waited for, in one line.
    /// - Returns: `false`, at once, if the pause does not fit into the limit.
    /// - Throws: `CancellationError`.
    package func pause(for duration: Duration, because reason: String) async throws -> Bool {
        let now = elapsed()
        let fits = state.withLock { state in
            guard state.spent(now) + duration <= limit else { return false }
            if state.running == 0 { state.since = now }
            state.running += 1
            return true
        }
        guard fits else { return false }
        defer {
            let now = elapsed()
            state.withLock { state in
                state.running -= 1
                if state.running == 0 { state.ended += now - state.since }
            }
        }
        PauseObserver.current?.report(duration, reason)
        try await sleep(duration)
        return true
    }
}
