import BuildCacheBytes
import BuildCacheCore
import BuildCacheJSON
import BuildCacheSpec
import NIOCore

/// Docker's `config.json`: who is logged in where.
///
/// - Source: docker/cli `cli/config/configfile/file.go`; `spec/backends.md` §1.3.
struct DockerConfig: Sendable {
    /// What is kept about one registry.
    struct Entry: Sendable {
        var auth: String?
        var username: String?
        var password: String?
        var identityToken: String?
        var registryToken: String?
    }

    var auths: [String: Entry] = [:]
    var helpers: [String: String] = [:]
    var store: String?

    private static let sizeLimit: Int64 = 4 << 20
    /// Docker Hub was an index once, and its credentials are still kept under that.
    private static let hub = "https://index.docker.io/v1/"

    /// The first that knows the domain: the variable, the helper for it, the helper for all, the file.
    static func credential(for domain: String, _ environment: Environment) async throws -> RegistryCredential? {
        let key = domain == "docker.io" ? hub : domain
        if let text = environment["DOCKER_AUTH_CONFIG"], !text.isEmpty {
            let config = try DockerConfig(Array(text.utf8), "DOCKER_AUTH_CONFIG")
            if let found = try config.entry(key)?.credential(for: domain) { return found }
        }
        let folder = environment["DOCKER_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
        guard let folder = folder ?? environment["HOME"].map({ $0 + "/.docker" }),
            let config = try await DockerConfig.read(folder + "/config.json")
        else { return nil }
        if let helper = config.helper(key) ?? config.store {
            return try await CredentialHelper(name: helper).credential(for: key, environment)
        }
        return try config.entry(key)?.credential(for: domain)
    }

    /// The file, `nil` if there is none.
    private static func read(_ path: String) async throws -> DockerConfig? {
        do {
            let file = try await BlobStream.file(at: path)
            guard file.length ?? 0 <= sizeLimit else { throw CacheError(.limitExceeded, "\(path) is too large") }
            var bytes: [UInt8] = []
            for try await chunk in file { bytes += chunk.readableBytesView }
            return try DockerConfig(bytes, path)
        } catch let error as CacheError where error.code == .notFound {
            return nil
        }
    }

    private func helper(_ key: String) -> String? {
        let name = helpers[key] ?? helpers.first { DockerConfig.host($0.key) == DockerConfig.host(key) }?.value
        return name.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// What is kept under `key`, or under a URL of the same host.
    private func entry(_ key: String) -> Entry? {
        auths[key]
            ?? auths.sorted { $0.key < $1.key }.first { DockerConfig.host($0.key) == DockerConfig.host(key) }?.value
    }

    /// The host of a key that may be a URL.
    private static func host(_ key: String) -> Substring {
        var rest = key[...]
        for scheme in ["https://", "http://"] where rest.hasPrefix(scheme) { rest = rest.dropFirst(scheme.count) }
        return rest.prefix { $0 != "/" }
    }
}

extension DockerConfig.Entry {
    /// - Throws: `CacheError` `.invalidSpec` if `auth` cannot be read; the error does not repeat it.
    func credential(for domain: String) throws(CacheError) -> RegistryCredential? {
        if let registryToken { return .registryToken(Secret(registryToken)) }
        if let identityToken { return .identityToken(Secret(identityToken)) }
        if let auth {
            guard var bytes = Base64.decode(Array(auth.utf8)), let colon = bytes.firstIndex(of: UInt8(ascii: ":"))
            else {
                throw CacheError(
                    .invalidSpec,
                    "Docker's configuration for \(domain) has an \"auth\" that is no base64 of user:password; log in again"
                )
            }
            while bytes.last == 0 { bytes.removeLast() }
            return .password(
                user: String(decoding: bytes[..<colon], as: UTF8.self),
                Secret(String(decoding: bytes[(colon + 1)...], as: UTF8.self)))
        }
        guard let username, let password else { return nil }
        return .password(user: username, Secret(password))
    }
}

extension DockerConfig {
    /// - Throws: `CacheError` `.invalidSpec` if `bytes` are no such JSON; the error does not repeat them.
    init(_ bytes: [UInt8], _ name: String) throws(CacheError) {
        do {
            self = try JSONReader.read(bytes, as: "Docker configuration") { reader throws(CacheError) in
                try DockerConfig(&reader)
            }
        } catch { throw CacheError(.invalidSpec, "\(name) cannot be read: \(error.message)") }
    }

    private init(_ reader: inout JSONReader) throws(CacheError) {
        guard try reader.beginObject() else { return }
        while let key = try reader.nextKey() {
            switch key {
            case "auths":
                guard try reader.beginObject() else { continue }
                while let host = try reader.nextKey() { auths[host.text] = try Entry(&reader) }
            case "credHelpers":
                guard try reader.beginObject() else { continue }
                while let host = try reader.nextKey() { helpers[host.text] = try reader.string() }
            case "credsStore": store = try reader.string().flatMap { $0.isEmpty ? nil : $0 }
            default: try reader.skipValue()
            }
        }
    }
}

extension DockerConfig.Entry {
    fileprivate init(_ reader: inout JSONReader) throws(CacheError) {
        guard try reader.beginObject() else { return }
        while let key = try reader.nextKey() {
            switch key {
            case "auth": auth = try reader.nonEmptyString()
            case "username": username = try reader.nonEmptyString()
            case "password": password = try reader.nonEmptyString()
            case "identitytoken": identityToken = try reader.nonEmptyString()
            case "registrytoken": registryToken = try reader.nonEmptyString()
            default: try reader.skipValue()
            }
        }
    }
}

extension JSONReader {
    mutating func nonEmptyString() throws(CacheError) -> String? { try string().flatMap { $0.isEmpty ? nil : $0 } }
}
