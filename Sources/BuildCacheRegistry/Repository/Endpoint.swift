import BuildCacheCore
import BuildCacheHTTP
import NIOSSL

/// One server that speaks for a registry.
struct Endpoint: Sendable {
    /// The registry whose credentials it gets, as in a reference.
    let domain: String
    let base: ServiceURL
    let tls: TLSConfiguration?
    var profile: RegistryProfile
    let authenticator: Authenticator
    /// The root of the API, as in `/v2`.
    var apiPath = "/v2"
    /// The registry that a mirror speaks for.
    var mirrored: String?
    var capabilities = Set(RegistryServer.Capability.allCases)

    /// The properties that endpoints with one login have in common.
    struct Key: Hashable {
        var owner: String
        var host: String
        var connection: RegistryServer.Connection
        var isPlain: Bool
        /// Why no credentials are sent, `nil` if they are.
        var withholds: String?
    }

    init(
        domain: String, base: ServiceURL, tls: TLSConfiguration?, profile: RegistryProfile, authenticator: Authenticator
    ) {
        self.domain = domain
        self.base = base
        self.tls = tls
        self.profile = profile
        self.authenticator = authenticator
    }

    /// The repository's path at this server, as its token server knows it.
    func repository(_ path: String) -> String {
        apiPath.hasPrefix("/v2/") ? "\(apiPath.dropFirst(4))/\(path)" : path
    }

    /// As in `/v2/library/app/blobs/…`.
    func url(_ repository: String, _ rest: String) throws(CacheError) -> ServiceURL {
        try ServiceURL("\(base.base)\(apiPath)/\(repository)/\(rest)")
    }
}

/// The servers of one registry, by their tasks.
struct RegistryServers: Sendable {
    /// The server that is written to, and asked when only the registry itself can answer.
    let origin: Endpoint
    /// The servers that blobs, and manifests by their digests, are read from, in this order.
    let readers: [Endpoint]
    /// The servers that manifests are read from by their tags, in this order.
    let resolvers: [Endpoint]
    /// Repositories that layers may be mounted from without having been seen there.
    let mountSources: [String]
    /// Faults of the settings that stop nothing.
    let problems: [String]

    /// - Throws: `CacheError` `.invalidSpec` if no server is there to read from, or a mount source is not a repository.
    init(
        _ endpoints: [Endpoint], for domain: String, mountSources: [String], problems: [String]
    ) throws(CacheError) {
        readers = endpoints.filter { $0.capabilities.contains(.pull) }
        resolvers = endpoints.filter { $0.capabilities.isSuperset(of: [.pull, .resolve]) }
        guard let last = endpoints.last, !readers.isEmpty else {
            throw CacheError(.invalidSpec, "the settings of \(domain) name no server with the capability pull")
        }
        origin = endpoints.first { $0.capabilities.contains(.push) } ?? last
        var sources: [String] = []
        for source in mountSources {
            guard let path = Reference.repositoryPath(source, at: domain) else {
                throw CacheError(
                    .invalidSpec,
                    "invalid mount source \(source.quoted) of \(domain): expected a repository like library/alpine")
            }
            sources.append(path)
        }
        self.mountSources = sources
        self.problems = problems
    }

    /// - Throws: `CacheError` `.unsupported` if nothing can be written to the registry.
    func requirePush() throws(CacheError) {
        guard origin.capabilities.contains(.push) else {
            throw CacheError(
                .unsupported,
                "the settings of \(origin.domain) name no server with the capability push; add it to the one to write to"
            )
        }
    }
}
