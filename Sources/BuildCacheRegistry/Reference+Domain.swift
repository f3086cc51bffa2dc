import BuildCacheCore
import BuildCacheHTTP
import BuildCacheSpec

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
