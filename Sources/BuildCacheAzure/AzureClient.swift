import BuildCacheCore
@_exported public import BuildCacheHTTP
import BuildCacheSpec

/// What all caches in Azure share: connections, and the token in use.
///
/// Give all backends of one program the same client: then one login serves all.
public struct AzureClient: Sendable {
    let transport: HTTPTransport
    let tokens: AzureTokens

    /// The client of this process: the environment's credentials and proxies.
    public static let shared = AzureClient()

    /// Makes a client that has no token yet.
    public init(credentials: AzureCredentials = .standard(), transport: HTTPTransport = .shared) {
        self.transport = transport
        tokens = AzureTokens(credentials, transport: transport, now: { .now() })
    }

    /// How requests to this account are signed: with its key, by its URL, or with a token.
    func requests(_ options: AzureBlobOptions) throws(CacheError) -> BlobRequests {
        let authorization: AzureAuthorization
        if let key = options.secretAccessKey {
            authorization = .sharedKey(try SharedKey(account: options.accountName, key: key))
        } else {
            authorization = options.accountURL.isSigned ? .signedURL : .token(tokens)
        }
        return BlobRequests(authorization, transport: transport)
    }
}
