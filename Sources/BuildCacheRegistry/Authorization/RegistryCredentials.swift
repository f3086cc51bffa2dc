public import BuildCacheCore

/// A proof of identity for a registry.
@nonexhaustive
public enum RegistryCredential: Hashable, Sendable {
    /// A user and a password, or what stands for one.
    case password(user: String, Secret<String>)
    /// A refresh token that the registry's token server takes, as `docker login` keeps it.
    case identityToken(Secret<String>)
    /// A token that the registry takes as it is.
    case registryToken(Secret<String>)
}

/// The source of credentials: Docker's configuration, or the caller.
///
/// Asked when a registry wants some, and again when it refused what it got.
public struct RegistryCredentials: Sendable {
    /// A registry that wants a credential.
    public struct Question: Hashable, Sendable {
        /// The registry, as in `ghcr.io` or `localhost:5000`; for Docker Hub `docker.io`.
        public var domain: String
        /// The credential that the registry refused, if it refused one.
        public var rejected: RegistryCredential?
    }

    /// The answer to a question.
    struct Answer: Sendable {
        var credential: RegistryCredential?
        /// Faults of the places that were looked at, one line each.
        var problems: [String] = []
    }

    private let answer: @Sendable (Question) async throws -> Answer
    /// Looks for a credential that is for these scopes of a domain only; without one, that of the domain counts.
    private let narrowAnswer:
        (@Sendable (String, AuthScopes) async throws -> (credential: Answer?, problems: [String]))?

    /// Asks `answer`; `nil` is to try without.
    public init(_ answer: @escaping @Sendable (Question) async throws -> RegistryCredential?) {
        self.answer = { Answer(credential: try await answer($0)) }
        narrowAnswer = nil
    }

    private init(_ logins: DockerLogins) {
        answer = { try await logins.login(to: $0.domain) }
        narrowAnswer = { try await logins.login(to: $0, for: $1) }
    }

    /// No credentials.
    public static let anonymous = RegistryCredentials { _ in nil }

    /// The logins of Docker and buildx: `DOCKER_AUTH_CONFIG`, then `config.json` in `DOCKER_CONFIG` or `~/.docker`, with the helpers that
    /// it names.
    ///
    /// A login for one repository or for some actions, as `docker/login-action` writes it with `scope`, is found in
    /// `config/<host>/<repository>@<actions>/config.json` below `BUILDX_CONFIG`, or below `buildx` beside `config.json`, and goes before
    /// the registry's. `dhi.io` and `registry.scout.docker.com` fall back to the login of Docker Hub.
    ///
    /// A file that cannot be used gives a warning and no credentials, as with Docker. Files are read when a registry asks, and again when
    /// it refuses.
    ///
    /// - Source: docker/cli `cli/config`; buildx `util/dockerutil/dockerconfig/configprovider.go`.
    public static func docker(environment: Environment = .process) -> RegistryCredentials {
        RegistryCredentials(DockerLogins(environment: environment))
    }

    func callAsFunction(_ question: Question) async throws -> Answer { try await answer(question) }

    /// The answer for these scopes only.
    ///
    /// - Returns: `nil` for the credential if that of the domain counts.
    func narrow(_ domain: String, _ scopes: AuthScopes) async throws -> (credential: Answer?, problems: [String]) {
        guard let narrowAnswer else { return (nil, []) }
        return try await narrowAnswer(domain, scopes)
    }
}
