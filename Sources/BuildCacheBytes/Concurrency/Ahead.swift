import Synchronization

/// A value that one of ``Workers/processors`` is working out while others do something else.
final class Ahead<Value: Sendable>: Sendable {
    private enum State {
        case underWay
        case awaited(CheckedContinuation<Value, Never>)
        case ready(Value)
    }

    private let state = Mutex(State.underWay)

    init(_ work: @escaping @Sendable () -> Value) {
        Workers.processors.submit { [self] in finish(work()) }
    }

    /// Waits for the value; one waiter only.
    func value() async -> Value {
        await withCheckedContinuation { continuation in
            let ready = state.withLock { state -> Value? in
                if case .ready(let value) = state { return value }
                state = .awaited(continuation)
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
    }

    private func finish(_ value: Value) {
        let continuation = state.withLock { state -> CheckedContinuation<Value, Never>? in
            defer { state = .ready(value) }
            if case .awaited(let continuation) = state { return continuation }
            return nil
        }
        continuation?.resume(returning: value)
    }
}
