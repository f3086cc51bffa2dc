import BenchSupport
import BuildCache
import Foundation

/// A SeaweedFS with an S3 gateway on this machine, which checks signatures.
final class Server {
    static let keys = (id: "ours", secret: "oursecret")
    let port: Int
    private let process = Process()

    /// Starts one in an empty folder and waits until it stores something.
    init(in folder: String) async throws {
        let first = Int.random(in: 20_000..<30_000)
        port = first
        let identity = """
            {"identities":[{"name":"ours","credentials":[{"accessKey":"\(Server.keys.id)","secretKey":"\(Server.keys.secret)"}],
            "actions":["Admin","Read","Write","List","Tagging"]}]}
            """
        try identity.write(toFile: folder + "/s3.json", atomically: true, encoding: .utf8)
        var arguments = [
            "weed", "server", "-dir=\(folder)", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.port=\(first)",
            "-s3.config=\(folder)/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=1024",
            "-volume.max=0", "-master.telemetry=false",
        ]
        let others = [
            "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
            "s3.port.grpc",
        ]
        arguments += others.enumerated().map { "-\($1)=\(first + 1 + $0)" }
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        for _ in 0..<120 {
            try await Task.sleep(for: .milliseconds(500))
            if (try? aws("s3", "mb", "s3://cache")) != nil { break }
        }
        try "x".write(toFile: folder + "/probe", atomically: true, encoding: .utf8)
        for _ in 0..<60 {
            if (try? aws("s3", "cp", folder + "/probe", "s3://cache/probe")) != nil { return }
            try await Task.sleep(for: .milliseconds(500))
        }
        throw CacheError(.unavailable, "weed does not store anything")
    }

    func stop() {
        process.terminate()
        process.waitUntilExit()
    }

    /// Runs Amazon's tool on this server, and says how long that took.
    @discardableResult
    func aws(_ arguments: String...) throws -> Double {
        let keys = [
            "AWS_ACCESS_KEY_ID": Server.keys.id, "AWS_SECRET_ACCESS_KEY": Server.keys.secret,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": "/dev/null",
        ]
        return try runAlone(
            ["aws", "--endpoint-url", "http://127.0.0.1:\(port)"] + arguments, environment: keys
        ).seconds
    }

    static func options(port: Int, prefix: String) throws -> S3Options {
        var options = S3Options(bucket: "cache", region: "us-east-1", prefix: prefix)
        options.endpointURL = try ServiceURL("http://127.0.0.1:\(port)")
        options.usePathStyle = true
        options.accessKeyID = keys.id
        options.secretAccessKey = Secret(keys.secret)
        return options
    }
}
