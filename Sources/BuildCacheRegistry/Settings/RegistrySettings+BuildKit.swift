public import BuildCacheCore
import BuildCacheHTTP

extension RegistrySettings {
    /// The registries of a `buildkitd.toml`: its tables `[registry."host"]`, with `mirrors`, `http`, `insecure`, `ca`, `keypair` and
    /// `tlsconfigdir`.
    ///
    /// Read now, in full. Of several key pairs the first counts. Other tables of the file are not looked at.
    ///
    /// - Parameters:
    ///   - path: The file; `nil` is the one that a buildkitd of this user reads: `buildkit/buildkitd.toml` in `XDG_CONFIG_HOME` or
    ///     `~/.config`, else `/etc/buildkit/buildkitd.toml`, and no registries if neither exists.
    ///   - environment: The variables that the path and Docker's credentials depend on.
    /// - Throws: `CacheError` `.notFound` if `path` does not exist; `.invalidSpec` with the line or the key if it cannot be used;
    ///   `.denied`, `.limitExceeded` past 4 MiB.
    /// - Source: BuildKit docs/buildkitd.toml.md, util/resolver/resolver.go.
    public static func buildKit(
        configuration path: String? = nil, environment: Environment = .process
    ) async throws -> RegistrySettings {
        var settings = RegistrySettings(
            credentials: .docker(environment: environment),
            hostDirectories: dockerHostDirectories(environment: environment))
        for candidate in path.map({ [$0] }) ?? buildKitConfigurations(environment) {
            guard let bytes = try await ConfigurationFile.read(candidate) else { continue }
            settings.hosts = try await hosts(inBuildKitConfiguration: bytes, candidate)
            return settings
        }
        if let path { throw CacheError(.notFound, "\(path) does not exist") }
        return settings
    }

    private static func buildKitConfigurations(_ environment: Environment) -> [String] {
        let config = environment["XDG_CONFIG_HOME"] ?? environment["HOME"].map { $0 + "/.config" }
        return [config.map { $0 + "/buildkit" }, "/etc/buildkit"].compactMap { $0.map { $0 + "/buildkitd.toml" } }
    }

    private static func hosts(
        inBuildKitConfiguration bytes: [UInt8], _ path: String
    ) async throws(CacheError) -> [String: RegistryHost] {
        var hosts: [String: RegistryHost] = [:]
        do throws(CacheError) {
            guard let registries = try TOMLReader.read(bytes).table("registry") else { return [:] }
            for domain in registries.keys {
                guard let registry = try registries.table(domain) else { continue }
                hosts[domain] = try await host(registry, domain)
            }
        } catch {
            guard error.code == .invalidSpec else { throw error }
            throw CacheError(.invalidSpec, "\(path) cannot be used: \(error.message)")
        }
        return hosts
    }

    private static func host(_ table: TOMLTable, _ domain: String) async throws(CacheError) -> RegistryHost {
        var host = try RegistryHost.buildKit(table, domain)
        for folder in try table.strings("tlsconfigdir") { host.tls.add(try await CertificateFolder.read(folder)) }
        return host
    }
}

extension RegistryHost {
    /// A table `[registry."domain"]`, without the folders of certificates that it names.
    fileprivate static func buildKit(_ table: TOMLTable, _ domain: String) throws(CacheError) -> RegistryHost {
        var tls = TLSOptions(verifiesCertificates: try table.boolean("insecure") != true)
        tls.authorities = try table.strings("ca")
        if case .list(let pairs)? = table["keypair"], case .table(let pair)? = pairs.elements.first {
            guard let certificate = try pair.string("cert"), let key = try pair.string("key") else {
                throw pair.wrong("keypair", "a table with key and cert")
            }
            tls.clientCertificate = .init(certificate: certificate, key: key)
        } else if table["keypair"] != nil {
            throw table.wrong("keypair", "[[tables]] with key and cert")
        }
        let isPlain = try table.boolean("http")
        return RegistryHost(
            plainHTTP: isPlain ?? Reference.isLoopback(domain), tls: tls,
            mirrors: try table.strings("mirrors").map { RegistryServer($0) })
    }
}
