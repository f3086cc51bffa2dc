import BuildCacheBytes
import Synchronization

/// The uploads that a repository may begin in a minute.
///
/// A bucket of tokens, each of which comes back a minute after it was taken: in no minute there are more. Whoever finds it empty waits, in
/// the order they came.
///
/// - Source: GitHub, "Dependency caching reference", "Usage limits".
final class UploadBudget: Sendable {
    /// The service's own limit.
    static let defaultLimit = 200
    private static let minute = Duration.seconds(60)

    private let limit: Int
    /// When the tokens that are out come back, as time since the first was taken, oldest first.
    private let state = Mutex<[Duration]>([])
    private let elapsed: @Sendable () -> Duration
    private let sleepUntil: @Sendable (Duration) async throws -> Void

    init(limit: Int = defaultLimit, clock: some Clock<Duration>) {
        self.limit = max(1, limit)
        let start = clock.now
        elapsed = { start.duration(to: clock.now) }
        sleepUntil = { try await clock.sleep(until: start.advanced(by: $0), tolerance: nil) }
    }

    /// Takes a token, when there is one.
    ///
    /// - Throws: `CancellationError`; the token that would have come is lost for a minute then.
    func take() async throws {
        let now = elapsed()
        let ready = state.withLock { returns -> Duration in
            returns.removeAll { $0 <= now }
            // Of those who wait each has the token that comes back next to the one before.
            let ready = returns.count < limit ? now : returns[returns.count - limit]
            returns.append(ready + UploadBudget.minute)
            return ready
        }
        // Until then and not for so long: time may have passed since it was looked at.
        guard ready > now else { return }
        PauseObserver.current?.report(ready - now, "the service takes \(limit) uploads a minute")
        try await sleepUntil(ready)
    }
}
