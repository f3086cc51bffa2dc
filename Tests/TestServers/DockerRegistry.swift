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

/// A port that nobody listens on now.
package func freePort() throws -> Int {
    let socket = try makeSocket()
    defer { close(socket) }
    var address = loopback(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
            bind(socket, address, length) == 0 && getsockname(socket, address, &length) == 0
        }
    }
    guard status else { throw ToolFailure(tool: "bind", end: .exited(errno)) }
    return Int(UInt16(bigEndian: address.sin_port))
}

/// Returns when somebody listens on a port of this machine, or throws after two minutes: a machine may have much else to do.
package func waitForListener(_ port: Int) async throws {
    let clock = ContinuousClock()
    let deadline = clock.now + .seconds(120)
    while clock.now < deadline {
        let socket = try makeSocket()
        defer { close(socket) }
        var address = loopback(port: port)
        let isListening = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        if isListening { return }
        try await clock.sleep(for: .milliseconds(10))
    }
    throw ToolFailure(tool: "port \(port)", end: .exited(1))
}

private func makeSocket() throws -> CInt {
    #if canImport(Darwin)
        let descriptor = socket(AF_INET, SOCK_STREAM, 0)
    #else
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #endif
    guard descriptor >= 0 else { throw ToolFailure(tool: "socket", end: .exited(errno)) }
    return descriptor
}

private func loopback(port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return address
}
