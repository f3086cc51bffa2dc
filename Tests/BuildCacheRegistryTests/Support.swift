import BuildCacheCore
import BuildCacheHTTP
import BuildCacheRegistry
import BuildCacheSpec
import Foundation
import TestServers

extension RegistryClient {
    /// Runs `body` with a client of its own that pauses hardly at all between tries.
    static func forTests<Value>(
        credentials: RegistryCredentials = .anonymous, hosts: [String: RegistryHost] = [:],
        environment: Environment = .empty, _ body: (RegistryClient) async throws -> Value
    ) async throws -> Value {
        try await HTTPTransport.withTransport(environment: environment) { transport in
            var transport = transport
            transport.retry = RetryPolicy(
                attempts: 40, firstPause: .milliseconds(1), longestPause: .milliseconds(4), budget: .seconds(60))
            return try await body(
                RegistryClient(settings: .init(hosts: hosts, credentials: credentials), transport: transport))
        }
    }
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
