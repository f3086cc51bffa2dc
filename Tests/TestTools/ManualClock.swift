import Synchronization

/// A clock on which time passes only when a test says so.
package final class ManualClock: Clock, Sendable {
    /// A time since the clock was made.
    package struct Instant: InstantProtocol {
        package var offset: Duration
        package init(offset: Duration) { self.offset = offset }
        package func advanced(by duration: Duration) -> Instant { Instant(offset: offset + duration) }
        package func duration(to other: Instant) -> Duration { other.offset - offset }
        package static func < (left: Instant, right: Instant) -> Bool { left.offset < right.offset }
    }
    private struct State {
        var now = Instant(offset: .zero)
        var runs = false
        var lastNumber = 0
        var sleepers: [Int: (deadline: Instant, continuation: CheckedContinuation<Void, any Error>)] = [:]
    }
    private let state = Mutex(State())

    package init() {}

    package var now: Instant { state.withLock { $0.now } }
    package var minimumResolution: Duration { .nanoseconds(1) }

    /// Sets whether every sleep ends at once, including those that are going on.
    package func setRunning(_ runs: Bool) {
        state.withLock { $0.runs = runs }
        if runs { wake() }
    }

    /// Returns when a task sleeps.
    package func sleeper() async { await sleepers(1) }

    /// Returns when as many tasks sleep.
    package func sleepers(_ count: Int) async {
        while state.withLock({ $0.sleepers.count < count }), !Task.isCancelled { await Task.yield() }
    }

    /// Waits until a task sleeps, then lets the time of all sleeps pass.
    package func step() async {
        await sleeper()
        wake()
    }

    private func wake() {
        let sleepers = state.withLock { state in
            defer { state.sleepers = [:] }
            state.now = state.sleepers.values.map(\.deadline).reduce(state.now) { max($0, $1) }
            return state.sleepers.values.map(\.continuation)
        }
        for sleeper in sleepers { sleeper.resume() }
    }

    package func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let isOver = state.withLock { state in
                    if state.runs {
                        state.now = max(state.now, deadline)
                    } else {
                        state.sleepers[number] = (deadline, continuation)
                    }
                    return state.runs
                }
                if isOver { continuation.resume() } else if Task.isCancelled { cancel(number) }
            }
        } onCancel: {
            cancel(number)
        }
        try Task.checkCancellation()
    }

    private func cancel(_ number: Int) {
        state.withLock { $0.sleepers.removeValue(forKey: number) }?.continuation.resume(throwing: CancellationError())
    }
}
