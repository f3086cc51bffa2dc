@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheSpec
@testable import BuildCacheClient
import Foundation
@testable import TestServers

@testable import BuildCacheRegistry

extension RegistryClient {
    /// Runs `body` with a client of its own that pauses hardly at all between tries, and reads no settings of this machine.
    static func forTests<Value>(
        credentials: RegistryCredentials = .anonymous, hosts: [String: RegistryHost] = [:],
        hostDirectories: [String] = [], allowedInsecureHosts: CredentialHosts = .none,
        environment: Environment = .empty, attempts: Int = 40, _ body: (RegistryClient) async throws -> Value
    ) async throws -> Value {
        let settings = RegistrySettings(
            hosts: hosts, credentials: credentials, hostDirectories: hostDirectories,
            allowedInsecureHosts: allowedInsecureHosts)
        return try await forTests(settings: settings, environment: environment, attempts: attempts, body)
    }

    /// Runs `body` with a client of its own that has these settings.
    static func forTests<Value>(
        settings: RegistrySettings, environment: Environment = .empty, attempts: Int = 40,
        _ body: (RegistryClient) async throws -> Value
    ) async throws -> Value {
        try await HTTPTransport.withTransport(environment: environment) { transport in
            var transport = transport
            transport.retry = RetryPolicy(
                attempts: attempts, firstPause: .milliseconds(1), longestPause: .milliseconds(4), budget: .seconds(60))
            return try await body(RegistryClient(settings: settings, transport: transport))
        }
    }
}

/// Runs `body` with a repository of a registry in this process.
func withRepository(
    _ registry: FakeRegistry, profile: RegistryProfile? = nil, mountSources: [String] = [], attempts: Int = 40,
    resumableSize: Int64? = nil,
    _ body: @escaping @Sendable (RegistryRepository, RegistryClient, String) async throws -> Void
) async throws {
    try await withServer(registry.respond) { address in
        let hosts = [address: RegistryHost(plainHTTP: true, mountSources: mountSources, profile: profile)]
        try await RegistryClient.forTests(hosts: hosts, attempts: attempts) { client in
            var client = client
            if let resumableSize { client.resumableSize = resumableSize }
            let repository = try await RegistryRepository(try Reference("\(address)/app:latest"), client: client)
            registry.clearLog()
            try await body(repository, client, address)
        }
    }
}

/// Runs `body` with a cache at a registry in this process.
func withCache(
    _ registry: FakeRegistry, layout: ManifestLayout = .imageManifest, writePolicy: WritePolicy = .replace,
    _ body: @escaping @Sendable (RegistryCache) async throws -> Void
) async throws {
    try await withServer(registry.respond) { address in
        try await RegistryClient.forTests { client in
            try await ScratchStore.withTemporary { scratch in
                var export = ExportOptions(mode: .max, layout: layout)
                export.writePolicy = writePolicy
                try await body(
                    RegistryCache(
                        RegistryOptions(ref: try Reference("\(address)/app:cache")), export: export, scratch: scratch,
                        client: client))
            }
        }
    }
}

let mebibyte = 1 << 20

/// A blob of so many bytes, which differs by its seed.
func makeBlob(_ count: Int, seed: UInt8 = 1) -> (descriptor: Descriptor, bytes: [UInt8]) {
    var state = UInt64(seed)
    // Of a length that no part has, so that bytes in a wrong place are other bytes.
    let block = (0..<4093).map { _ -> UInt8 in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return UInt8(truncatingIfNeeded: state >> 56)
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count { bytes += block.prefix(count - bytes.count) }
    return (Descriptor(mediaType: .layer(.gzip), digest: Digest(of: bytes), size: Int64(count)), bytes)
}

extension FakeRegistry {
    /// The methods of all requests so far.
    var methods: [String] { log.map(\.method) }
}

extension RegistryCredentials {
    /// What ``LoginGate`` wants.
    static let right = RegistryCredentials { _ in .password(user: LoginGate.user, Secret(LoginGate.password)) }
}

/// Runs `body` with a file of these bytes.
func withTemporaryFile<Value>(_ bytes: [UInt8], _ body: (String) async throws -> Value) async throws -> Value {
    let path = NSTemporaryDirectory() + "build-cache-" + UUID().uuidString
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try await body(path)
}

/// Runs `body` with a folder of its own, which is removed afterwards.
func withTemporaryFolder<Value>(_ body: (String) async throws -> Value) async throws -> Value {
    let folder = NSTemporaryDirectory() + "build-cache-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    return try await body(folder)
}

/// Writes a text into a file, whose folders are made.
func write(_ text: String, to path: String) throws {
    let url = URL(fileURLWithPath: path)
    try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: url)
}

/// A `config.json` with a login for a key.
func dockerConfig(_ key: String, _ user: String = LoginGate.user, _ password: String = LoginGate.password) -> String {
    let login = Data("\(user):\(password)".utf8).base64EncodedString()
    return #"{"auths":{"\#(key)":{"auth":"\#(login)"}}}"#
}
