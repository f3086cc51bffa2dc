import BuildCacheCore

/// Docker's `config.json`: the logins to registries.
///
/// - Source: docker/cli `cli/config/configfile/file.go`; `Documentation/Spec/backends.md` §1.3.
struct DockerConfig: Sendable {
    /// The login to one registry.
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

    /// Decodes a file or a variable; text without any content is an empty configuration.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if `bytes` are not such JSON; the error does not repeat them.
    init(_ bytes: [UInt8]) throws(CacheError) {
        let space: [UInt8] = [9, 10, 13, 32]
        guard bytes.contains(where: { !space.contains($0) }) else { return }
        do {
            self = try JSONReader.read(bytes, as: "Docker configuration") { reader throws(CacheError) in
                try DockerConfig(&reader)
            }
        } catch { throw CacheError(.invalidSpec, error.message) }
    }

    /// The program that keeps the credentials for a key, `nil` if they are in the configuration.
    func helper(for key: String) -> String? { helper(key) ?? store }

    private func helper(_ key: String) -> String? {
        let name = helpers[key] ?? helpers.first { DockerConfig.host($0.key) == DockerConfig.host(key) }?.value
        return name.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// The login under `key`, or under a URL of the same host.
    func entry(_ key: String) -> Entry? {
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
                    "invalid \"auth\" for \(domain): expected base64 of user:password; log in again"
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
