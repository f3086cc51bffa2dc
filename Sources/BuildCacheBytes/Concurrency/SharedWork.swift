import Synchronization

/// Work that is done once for all who ask for it at the same time.
///
/// The work goes on as long as one of them waits: who is cancelled leaves at once, and the last one takes the work along
/// and waits until it has cleaned up.
package final class SharedWork<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private struct Flight {
        let key: Key
        var task: Task<Void, Never>?
        var waiters: [Int: CheckedContinuation<Value, any Error>] = [:]
    }
    private struct State {
        var flights: [Int: Flight] = [:]
        // The flight that newcomers join; one whose last waiter left is in `flights` only.
        var current: [Key: Int] = [:]
        var flightOfWaiter: [Int: Int] = [:]
        // Waiters that were cancelled before they could join.
        var cancelled: Set<Int> = []
        var lastNumber = 0
        mutating func number() -> Int {
            lastNumber += 1
            return lastNumber
        }
    }

    private let state = Mutex(State())

    package init() {}

    /// The result of `work`, or of the same key's work that is under way.
    package func value(for key: Key, _ work: @escaping @Sendable () async throws -> Value) async throws -> Value {
        let waiter = state.withLock { $0.number() }
        defer { state.withLock { _ = $0.cancelled.remove(waiter) } }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                join(waiter, key, continuation, work)
            }
        } onCancel: {
            leave(waiter)
        }
    }

    private func join(
        _ waiter: Int, _ key: Key, _ continuation: CheckedContinuation<Value, any Error>,
        _ work: @escaping @Sendable () async throws -> Value
    ) {
        let wasCancelled = state.withLock { state in
            if state.cancelled.contains(waiter) { return true }
            if let flight = state.current[key] {
                state.flights[flight]?.waiters[waiter] = continuation
                state.flightOfWaiter[waiter] = flight
                return false
            }
            let flight = state.number()
            state.current[key] = flight
            state.flightOfWaiter[waiter] = flight
            state.flights[flight] = Flight(key: key, waiters: [waiter: continuation])
            // A task of its own, because the work may outlive the one who asked first. It ends with its waiters.
            state.flights[flight]?.task = Task { [self] in
                do {
                    finish(flight, .success(try await work()))
                } catch {
                    finish(flight, .failure(error))
                }
            }
            return false
        }
        if wasCancelled { continuation.resume(throwing: CancellationError()) }
    }

    private func leave(_ waiter: Int) {
        let (continuation, abandoned) = state.withLock {
            state -> (CheckedContinuation<Value, any Error>?, Task<Void, Never>?) in
            guard let number = state.flightOfWaiter[waiter], let flight = state.flights[number] else {
                state.cancelled.insert(waiter)
                return (nil, nil)
            }
            if flight.waiters.count == 1 {
                if state.current[flight.key] == number { state.current[flight.key] = nil }
                return (nil, flight.task)
            }
            state.flightOfWaiter[waiter] = nil
            return (state.flights[number]?.waiters.removeValue(forKey: waiter), nil)
        }
        abandoned?.cancel()
        continuation?.resume(throwing: CancellationError())
    }

    private func finish(_ number: Int, _ result: Result<Value, any Error>) {
        let waiters = state.withLock { state -> Dictionary<Int, CheckedContinuation<Value, any Error>>.Values? in
            guard let flight = state.flights.removeValue(forKey: number) else { return nil }
            if state.current[flight.key] == number { state.current[flight.key] = nil }
            for waiter in flight.waiters.keys { state.flightOfWaiter[waiter] = nil }
            return flight.waiters.values
        }
        for waiter in waiters ?? [:].values { waiter.resume(with: result) }
    }
}
