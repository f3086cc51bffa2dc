import Foundation
import NIOCore
import Subprocess
package import TestTools

#if canImport(System)
    import System
#else
    import SystemPackage
#endif

extension Tool {
    package static let dockerRegistry = Tool("docker-registry")
    package static let htpasswd = Tool("htpasswd")
    package static let openssl = Tool("openssl")
}

/// Distribution's registry, a process of its own with an empty storage.
package enum DockerRegistry {
    /// Runs a registry on a free port of this machine for as long as `body` runs.
    ///
    /// - Parameters:
    ///   - settings: More sections of its configuration, in YAML.
    ///   - tls: A certificate and a key, as files.
    package static func run<Value: Sendable>(
        settings: String = "", tls: (certificate: String, key: String)? = nil,
        _ body: @escaping @Sendable (_ address: String) async throws -> Value
    ) async throws -> Value {
        let folder = NSTemporaryDirectory() + "build-cache-registry-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let port = try freePort()
        let address = "127.0.0.1:\(port)"
        let certificate = tls.map { "\n  tls: {certificate: \($0.certificate), key: \($0.key)}" } ?? ""
        let configuration = """
            version: 0.1
            log: {level: error, accesslog: {disabled: true}}
            storage:
              filesystem: {rootdirectory: \(folder)/data}
              delete: {enabled: true}
            http:
              addr: \(address)
              secret: test\(certificate)
            \(settings)
            """
        try configuration.write(toFile: folder + "/config.yml", atomically: true, encoding: .utf8)
        guard let path = Tool.dockerRegistry.path else {
            throw ToolFailure(tool: "docker-registry", end: .notInstalled)
        }
        let result = try await Subprocess.run(
            .path(FilePath(path)), arguments: ["serve", folder + "/config.yml"], input: .none, output: .discarded,
            error: .discarded
        ) { process in
            do {
                try await waitForListener(port)
                let value = try await body(address)
                try process.send(signal: .terminate)
                return value
            } catch {
                try? process.send(signal: .terminate)
                throw error
            }
        }
        return result.closureResult
    }
}
