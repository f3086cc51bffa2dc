import Synchronization

/// So much may be taken at once, of bytes or of turns; who wants more waits, in the order they came.
package final class Budget: Sendable {
    private struct Waiter {
        let number: Int
        let amount: Int
        let continuation: CheckedContinuation<Void, any Error>
    }
    private struct State {
        var held = 0
        var waiting: [Waiter] = []
        var cancelled: Set<Int> = []
        var lastNumber = 0
    }

    private let limit: Int
    private let state = Mutex(State())

    package init(_ limit: Int) { self.limit = limit }

    /// How many wait.
    package var waiting: Int { state.withLock { $0.waiting.count } }

    /// Returns when there is room for so much; more than there ever is is taken when nobody holds any.
    package func acquire(_ amount: Int) async throws {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        defer { state.withLock { _ = $0.cancelled.remove(number) } }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let result = state.withLock { state -> Result<Void, any Error>? in
                    if state.cancelled.contains(number) { return .failure(CancellationError()) }
                    if state.waiting.isEmpty, hasRoom(state, amount) {
                        state.held += amount
                        return .success(())
                    }
                    state.waiting.append(Waiter(number: number, amount: amount, continuation: continuation))
                    return nil
                }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            let left = state.withLock { state -> Waiter? in
                state.cancelled.insert(number)
                guard let index = state.waiting.firstIndex(where: { $0.number == number }) else { return nil }
                return state.waiting.remove(at: index)
            }
            left?.continuation.resume(throwing: CancellationError())
            // Who stood behind it may need less.
            release(0)
        }
    }

    /// Gives so much back.
    package func release(_ amount: Int) {
        let next = state.withLock { state in
            state.held -= amount
            var next: [Waiter] = []
            while let first = state.waiting.first, hasRoom(state, first.amount) {
                state.held += first.amount
                next.append(state.waiting.removeFirst())
            }
            return next
        }
        for waiter in next { waiter.continuation.resume() }
    }

    private func hasRoom(_ state: borrowing State, _ amount: Int) -> Bool {
        state.held == 0 || state.held + amount <= limit
    }
}
