import Synchronization

/// Lets tasks wait until something has changed since they looked.
final class Changes: Sendable {
    private struct State {
        var count = 0
        var lastWaiter = 0
        var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
        // Waiters that were cancelled before they could wait.
        var cancelled: Set<Int> = []
    }
    private let state = Mutex(State())

    /// How many changes there were.
    var count: Int { state.withLock { $0.count } }

    /// Says that something has changed.
    func happened() {
        let waiters = state.withLock { state in
            state.count += 1
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Returns once there were more than `count` changes.
    ///
    /// - Throws: `CancellationError` if cancelled.
    func next(after count: Int) async throws {
        let number = state.withLock { state in
            state.lastWaiter += 1
            return state.lastWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.count > count || state.cancelled.contains(number) { return true }
                    state.waiters[number] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                state.cancelled.insert(number)
                return state.waiters.removeValue(forKey: number)
            }
            waiter?.resume()
        }
        state.withLock { _ = $0.cancelled.remove(number) }
        try Task.checkCancellation()
    }
}
