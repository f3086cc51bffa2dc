public import BuildCacheCore
public import BuildCacheHTTP

/// The settings of registries, by the domain of a reference.
public struct RegistrySettings: Sendable {
    /// The settings of a domain, as in `registry.example.com:5000` or `docker.io`.
    ///
    /// A domain that is here is not looked for in ``hostDirectories``.
    public var hosts: [String: RegistryHost]
    /// Directories with one folder for each registry, in Docker's and containerd's form; the first one that has the registry counts.
    ///
    /// Default ``dockerHostDirectories(environment:)``. A folder is named `host`, `host:port`, `host_port_`, or `_default` for all other
    /// registries. It has a `hosts.toml`, or certificates: `*.crt` are trusted beside the system's authorities, a `*.cert` with the
    /// `*.key` of the same name is shown to the registry. Read when a registry is first used.
    ///
    /// - Source: docs.docker.com, "Verify repository client with certificates"; containerd docs/hosts.md.
    public var hostDirectories: [String]
    /// The source of user names, passwords and tokens.
    public var credentials: RegistryCredentials
    /// Hosts that get credentials over plain HTTP, or without a certificate that proves right, though only `registry.insecure=true` in a spec
    /// says so.
    ///
    /// Default ``CredentialHosts/none``: then credentials go there only if the server is this machine, or if ``hosts`` or
    /// ``hostDirectories`` say of the registry that it speaks plain HTTP or is not verified. BuildKit sends them in any case.
    public var allowedInsecureHosts: CredentialHosts

    /// Makes settings; without arguments, those of Docker's command line.
    public init(
        hosts: [String: RegistryHost] = [:], credentials: RegistryCredentials = .docker(),
        hostDirectories: [String] = RegistrySettings.dockerHostDirectories(),
        allowedInsecureHosts: CredentialHosts = .none
    ) {
        self.hosts = hosts
        self.credentials = credentials
        self.hostDirectories = hostDirectories
        self.allowedInsecureHosts = allowedInsecureHosts
    }

    /// The directories that Docker reads: `docker/certs.d` in `XDG_CONFIG_HOME` or `~/.config`, as a Docker without root has it, then
    /// `/etc/docker/certs.d`.
    public static func dockerHostDirectories(environment: Environment = .process) -> [String] {
        let config = environment["XDG_CONFIG_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
        let home = environment["HOME"].flatMap { $0.hasPrefix("/") ? $0 + "/.config" : nil }
        return [config ?? home].compactMap { $0.map { $0 + "/docker/certs.d" } } + ["/etc/docker/certs.d"]
    }
}

/// The settings of one registry.
///
/// - Source: `Documentation/Spec/backends.md` §1.2.
public struct RegistryHost: Hashable, Sendable {
    /// Whether the registry speaks plain HTTP.
    ///
    /// Default `false`; a registry on this machine does unless it has settings of its own.
    public var plainHTTP: Bool
    /// Certificates that are trusted, and one to show.
    ///
    /// The authorities count for the registry's token server, too.
    public var tls: TLSOptions
    /// Registries that are asked first when reading, in their order.
    ///
    /// Writing goes to the registry itself unless a mirror has the capability to push.
    public var mirrors: [RegistryServer]
    /// The server that answers for the registry itself; `nil`, the default, is the one that the domain names.
    public var server: RegistryServer?
    /// Repositories of the registry, as in `library/alpine`, whose layers may be mounted into others by their digest.
    ///
    /// Default none: then a layer is mounted only from a repository where this process has seen it. Name no repository here whose layers
    /// must not become readable in the one that is written to.
    public var mountSources: [String]
    /// The abilities of the registry; `nil` are those that are known of the domain.
    public var profile: RegistryProfile?
    /// Whether TLS is tried before plain HTTP.
    var prefersTLS = false

    /// Makes settings.
    public init(
        plainHTTP: Bool = false, tls: TLSOptions = TLSOptions(), mirrors: [RegistryServer] = [],
        server: RegistryServer? = nil, mountSources: [String] = [], profile: RegistryProfile? = nil
    ) {
        self.plainHTTP = plainHTTP
        self.tls = tls
        self.mirrors = mirrors
        self.server = server
        self.mountSources = mountSources
        self.profile = profile
    }
}

/// A server that answers for a registry, as a mirror does.
///
/// A text as `host[:port][/path]` is a mirror with the repositories of the registry below `path`.
public struct RegistryServer: Hashable, Sendable, ExpressibleByStringInterpolation {
    /// A task that a server is trusted with.
    @nonexhaustive
    public enum Capability: String, Hashable, Sendable, CaseIterable {
        /// To give blobs and manifests by their digests.
        case pull
        /// To say which digest a tag leads to.
        case resolve
        /// To store.
        case push
    }

    /// As in `mirror.example.com` or `localhost:5000`.
    public var host: String
    /// The root of the API: `/v2`, or with more before or behind that.
    public var apiPath: String
    /// The options of the connection; `nil`, the default, are those of the server's host in the settings.
    public var connection: Connection?
    /// The tasks that it gets.
    ///
    /// Default ``Capability/pull`` and ``Capability/resolve``.
    public var capabilities: Set<Capability>

    /// A connection with options of its own.
    public struct Connection: Hashable, Sendable {
        /// Whether the server speaks plain HTTP.
        public var plainHTTP: Bool
        /// Certificates that are trusted, and one to show.
        public var tls: TLSOptions
        /// Whether TLS is tried before plain HTTP.
        var prefersTLS = false

        /// Makes options.
        public init(plainHTTP: Bool = false, tls: TLSOptions = TLSOptions()) {
            self.plainHTTP = plainHTTP
            self.tls = tls
        }
    }

    /// Makes a server.
    public init(
        host: String, apiPath: String = "/v2", connection: Connection? = nil,
        capabilities: Set<Capability> = [.pull, .resolve]
    ) {
        self.host = host
        self.apiPath = apiPath
        self.connection = connection
        self.capabilities = capabilities
    }

    /// Makes a mirror from `host[:port][/path]`; a scheme before it does not count, as in BuildKit.
    public init(_ text: some StringProtocol) {
        var rest = text[...]
        for scheme in ["https://", "http://"] where rest.hasPrefix(scheme) { rest = rest.dropFirst(scheme.count) }
        let path = rest.drop { $0 != "/" }.split(separator: "/")
        self.init(
            host: String(rest.prefix { $0 != "/" }), apiPath: (["/v2"] + path.map { String($0) }).joined(separator: "/")
        )
    }

    /// Makes a mirror from `host[:port][/path]`.
    public init(stringLiteral text: String) { self.init(text) }
}
