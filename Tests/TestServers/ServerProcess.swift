import Foundation
import Subprocess
package import TestTools

#if canImport(System)
    import System
#else
    import SystemPackage
#endif

extension Tool {
    package static let weed = Tool("weed")
    package static let moto = Tool("moto_server")
    package static let aws = Tool("aws")
}

/// A server that is a process of its own for as long as somebody needs it.
package enum ServerProcess {
    /// Runs `tool` in an empty folder until `body` returns.
    ///
    /// A server that ends before it listens is started again, at other ports: between the choice of a port and its use somebody else may
    /// have taken it.
    ///
    /// - Parameters:
    ///   - arguments: Given the folder, and the port where it is to listen.
    ///   - body: Given the address.
    package static func run<Value: Sendable>(
        _ tool: Tool, arguments: (_ folder: String, _ port: Int) throws -> [String],
        _ body: @escaping @Sendable (_ address: String) async throws -> Value
    ) async throws -> Value {
        for _ in 0..<4 {
            if let value = try await start(tool, arguments, body) { return value }
        }
        throw ToolFailure(tool: tool.description, end: .exited(1))
    }

    /// - Returns: `nil` if the server ended before it listened.
    private static func start<Value: Sendable>(
        _ tool: Tool, _ arguments: (_ folder: String, _ port: Int) throws -> [String],
        _ body: @escaping @Sendable (_ address: String) async throws -> Value
    ) async throws -> Value? {
        guard let path = tool.path else { throw ToolFailure(tool: tool.description, end: .notInstalled) }
        let folder = NSTemporaryDirectory() + "build-cache-server-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let port = try freePort()
        let result = try await Subprocess.run(
            .path(FilePath(path)), arguments: Arguments(try arguments(folder, port)), input: .none,
            output: .discarded, error: .discarded
        ) { process -> Value? in
            do {
                let identifier = process.processIdentifier.value
                guard try await waitForListener(port, while: { !hasEnded(identifier) }) else { return nil }
                let value = try await body("127.0.0.1:\(port)")
                // What it keeps is thrown away, so nothing needs an orderly end.
                try process.send(signal: .kill)
                return value
            } catch {
                try? process.send(signal: .kill)
                throw error
            }
        }
        return result.closureResult
    }

    /// Whether a child has ended, without taking note of it for those who wait for its end.
    private static func hasEnded(_ identifier: pid_t) -> Bool {
        var information = siginfo_t()
        return waitid(P_PID, id_t(identifier), &information, WEXITED | WNOHANG | WNOWAIT) != 0
            || information.si_signo != 0
    }
}

/// SeaweedFS with its S3 gateway, which checks signatures.
package enum SeaweedFS {
    /// Somebody who may do something.
    package struct Identity: Sendable {
        package var accessKey: String
        package var secretKey: String
        /// As in `Read:bucket`.
        package var actions: [String]

        package init(_ accessKey: String, _ secretKey: String, _ actions: [String]) {
            self.accessKey = accessKey
            self.secretKey = secretKey
            self.actions = actions
        }
    }

    /// Runs a server that knows these identities and no others; it may need some seconds more until it stores something.
    package static func run<Value: Sendable>(
        _ identities: [Identity], _ body: @escaping @Sendable (_ address: String) async throws -> Value
    ) async throws -> Value {
        try await ServerProcess.run(.weed) { folder, port in
            let entries = identities.map { identity in
                let actions = identity.actions.map { "\"\($0)\"" }.joined(separator: ",")
                return """
                    {"name":"\(identity.accessKey)","actions":[\(actions)],
                     "credentials":[{"accessKey":"\(identity.accessKey)","secretKey":"\(identity.secretKey)"}]}
                    """
            }
            try "{\"identities\":[\(entries.joined(separator: ","))]}".write(
                toFile: folder + "/s3.json", atomically: true, encoding: .utf8)
            var arguments = [
                "server", "-dir=\(folder)", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.port=\(port)",
                "-s3.config=\(folder)/s3.json", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
                "-master.volumeSizeLimitMB=1024", "-volume.max=0", "-master.telemetry=false",
            ]
            // Its own way of choosing the others is to add 10000, which may be too much.
            for other in [
                "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
                "s3.port.grpc",
            ] {
                arguments.append("-\(other)=\(try freePort())")
            }
            return arguments
        } _: { address in
            try await body(address)
        }
    }
}

/// Python's in-memory AWS.
package enum Moto {
    package static func run<Value: Sendable>(
        _ body: @escaping @Sendable (_ address: String) async throws -> Value
    ) async throws -> Value {
        try await ServerProcess.run(.moto) { _, port in
            ["-H", "127.0.0.1", "-p", "\(port)"]
        } _: { address in
            try await body(address)
        }
    }
}
