public import BuildCacheCore
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

    /// Creates clients for an environment, which decides credentials, endpoints, proxies and authorities of all of them.
    ///
    /// - Parameters:
    ///   - environment: The variables of AWS, Azure, Docker and GitHub, those of proxies, and `SSL_CERT_FILE`.
    ///   - transport: The connections; `nil`, the default, for ``HTTPTransport/shared(for:)``.
    public init(environment: Environment, transport: HTTPTransport? = nil) {
        let transport = transport ?? .shared(for: environment)
        self.init(
            registry: RegistryClient(
                settings: RegistrySettings(
                    credentials: .docker(environment: environment),
                    hostDirectories: RegistrySettings.dockerHostDirectories(environment: environment)),
                transport: transport),
            gha: GitHubActionsClient(environment: environment, transport: transport),
            s3: S3Client(environment: environment, transport: transport),
            azblob: AzureClient(
                credentials: .standard(environment: environment), environment: environment, transport: transport))
    }

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
