import BuildCacheCore
import BuildCacheHTTP

// Domains of registries, and the repositories in them.
extension Reference {
    /// Whether a domain, with or without a port, is this machine.
    static func isLoopback(_ domain: String) -> Bool { ServiceURL.isLoopback(withoutPort(domain).lowercased()) }

    /// The host of a domain that may have a port.
    static func withoutPort(_ domain: String) -> String {
        guard !domain.hasSuffix("]"), let colon = domain.lastIndex(of: ":") else { return domain }
        return String(domain[..<colon])
    }

    /// The host that answers for a domain.
    static func apiHost(of domain: String) -> String { domain == "docker.io" ? "registry-1.docker.io" : domain }

    /// The path of a repository at a domain, `nil` if the text is not one.
    static func repositoryPath(_ text: String, at domain: String) -> String? {
        guard let reference = try? Reference("localhost/\(text)"), reference.path == text, reference.digest == nil
        else { return nil }
        return domain == "docker.io" && !text.contains("/") ? "library/\(text)" : text
    }
}

extension ServiceURL {
    /// The URL of a server at `host[:port]`, with nothing behind that.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if the text is not a host.
    init(server host: String, isPlain: Bool = false) throws(CacheError) {
        let url = isPlain ? try ServiceURL("http://\(host)") : try ServiceURL("https://\(host)")
        guard url.path.isEmpty, url.query == nil else {
            throw CacheError(
                .invalidSpec, "invalid host \(Reference.hidingUserInfo(host).quoted): expected host or host:port")
        }
        self = url
    }
}
