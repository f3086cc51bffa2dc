import BuildCacheBytes
import BuildCacheCore
import Synchronization

/// Keeps credentials until shortly before they expire, and asks once for all who wait.
final class CredentialCache: Sendable {
    private struct State {
        var credentials: AWSCredentials?
        /// From when on new ones are asked for.
        var refreshAt: Timestamp?
    }

    private let source: AWSCredentialSource
    private let region: String
    private let now: @Sendable () -> Timestamp
    private let state = Mutex(State())
    private let asking = SharedWork<Int, AWSCredentials>()

    /// Seconds before they expire; of credentials that live shorter, the last quarter of their life.
    private static let margin: Int64 = 300

    init(_ source: AWSCredentialSource, region: String, now: @escaping @Sendable () -> Timestamp) {
        self.source = source
        self.region = region
        self.now = now
    }

    /// Credentials that are good for now.
    ///
    /// - Parameter rejected: What a service said has expired.
    func credentials(rejecting rejected: AWSCredentials? = nil) async throws -> AWSCredentials {
        let known = state.withLock { $0 }
        let usable = known.credentials.flatMap { $0 == rejected ? nil : $0 }
        if let usable, known.refreshAt.map({ now() < $0 }) ?? true { return usable }
        do {
            return try await asking.value(for: 0) { try await self.ask() }
        } catch let error as CacheError {
            // Asked early, so that what is left of the old ones bridges a failure.
            if let usable, let end = usable.expiresAt, now() < end { return usable }
            throw error
        }
    }

    private func ask() async throws -> AWSCredentials {
        guard let fresh = try await source.credentials(region: region) else {
            throw CacheError(
                .denied,
                "there are no credentials: set access_key_id and secret_access_key, AWS_ACCESS_KEY_ID and "
                    + "AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws, or run where a role is attached")
        }
        let time = now()
        let refreshAt = fresh.expiresAt.flatMap { end -> Timestamp? in
            let margin = min(CredentialCache.margin, max(0, (end.seconds - time.seconds) / 4))
            return Timestamp(seconds: end.seconds - margin)
        }
        state.withLock { $0 = State(credentials: fresh, refreshAt: refreshAt) }
        return fresh
    }
}
