public import BuildCacheCore
import BuildCacheHTTP

/// A token that storage services take for a while.
public struct AzureToken: Hashable, Sendable {
    /// What is sent.
    public var text: Secret<String>
    /// From when on it is not taken any more.
    public var expires: Timestamp

    /// Makes a token.
    public init(_ text: Secret<String>, expires: Timestamp) {
        self.text = text
        self.expires = expires
    }
}

/// Who gives tokens for Azure's storage: what the environment offers, or the caller.
public struct AzureCredentials: Sendable {
    /// What a token must be good for.
    ///
    /// `https://storage.azure.com/.default` as a scope, without `/.default` as a resource.
    public static let resource = "https://storage.azure.com"

    let fetch: @Sendable (HTTPTransport) async throws -> AzureToken

    /// Asks `fetch` for a token whenever the one before is about to end.
    public init(_ fetch: @escaping @Sendable () async throws -> AzureToken) { self.fetch = { _ in try await fetch() } }

    init(fetching fetch: @escaping @Sendable (HTTPTransport) async throws -> AzureToken) { self.fetch = fetch }

    /// Azure's usual order: a secret or a certificate in the environment, workload identity, managed identity (also of Azure Arc), the
    /// Azure CLI, the Azure Developer CLI, Azure PowerShell.
    ///
    /// The first that is there decides: if it fails, that is an error and the next one is not asked. `AZURE_TOKEN_CREDENTIALS` leaves only
    /// those meant for production (`prod`), for developers (`dev`), or one by name.
    ///
    /// - Source: Azure Identity, "DefaultAzureCredential"; `Documentation/Spec/backends.md` §6.3.
    public static func standard(environment: Environment = .process) -> AzureCredentials {
        AzureCredentials(fetching: { transport in
            try await StandardIdentity(environment, transport).token()
        })
    }
}

/// The token in use, renewed in time: one for all requests.
package typealias AzureTokens = RenewedValue<AzureToken>

extension AzureTokens {
    package convenience init(
        _ credentials: AzureCredentials, transport: HTTPTransport, now: @escaping @Sendable () -> Timestamp
    ) {
        self.init(expiry: \.expires, now: now) { try await credentials.fetch(transport) }
    }
}
