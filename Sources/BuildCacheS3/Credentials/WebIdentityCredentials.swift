package import BuildCacheCore
package import BuildCacheHTTP

/// A role lent for a token in a file: `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`, as in Kubernetes.
///
/// - Source: `Documentation/Spec/backends.md` §5.5.
package struct WebIdentityCredentials: Sendable {
    private let environment: Environment
    private let transport: HTTPTransport

    /// Looks in `environment`, asks through `transport`.
    package init(_ environment: Environment = .process, transport: HTTPTransport = .shared) {
        self.environment = environment
        self.transport = transport
    }

    /// What the role may do, `nil` unless both variables are there.
    ///
    /// The file is read each time, because its token is replaced before it expires.
    package func credentials(region: String) async throws -> AWSCredentials? {
        guard let file = environment.first("AWS_WEB_IDENTITY_TOKEN_FILE"), let arn = environment.first("AWS_ROLE_ARN")
        else { return nil }
        return try await WebIdentityCredentials.credentials(
            arn, file, environment.first("AWS_ROLE_SESSION_NAME"),
            SecurityTokenService(environment: environment, transport: transport), region)
    }

    static func credentials(
        _ arn: String, _ file: String, _ session: String?, _ service: SecurityTokenService, _ region: String
    ) async throws -> AWSCredentials {
        let token = try await SharedProfiles.read(file)
        guard !token.isEmpty else {
            throw CacheError(.denied, "the token of a web identity is not in \(file), where it should be")
        }
        let role = SecurityTokenService.Role(arn: arn, session: session ?? .newSessionName)
        return try await service.assume(role, showing: Secret(token), region: region)
    }
}

extension String {
    /// The name of a session, where nobody gave it one.
    static var newSessionName: String { "build-cache-\(Timestamp.now().seconds)" }
}
