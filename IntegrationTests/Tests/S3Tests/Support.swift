@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheS3
@testable import BuildCacheSpec
@testable import BuildCacheTesting
import NIOHTTP1
@testable import TestServers
@testable import TestTools
import Testing

/// A server for all tests of a suite, because it needs seconds to start.
struct S3TestServer: Sendable {
    /// As in `127.0.0.1:8333`.
    var address: String

    @TaskLocal static var current: S3TestServer?

    /// Options for a bucket of this server, with the keys of who may do everything.
    static func options(
        bucket: String = "cache", prefix: String = newPrefix(), names: [String] = ["buildkit"]
    ) throws -> S3Options {
        let server = try #require(current)
        var options = S3Options(bucket: bucket, region: "us-east-1", prefix: prefix, names: names)
        options.endpointURL = try ServiceURL("http://\(server.address)")
        options.usePathStyle = true
        options.accessKeyID = "ours"
        options.secretAccessKey = Secret("oursecret")
        return options
    }

    /// Caches of one prefix share layers, and no test expects those of another.
    static func newPrefix() -> String { "test-\(UInt32.random(in: .min ... .max))/" }

    /// A client that asks nobody else for credentials.
    static let client = S3Client(environment: .empty)

    /// Makes a bucket, waiting until the server can store something in it.
    static func makeBucket(_ name: String) async throws {
        let bucket = try await S3Bucket(options(bucket: name), client: client)
        try await retrying {
            await (try await bucket.send(S3Request(.PUT, nil, permission: "s3:CreateBucket"))).discard()
        }
        try await retrying { try await bucket.putObject("ready", []) }
    }
}

/// Runs a server around a suite.
struct WithS3Server: SuiteTrait, TestScoping {
    /// Runs a server for as long as a closure runs.
    let run: @Sendable (@escaping @Sendable (_ address: String) async throws -> Void) async throws -> Void
    let isInstalled: Bool

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        guard isInstalled else { return try await function() }
        try await withoutActuallyEscaping(function) { function in
            try await run { address in
                try await S3TestServer.$current.withValue(S3TestServer(address: address)) {
                    try await S3TestServer.makeBucket("cache")
                    try await function()
                }
            }
        }
    }
}

extension Trait where Self == WithS3Server {
    /// SeaweedFS, with identities who may do everything, only read, and not list.
    static var seaweedFS: Self {
        WithS3Server(
            run: { body in
                try await SeaweedFS.run([
                    .init("ours", "oursecret", ["Admin", "Read", "Write", "List", "Tagging"]),
                    .init("reader", "readersecret", ["Read:cache"]),
                    .init("writer", "writersecret", ["Write:cache"]),
                ]) { try await body($0) }
            }, isInstalled: Tool.weed.isInstalled)
    }

    /// Moto, which takes any key.
    static var moto: Self {
        WithS3Server(run: { body in try await Moto.run { try await body($0) } }, isInstalled: Tool.moto.isInstalled)
    }
}

/// Runs one check of the conformance suite on caches of a bucket.
func conformance(_ check: BackendConformance.Check, _ change: @Sendable (inout S3Options) -> Void = { _ in })
    async throws
{
    var options = try S3TestServer.options()
    change(&options)
    let given = options
    try await ScratchStore.withTemporary { scratch in
        try await check.run(
            BackendConformance { setup in
                var options = given
                options.names = [setup.cache]
                return S3Cache(options, export: setup.export, scratch: scratch, client: S3TestServer.client)
            })
    }
}
