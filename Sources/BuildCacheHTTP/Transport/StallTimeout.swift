import BuildCacheCore
import Synchronization

/// The bytes that one exchange has moved, and how slow it may be.
final class Activity: Sendable {
    struct Snapshot {
        /// Bytes since the beginning.
        var moved: Int64
        var patience: Duration
        /// The fewest bytes that must move within ``patience``; 1 or more.
        var least: Int64
    }
    private struct State {
        var moved: Int64 = 0
        var patience: Duration
    }
    private let slowestRate: Int64
    private let state: Mutex<State>

    /// - Parameters:
    ///   - patience: The longest time in which next to nothing may move.
    ///   - slowestRate: Bytes a second that count as next to nothing; 0 for any byte counting.
    init(patience: Duration, slowestRate: Int64) {
        self.slowestRate = slowestRate
        state = Mutex(State(patience: patience))
    }

    /// Notes that bytes moved.
    func moved(_ count: Int) { state.withLock { $0.moved = $0.moved.addingClamped(Int64(count)) } }

    /// Notes that the last byte moved, and that from now on the other side may take `patience` to respond.
    func ended(patience: Duration) {
        state.withLock { state in
            state.moved = state.moved.addingClamped(1)
            state.patience = patience
        }
    }

    var snapshot: Snapshot {
        state.withLock { state in
            let seconds = min(max(state.patience.components.seconds, 0), 1 << 20)
            return Snapshot(moved: state.moved, patience: state.patience, least: max(1, seconds * slowestRate))
        }
    }
}

/// The error of an exchange that moved next to nothing for too long.
struct Stall: Error {
    /// Bytes that moved.
    var moved: Int64
    /// The time in which they did.
    var limit: Duration
}

/// Runs `body`, and cancels it with a ``Stall`` when `activity` moves next to nothing for as long as it may.
///
/// A transfer may take as long as it needs while bytes move. Noticed within a quarter of the limit.
func withStallTimeout<Value: Sendable>(
    _ activity: Activity, clock: any Clock<Duration>, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await race(body) {
        var mark = activity.snapshot.moved
        var idle = Duration.zero
        while true {
            let step = activity.snapshot.patience / 4
            try await clock.sleep(for: step)
            let now = activity.snapshot
            if now.moved - mark >= now.least {
                (mark, idle) = (now.moved, .zero)
            } else {
                idle += step
            }
            if idle >= now.patience { throw Stall(moved: now.moved - mark, limit: now.patience) }
        }
    }
}

/// The error of an operation that did not end in time.
package struct TimeLimitPassed: Error {
    package var limit: Duration
}

/// Runs `body`, and cancels it with ``TimeLimitPassed`` when it has not ended within `limit`.
package func withTimeLimit<Value: Sendable>(
    _ limit: Duration, clock: any Clock<Duration>, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await race(body) {
        try await clock.sleep(for: limit)
        throw TimeLimitPassed(limit: limit)
    }
}

/// Runs `body` beside a watch that only ever throws: the first of them to end decides, and the other is cancelled.
private func race<Value: Sendable>(
    _ body: @escaping @Sendable () async throws -> Value, _ watch: @escaping @Sendable () async throws -> Never
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value.self) { group in
        defer { group.cancelAll() }
        group.addTask { try await body() }
        group.addTask { try await watch() }
        for try await value in group { return value }
        throw CancellationError()
    }
}
