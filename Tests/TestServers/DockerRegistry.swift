import Foundation
package import TestTools

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
    ///   - clientAuthority: The authority of the certificates that callers must show, as a file.
    package static func run<Value: Sendable>(
        settings: String = "", tls: (certificate: String, key: String)? = nil, clientAuthority: String? = nil,
        _ body: @escaping @Sendable (_ address: String) async throws -> Value
    ) async throws -> Value {
        try await ServerProcess.run(.dockerRegistry) { folder, port in
            let authority = clientAuthority.map { ", clientcas: [\($0)]" } ?? ""
            let certificate = tls.map { "\n  tls: {certificate: \($0.certificate), key: \($0.key)\(authority)}" } ?? ""
            let configuration = """
                version: 0.1
                log: {level: error, accesslog: {disabled: true}}
                storage:
                  filesystem: {rootdirectory: \(folder)/data}
                  delete: {enabled: true}
                http:
                  addr: 127.0.0.1:\(port)
                  secret: test\(certificate)
                \(settings)
                """
            try configuration.write(toFile: folder + "/config.yml", atomically: true, encoding: .utf8)
            return ["serve", folder + "/config.yml"]
        } _: { address in
            try await body(address)
        }
    }
}
