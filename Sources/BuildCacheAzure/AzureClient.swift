public import BuildCacheCore
@_exported public import BuildCacheHTTP
import BuildCacheSpec
import BuildCacheClient

/// The state that all caches in Azure share: connections, and the token in use.
///
/// Give all backends of one program the same client: then one login serves all.
public struct AzureClient: Sendable {
    let transport: HTTPTransport
    let tokens: AzureTokens
    private let damaged = DamagedBlobs()
    /// The places that ``tokens`` may be sent to.
    let tokenOrigin: CredentialOrigin

    /// The endings of hosts of storage accounts in Azure's clouds.
    ///
    /// - Source: Azure, "Storage account endpoints"; "Azure national clouds".
    private static let domains = [
        ".blob.core.windows.net", ".blob.storage.azure.net", ".blob.core.usgovcloudapi.net",
        ".blob.core.chinacloudapi.cn",
    ]

    /// The client of this process: the environment's credentials and proxies.
    public static let shared = AzureClient()

    /// Makes a client that has no token yet.
    ///
    /// - Parameters:
    ///   - credentials: The source of tokens; default that of the environment. A token is good for all storage accounts of an identity, so it
    ///     is sent to Azure's own hosts and to the one that `BUILDKIT_AZURE_STORAGE_ACCOUNT_URL` names, over TLS or to this machine.
    ///   - allowedHosts: Further hosts of an `account_url` that tokens may be sent to; default none.
    ///   - environment: The source of that variable.
    ///   - transport: The connections.
    public init(
        credentials: AzureCredentials = .standard(), allowedHosts: CredentialHosts = .none,
        environment: Environment = .process, transport: HTTPTransport = .shared
    ) {
        self.transport = transport
        tokenOrigin = CredentialOrigin(
            "the token of Entra ID", domains: AzureClient.domains,
            environment: [environment["BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"]],
            remedy: "set BUILDKIT_AZURE_STORAGE_ACCOUNT_URL, give secret_access_key or a signature in account_url",
            allowed: allowedHosts)
        tokens = AzureTokens(credentials, transport: transport, now: { .now() })
    }

    /// The container of `options`.
    func container(_ options: AzureBlobOptions) throws(CacheError) -> AzureContainer {
        AzureContainer(options, try requests(options), damaged: damaged)
    }

    /// How requests to this account are signed: with its key, by its URL, or with a token.
    func requests(_ options: AzureBlobOptions) throws(CacheError) -> BlobRequests {
        let authorization: any BlobAuthorization
        if let key = options.secretAccessKey {
            authorization = AzureAuthorization.sharedKey(try SharedKey(account: options.accountName, key: key))
        } else {
            authorization = options.accountURL.isSigned ? SignedURL() : AzureAuthorization.token(tokens, tokenOrigin)
        }
        return BlobRequests(authorization, transport: transport)
    }
}
