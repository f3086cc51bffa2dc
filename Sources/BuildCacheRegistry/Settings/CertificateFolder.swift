import BuildCacheCore
import BuildCacheHTTP

/// The certificates in a folder, by the ends of their names: `*.crt` of authorities, `*.cert` to show, `*.key` their keys.
///
/// - Source: docs.docker.com, "Verify repository client with certificates"; containerd core/remotes/docker/config/hosts.go.
struct CertificateFolder: Sendable {
    var authorities: [String] = []
    /// The first in the order of names: TLS shows one certificate.
    var clientCertificate: TLSOptions.ClientCertificate?
    /// Faults of the folder that stop nothing.
    var problems: [String] = []

    var isEmpty: Bool { authorities.isEmpty && clientCertificate == nil }

    /// The certificates of a folder; one that does not exist, or that this user may not list, has none.
    ///
    /// - Throws: `CacheError` `.limitExceeded`, `.unavailable`.
    static func read(_ path: String) async throws(CacheError) -> CertificateFolder {
        do {
            return CertificateFolder(path, try await ConfigurationFile.names(in: path) ?? [])
        } catch {
            guard error.code == .denied else { throw error }
            var folder = CertificateFolder(path, [])
            folder.problems = ["certificates are not looked for: \(error.message)"]
            return folder
        }
    }

    /// - Parameter names: The names in the folder, sorted.
    init(_ path: String, _ names: [String]) {
        let known = Set(names)
        for name in names {
            let stem = name.lastIndex(of: ".").map { name[..<$0] } ?? name[...]
            switch name.dropFirst(stem.count) {
            case ".crt": authorities.append("\(path)/\(name)")
            case ".cert" where clientCertificate == nil:
                // A file without a key beside it may have both.
                let key = known.contains("\(stem).key") ? "\(stem).key" : name
                clientCertificate = .init(certificate: "\(path)/\(name)", key: "\(path)/\(key)")
            case ".cert": problems.append("\(path) has several client certificates, of which \(name) is not used")
            case ".key" where !known.contains("\(stem).cert"):
                problems.append("\(path)/\(name) is a key without its certificate \(stem).cert")
            default: break
            }
        }
    }
}

extension TLSOptions {
    /// Adds the certificates of a folder to those that the options have.
    mutating func add(_ folder: CertificateFolder) {
        authorities += folder.authorities
        clientCertificate = clientCertificate ?? folder.clientCertificate
    }
}
