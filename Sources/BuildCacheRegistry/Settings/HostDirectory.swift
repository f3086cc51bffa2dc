import BuildCacheCore
import BuildCacheHTTP

/// The settings of one registry in a directory of folders: a `hosts.toml`, or certificates.
///
/// - Source: containerd docs/hosts.md, core/remotes/docker/config/hosts.go.
struct HostDirectory: Sendable {
    /// As in `/etc/docker/certs.d`.
    let root: String

    /// The settings of a registry.
    struct Entry: Sendable {
        /// `nil` if the folder has no settings.
        var host: RegistryHost?
        /// Faults of the settings that stop nothing, as Docker warns of them.
        var problems: [String] = []
    }

    /// Reads the folder of a registry.
    ///
    /// - Returns: `nil` if the directory has no folder for it.
    /// - Throws: `CacheError` `.invalidSpec`, `.limitExceeded`, `.unavailable`.
    func entry(for domain: String) async throws(CacheError) -> Entry? {
        for name in HostDirectory.folders(for: domain) {
            let folder = "\(root)/\(name)"
            let names: [String]
            do {
                guard let found = try await ConfigurationFile.names(in: folder) else { continue }
                names = found
            } catch {
                guard error.code == .denied else { throw error }
                return Entry(problems: ["the settings of \(domain) are not used: \(error.message)"])
            }
            return try await entry(domain, folder, names)
        }
        return nil
    }

    /// Folders in the order in which they are looked for; colons are not possible in names everywhere.
    private static func folders(for domain: String) -> [String] {
        let host = Reference.withoutPort(domain)
        let port = domain.dropFirst(host.count + 1)
        return (port.isEmpty ? [] : ["\(host)_\(port)_"]) + [domain, "_default"]
    }

    private func entry(_ domain: String, _ folder: String, _ names: [String]) async throws(CacheError) -> Entry {
        var entry = Entry()
        if names.contains("hosts.toml") {
            do {
                let bytes = try await ConfigurationFile.read("\(folder)/hosts.toml") ?? []
                if !bytes.isEmpty {
                    let hosts = try ContainerdHosts(try TOMLReader.read(bytes), folder, domain)
                    return Entry(host: hosts.host, problems: hosts.problems)
                }
            } catch {
                guard [.invalidSpec, .denied, .corrupted].contains(error.code) else { throw error }
                entry.problems = ["\(folder)/hosts.toml is not used: \(error.message)"]
            }
        }
        let certificates = CertificateFolder(folder, names)
        entry.problems += certificates.problems
        guard !certificates.isEmpty else { return entry }
        var host = RegistryHost()
        host.tls.add(certificates)
        // A registry on this machine may have certificates, and speak plain HTTP all the same.
        host.plainHTTP = Reference.isLoopback(domain)
        host.prefersTLS = host.plainHTTP
        entry.host = host
        return entry
    }
}

/// The content of a `hosts.toml`.
private struct ContainerdHosts {
    var host: RegistryHost
    var problems: [String] = []

    /// - Parameters:
    ///   - folder: The folder that relative paths begin at.
    ///   - domain: The registry that the file is for.
    init(_ table: TOMLTable, _ folder: String, _ domain: String) throws(CacheError) {
        host = RegistryHost()
        if let address = try table.string("server"), !address.isEmpty {
            host.server = try server(address, table, folder)
        } else {
            var own = try server(domain, table, folder)
            own.capabilities = Set(RegistryServer.Capability.allCases)
            // Without a scheme, a registry on this machine may speak either.
            own.connection?.plainHTTP = Reference.isLoopback(domain)
            own.connection?.prefersTLS = Reference.isLoopback(domain)
            host.server = own
        }
        guard let blocks = try table.table("host") else { return }
        for address in blocks.keys {
            guard let block = try blocks.table(address) else { continue }
            host.mirrors.append(try server(address, block, folder))
        }
    }

    private mutating func server(
        _ address: String, _ table: TOMLTable, _ folder: String
    ) throws(CacheError) -> RegistryServer {
        let url: ServiceURL
        do {
            url = try ServiceURL(address.hasPrefix("http") && address.contains("://") ? address : "https://\(address)")
        } catch {
            throw CacheError(
                .invalidSpec, "invalid server \(Reference.hidingUserInfo(address).quoted): \(error.message)")
        }
        var connection = RegistryServer.Connection(plainHTTP: url.scheme == "http")
        connection.tls.verifiesCertificates = try table.boolean("skip_verify") != true
        connection.tls.authorities = try table.strings("ca").map { absolute($0, folder) }
        connection.tls.clientCertificate = try clientCertificate(table, folder)
        // Plain HTTP with options of TLS is ambiguous, unless the port says which.
        let hasTLS = ["skip_verify", "ca", "client"].contains { table[$0] != nil }
        connection.prefersTLS = connection.plainHTTP && hasTLS && url.port ?? 80 != 80
        if table["header"] != nil {
            problems.append("the headers for \(url.host) in \(folder)/hosts.toml are not sent")
        }
        return RegistryServer(
            host: Reference.apiHost(of: url.port.map { "\(url.host):\($0)" } ?? url.host),
            apiPath: try apiPath(url.path, isWhole: try table.boolean("override_path") == true), connection: connection,
            capabilities: try capabilities(table))
    }

    private func apiPath(_ path: String, isWhole: Bool) throws(CacheError) -> String {
        let parts = path.split(separator: "/")
        guard !parts.contains(where: { $0 == "." || $0 == ".." }) else {
            throw CacheError(.invalidSpec, "invalid path \(path.quoted): expected one without . and ..")
        }
        let path = parts.map { "/\($0)" }.joined()
        return isWhole || path.hasSuffix("/v2") ? path : path + "/v2"
    }

    private func capabilities(_ table: TOMLTable) throws(CacheError) -> Set<RegistryServer.Capability> {
        let names = try table.strings("capabilities")
        guard !names.isEmpty else { return Set(RegistryServer.Capability.allCases) }
        var capabilities: Set<RegistryServer.Capability> = []
        for name in names {
            // Caches have no referrers.
            if name.lowercased() == "referrers" { continue }
            guard let capability = RegistryServer.Capability(rawValue: name.lowercased()) else {
                throw CacheError(
                    .invalidSpec, "invalid capability \(name.quoted): expected pull, resolve, push or referrers")
            }
            capabilities.insert(capability)
        }
        return capabilities
    }

    /// One file with both, a list of such files, or a list of pairs; the first one counts.
    private mutating func clientCertificate(
        _ table: TOMLTable, _ folder: String
    ) throws(CacheError) -> TLSOptions.ClientCertificate? {
        let first: TOMLValue?
        switch table["client"] {
        case nil: return nil
        case .list(let list)?:
            first = list.elements.first
            if list.elements.count > 1 {
                problems.append("of the client certificates in \(folder)/hosts.toml the first is used")
            }
        case let value: first = value
        }
        var files: [String] = []
        switch first {
        case nil: return nil
        case .string(let file)?: files = [file]
        case .list(let pair)?: for case .string(let file) in pair.elements { files.append(file) }
        default: break
        }
        guard let certificate = files.first, !certificate.isEmpty, files.count <= 2 else {
            throw table.wrong("client", "a file, a list of files, or a list of pairs of files")
        }
        let key = files.count > 1 && !files[1].isEmpty ? files[1] : certificate
        return .init(certificate: absolute(certificate, folder), key: absolute(key, folder))
    }

    private func absolute(_ path: String, _ folder: String) -> String {
        path.hasPrefix("/") ? path : "\(folder)/\(path)"
    }
}
