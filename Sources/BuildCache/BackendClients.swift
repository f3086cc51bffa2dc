public import BuildCacheAzure
public import BuildCacheGitHubActions
public import BuildCacheRegistry
public import BuildCacheS3

/// What the network backends of one program share: connections, credentials, and what was learned about each service.
///
/// Share one: a login, a token or a blob that was seen then serves all caches of a build.
public struct BackendClients: Sendable {
    /// For `type=registry`.
    public var registry: RegistryClient
    /// For `type=gha`.
    public var gha: GitHubActionsClient
    /// For `type=s3`.
    public var s3: S3Client
    /// For `type=azblob`.
    public var azblob: AzureClient

    /// Those of this process: the environment's proxies, and each service's usual credentials.
    public static let shared = BackendClients()

    /// Names the clients that are not those of this process.
    public init(
        registry: RegistryClient = .shared, gha: GitHubActionsClient = .shared, s3: S3Client = .shared,
        azblob: AzureClient = .shared
    ) {
        self.registry = registry
        self.gha = gha
        self.s3 = s3
        self.azblob = azblob
    }
}
