import Synchronization

/// So many bytes may be held at once; who wants more waits for its turn, in the order they came.
final class ByteBudget: Sendable {
    private struct Waiter {
        let number: Int
        let bytes: Int
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

    init(bytes: Int) { limit = bytes }

    /// How many wait.
    var waiting: Int { state.withLock { $0.waiting.count } }

    /// Returns when there is room for so many bytes; more than there ever is are taken when nobody holds any.
    func acquire(_ bytes: Int) async throws {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        defer { state.withLock { _ = $0.cancelled.remove(number) } }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let result = state.withLock { state -> Result<Void, any Error>? in
                    if state.cancelled.contains(number) { return .failure(CancellationError()) }
                    if state.waiting.isEmpty, hasRoom(state, bytes) {
                        state.held += bytes
                        return .success(())
                    }
                    state.waiting.append(Waiter(number: number, bytes: bytes, continuation: continuation))
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

    /// Gives bytes back.
    func release(_ bytes: Int) {
        let next = state.withLock { state in
            state.held -= bytes
            var next: [Waiter] = []
            while let first = state.waiting.first, hasRoom(state, first.bytes) {
                state.held += first.bytes
                next.append(state.waiting.removeFirst())
            }
            return next
        }
        for waiter in next { waiter.continuation.resume() }
    }

    private func hasRoom(_ state: borrowing State, _ bytes: Int) -> Bool {
        state.held == 0 || state.held + bytes <= limit
    }
}
