package import BuildCacheCore

/// Hosts that credentials of the environment may be sent to, beyond those that the environment itself and the provider name.
///
/// A spec names hosts, and may be written by others than the environment: a pull request, a user of a service. So a token that the
/// environment holds goes to a host that only a spec names if the program allows it here.
///
/// ```swift
/// let client = AzureClient(allowedHosts: ["storage.example.com", "*.blob.example.com"])
/// ```
public struct CredentialHosts: Hashable, Sendable, ExpressibleByArrayLiteral {
    private let hosts: Set<String>
    private let includesAll: Bool

    /// No further hosts: the default.
    public static let none = CredentialHosts([])
    /// Every host that a spec names, as BuildKit has it: for programs whose specs are their own.
    public static let any = CredentialHosts(hosts: [], includesAll: true)

    /// Allows hosts.
    ///
    /// - Parameter hosts: Each as `storage.example.com`, `*.example.com` for all hosts below a domain, or `localhost:8080` for one port.
    public init(_ hosts: some Sequence<String>) {
        self.init(hosts: Set(hosts.map { $0.lowercased() }), includesAll: false)
    }

    /// Allows hosts, as ``init(_:)``.
    public init(arrayLiteral hosts: String...) { self.init(hosts) }

    private init(hosts: Set<String>, includesAll: Bool) {
        self.hosts = hosts
        self.includesAll = includesAll
    }

    /// Whether the host of a URL is one of them.
    package func contains(_ url: ServiceURL) -> Bool {
        if includesAll || hosts.contains(url.host) { return true }
        if hosts.contains("\(url.host):\(url.port ?? (url.scheme == "https" ? 443 : 80))") { return true }
        var rest = url.host[...]
        while let dot = rest.firstIndex(of: ".") {
            rest = rest[rest.index(after: dot)...]
            if hosts.contains("*." + rest) { return true }
        }
        return false
    }
}

/// The places that a credential may be sent to, decided before a request is made.
package struct CredentialOrigin: Sendable {
    /// As errors call the credential, as in `the token of Entra ID`.
    package var credential: String
    /// The endings of the provider's hosts, each with a dot in front; `nil` for a credential that is worth nothing to another host.
    package var domains: [String]?
    /// The URLs that the environment names, as texts; one that is not a URL is passed over.
    package var environment: [String?]
    /// The advice in an error, as in `set ACTIONS_RESULTS_URL`.
    package var remedy: String
    /// Hosts that the program allows.
    package var allowed: CredentialHosts

    package init(
        _ credential: String, domains: [String]?, environment: [String?], remedy: String, allowed: CredentialHosts
    ) {
        self.credential = credential
        self.domains = domains
        self.environment = environment
        self.remedy = remedy
        self.allowed = allowed
    }

    /// Checks that the credential may be sent to a URL.
    ///
    /// To a host that the environment names or the program allows it may go in any way; elsewhere over TLS or to this machine only, and if it
    /// comes from the environment, only to its provider.
    ///
    /// - Parameter isAmbient: Whether the credential comes from the environment, and not from the caller together with the URL.
    /// - Throws: `CacheError` `.denied`.
    package func check(_ url: ServiceURL, isAmbient: Bool) throws(CacheError) {
        let named = environment.contains { text in
            guard let text, let named = try? ServiceURL(text) else { return false }
            return named.origin == url.origin
        }
        if named || allowed.contains(url) { return }
        guard url.scheme == "https" || url.isLoopback else {
            throw CacheError(
                .denied,
                "\(credential) is not sent to \(url.origin) without encryption: use https://, \(remedy), or allow the host in "
                    + "the client's allowedHosts")
        }
        guard isAmbient, let domains, !domains.contains(where: { url.host.hasSuffix($0) }) else { return }
        throw CacheError(
            .denied,
            "\(credential) comes from the environment and is not sent to \(url.origin), which only the spec names: \(remedy), "
                + "or allow the host in the client's allowedHosts")
    }
}
