public import BuildCacheCore
public import BuildCacheSpec

/// What proves to a registry who we are.
public enum RegistryCredential: Hashable, Sendable {
    /// A user and a password, or what stands for one.
    case password(user: String, Secret<String>)
    /// A refresh token that the registry's token server takes, as `docker login` keeps it.
    case identityToken(Secret<String>)
    /// A token that the registry takes as it is.
    case registryToken(Secret<String>)
}

/// Who is asked for credentials: Docker's configuration, or the caller.
///
/// Asked when a registry wants some, and again when it refused what it got.
public struct RegistryCredentials: Sendable {
    /// What is asked.
    public struct Question: Hashable, Sendable {
        /// The registry, as in `ghcr.io` or `localhost:5000`; for Docker Hub `docker.io`.
        public var domain: String
        /// What the registry refused, if it refused something.
        public var rejected: RegistryCredential?
    }

    private let answer: @Sendable (Question) async throws -> RegistryCredential?

    /// Asks `answer`; `nil` is to try without.
    public init(_ answer: @escaping @Sendable (Question) async throws -> RegistryCredential?) { self.answer = answer }

    /// Nobody has any.
    public static let anonymous = RegistryCredentials { _ in nil }

    /// Docker's: `DOCKER_AUTH_CONFIG`, then `config.json` in `DOCKER_CONFIG` or `~/.docker`, with the helpers that it names.
    ///
    /// The file is read each time, because somebody may log in meanwhile.
    public static func docker(environment: Environment = .process) -> RegistryCredentials {
        RegistryCredentials { question in try await DockerConfig.credential(for: question.domain, environment) }
    }

    func callAsFunction(_ question: Question) async throws -> RegistryCredential? { try await answer(question) }
}
