public import BuildCacheCore
public import BuildCacheHTTP

/// A source of AWS credentials.
///
/// It is asked before the first request, shortly before the credentials that it gave expire, and when a service says that they have.
public struct AWSCredentialSource: Sendable {
    private let find: @Sendable (_ region: String) async throws -> AWSCredentials?

    /// Creates a source of your own.
    ///
    /// - Parameter find: Returns credentials, or `nil` if none are set up; then the next source of ``first(of:)`` is asked. An error ends the
    ///   search. The region is that of the bucket.
    public init(_ find: @escaping @Sendable (_ region: String) async throws -> AWSCredentials?) { self.find = find }

    /// The credentials, or `nil` if none are set up.
    ///
    /// - Parameter region: The region of the bucket, for sources that ask a service of that region.
    /// - Throws: `CacheError` if credentials are set up and cannot be read.
    public func credentials(region: String) async throws -> AWSCredentials? { try await find(region) }

    /// Credentials that do not change.
    public static func fixed(_ credentials: AWSCredentials) -> AWSCredentialSource {
        AWSCredentialSource { _ in credentials }
    }

    /// The first of several sources that has credentials.
    public static func first(of sources: [AWSCredentialSource]) -> AWSCredentialSource {
        AWSCredentialSource { region in
            for source in sources {
                if let found = try await source.credentials(region: region) { return found }
            }
            return nil
        }
    }

    /// The sources of Amazon's own tools, in their order: ``environment(_:)``, ``webIdentity(_:transport:)``, ``profile(_:transport:)``,
    /// ``container(_:transport:)`` and ``instance(_:transport:)``.
    ///
    /// - Source: `Documentation/Spec/backends.md` §5.5.
    public static func standard(
        environment: Environment = .process, transport: HTTPTransport = .shared
    ) -> AWSCredentialSource {
        .first(of: [
            .environment(environment), .webIdentity(environment, transport: transport),
            .profile(environment, transport: transport), .container(environment, transport: transport),
            .instance(environment, transport: transport),
        ])
    }

    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    public static func environment(_ environment: Environment = .process) -> AWSCredentialSource {
        AWSCredentialSource { _ in environment.awsCredentials }
    }

    /// The token file of `AWS_WEB_IDENTITY_TOKEN_FILE` with the role of `AWS_ROLE_ARN`, as in EKS.
    public static func webIdentity(
        _ environment: Environment = .process, transport: HTTPTransport = .shared
    ) -> AWSCredentialSource {
        let source = WebIdentityCredentials(environment, transport: transport)
        return AWSCredentialSource { try await source.credentials(region: $0) }
    }

    /// The profile of `AWS_PROFILE`, or `default`, in `~/.aws/config` and `~/.aws/credentials`.
    public static func profile(
        _ environment: Environment = .process, transport: HTTPTransport = .shared
    ) -> AWSCredentialSource {
        let source = ProfileCredentials(environment, transport: transport)
        return AWSCredentialSource { try await source.credentials(region: $0) }
    }

    /// The role of the container: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `…_FULL_URI`, as in ECS and EKS.
    public static func container(
        _ environment: Environment = .process, transport: HTTPTransport = .shared
    ) -> AWSCredentialSource {
        let source = ContainerCredentials(environment, transport: transport)
        return AWSCredentialSource { try await source.credentials(region: $0) }
    }

    /// The role of the instance of EC2, from its metadata service.
    public static func instance(
        _ environment: Environment = .process, transport: HTTPTransport = .shared
    ) -> AWSCredentialSource {
        let source = InstanceCredentials(environment, transport: transport)
        return AWSCredentialSource { try await source.credentials(region: $0) }
    }
}
