import BuildCacheBytes
package import BuildCacheCore
package import BuildCacheHTTP
import Synchronization

/// The token that is in use, replaced in good time: one for all requests.
package final class AzureTokens: Sendable {
    private struct State {
        var token: AzureToken?
        /// Which token it is, so that one refusal throws away one token.
        var generation = 0
    }

    private let credentials: AzureCredentials
    private let transport: HTTPTransport
    private let now: @Sendable () -> Timestamp
    private let state = Mutex(State())
    private let fetches = SharedWork<Int, AzureToken>()

    /// A token that ends within so many seconds is replaced.
    private static let margin: Int64 = 300

    package init(
        _ credentials: AzureCredentials, transport: HTTPTransport, now: @escaping @Sendable () -> Timestamp
    ) {
        self.credentials = credentials
        self.transport = transport
        self.now = now
    }

    /// A token that is good for the next minutes, if anybody has one.
    package func current() async throws -> Secret<String> {
        let (kept, generation) = state.withLock { ($0.token, $0.generation) }
        let time = now()
        if let kept, kept.expires.seconds - time.seconds > AzureTokens.margin { return kept.text }
        do {
            let fresh = try await fetches.value(for: generation) { [credentials, transport] in
                try await credentials.fetch(transport)
            }
            state.withLock { state in
                guard state.generation == generation else { return }
                state.token = fresh
                state.generation += 1
            }
            return fresh.text
        } catch let error as CacheError {
            // The one in use may still do; when it does not, the next request says why.
            if let kept, kept.expires > time { return kept.text }
            throw error
        }
    }

    /// Throws the token away, because the service did not take it.
    func forget() {
        state.withLock { state in
            state.token = nil
            state.generation += 1
        }
    }
}
