public import BuildCacheHTTP

/// How registries are reached, by the domain of a reference.
public struct RegistrySettings: Sendable {
    /// What is special about a domain, as in `registry.example.com:5000` or `docker.io`.
    public var hosts: [String: RegistryHost]
    /// Who is asked for user names, passwords and tokens.
    public var credentials: RegistryCredentials

    /// Makes settings; without arguments, those of Docker's command line.
    public init(hosts: [String: RegistryHost] = [:], credentials: RegistryCredentials = .docker()) {
        self.hosts = hosts
        self.credentials = credentials
    }
}

/// How one registry is reached.
///
/// - Source: `spec/backends.md` §1.2.
public struct RegistryHost: Hashable, Sendable {
    /// Whether the registry speaks plain HTTP.
    ///
    /// Default `false`; a registry on this machine does unless it has settings of its own.
    public var plainHTTP: Bool
    /// Certificates that are trusted, and one to show.
    public var tls: TLSOptions
    /// Registries that are asked first when reading, each as `host[:port][/path]`.
    ///
    /// Writing always goes to the registry itself. Each may have settings of its own under its host.
    public var mirrors: [String]
    /// Repositories of the registry, as in `library/alpine`, whose layers may be mounted into others by their digest.
    ///
    /// Default none: then a layer is mounted only from a repository where this process has seen it. Name no repository here whose layers
    /// must not become readable in the one that is written to.
    public var mountSources: [String]
    /// What the registry can do; `nil` is what is known about the domain.
    public var profile: RegistryProfile?

    /// Makes settings.
    public init(
        plainHTTP: Bool = false, tls: TLSOptions = TLSOptions(), mirrors: [String] = [],
        mountSources: [String] = [], profile: RegistryProfile? = nil
    ) {
        self.plainHTTP = plainHTTP
        self.tls = tls
        self.mirrors = mirrors
        self.mountSources = mountSources
        self.profile = profile
    }
}
