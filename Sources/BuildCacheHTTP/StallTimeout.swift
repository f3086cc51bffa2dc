import BuildCacheCore
import Synchronization

/// Signs of life of one exchange, and how long it may show none.
final class Activity: Sendable {
    private struct State {
        var count = 0
        var patience: Duration
    }
    private let state: Mutex<State>

    init(patience: Duration) { state = Mutex(State(patience: patience)) }

    /// Bytes moved.
    func touch() { state.withLock { $0.count &+= 1 } }

    /// Bytes moved, and from now on the other side may take so long.
    func touch(patience: Duration) {
        state.withLock { state in
            state.count &+= 1
            state.patience = patience
        }
    }

    var current: (count: Int, patience: Duration) { state.withLock { ($0.count, $0.patience) } }
}

/// Nothing moved for too long.
struct Stall: Error {
    var limit: Duration
}

/// Runs `body`, and cancels it with a ``Stall`` when `activity` shows no sign of life for as long as it may.
///
/// A transfer may take as long as it needs while bytes move. Noticed within a quarter of the limit.
func withStallTimeout<Value: Sendable>(
    _ activity: Activity, clock: any Clock<Duration>, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value.self) { group in
        defer { group.cancelAll() }
        group.addTask { try await body() }
        group.addTask {
            var seen = activity.current.count
            var idle = Duration.zero
            while true {
                let step = activity.current.patience / 4
                try await clock.sleep(for: step)
                let (count, patience) = activity.current
                idle = count == seen ? idle + step : .zero
                seen = count
                if idle >= patience { throw Stall(limit: patience) }
            }
        }
        // The watch only ever throws, so whichever comes first decides.
        for try await value in group { return value }
        throw CancellationError()
    }
}
