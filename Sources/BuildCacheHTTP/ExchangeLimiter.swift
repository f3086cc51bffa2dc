import Synchronization

/// Lets so many exchanges with one host run at once; the others wait for their turn in the order they came.
///
/// The pool of connections has a limit, too, but whoever waits there fails after a while: behind four large uploads, that is soon.
final class ExchangeLimiter: Sendable {
    private struct Waiter {
        let number: Int
        let continuation: CheckedContinuation<Void, any Error>
    }
    private struct State {
        var running: [String: Int] = [:]
        var waiting: [String: [Waiter]] = [:]
        var cancelled: Set<Int> = []
        var lastNumber = 0
    }

    private let limit: Int
    private let state = Mutex(State())

    init(limit: Int) { self.limit = max(1, limit) }

    /// Runs `body` when there is room for another exchange with `host`.
    func run<Value>(_ host: String, _ body: () async throws -> Value) async throws -> Value {
        try await enter(host)
        defer { leave(host) }
        return try await body()
    }

    private func enter(_ host: String) async throws {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        defer { state.withLock { _ = $0.cancelled.remove(number) } }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let result = state.withLock { state -> Result<Void, any Error>? in
                    if state.cancelled.contains(number) { return .failure(CancellationError()) }
                    if state.running[host, default: 0] < limit {
                        state.running[host, default: 0] += 1
                        return .success(())
                    }
                    state.waiting[host, default: []].append(Waiter(number: number, continuation: continuation))
                    return nil
                }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            let waiter = state.withLock { state -> Waiter? in
                state.cancelled.insert(number)
                guard let index = state.waiting[host]?.firstIndex(where: { $0.number == number }) else { return nil }
                return state.waiting[host]?.remove(at: index)
            }
            waiter?.continuation.resume(throwing: CancellationError())
        }
    }

    /// Hands the place to whoever waits longest.
    private func leave(_ host: String) {
        let next = state.withLock { state -> Waiter? in
            if let waiters = state.waiting[host], !waiters.isEmpty { return state.waiting[host]?.removeFirst() }
            state.waiting[host] = nil
            let running = state.running[host, default: 1] - 1
            state.running[host] = running > 0 ? running : nil
            return nil
        }
        next?.continuation.resume()
    }
}
