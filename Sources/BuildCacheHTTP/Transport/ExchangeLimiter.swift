import Synchronization

/// Lets so many exchanges with one host run at once; the others wait for their turn in the order they came.
///
/// The pool of connections has a limit, too, but whoever waits there fails after a while: behind four large uploads, that is soon.
final class ExchangeLimiter: Sendable {
    private let limit: Int
    // Hosts are few, so none is ever forgotten.
    private let hosts = Mutex<[String: Budget]>([:])

    init(limit: Int) { self.limit = max(1, limit) }

    /// Runs `body` when there is room for another exchange with `host`.
    func run<Value>(_ host: String, _ body: () async throws -> Value) async throws -> Value {
        let turns = hosts.withLock { hosts in
            let turns = hosts[host] ?? Budget(limit)
            hosts[host] = turns
            return turns
        }
        try await turns.acquire(1)
        defer { turns.release(1) }
        return try await body()
    }
}
