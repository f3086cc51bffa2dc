@testable import BuildCache
@testable import BuildCacheS3
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
import Foundation
@testable import TestServers
@testable import TestTools
import Testing

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// Eight processes, each of which exports many records to one name, none of them waiting for another.
@Suite("Parallel jobs that export to one name with WritePolicy.merge lose nothing", .serialized)
struct MergeTests {
    private static let workers = 8
    /// Exports of each; `make nightly` asks for 50.
    private static let exports =
        ProcessInfo.processInfo.environment["BUILD_CACHE_MERGE_EXPORTS"].flatMap(Int.init) ?? 12

    /// Lets all jobs export, and looks for each record.
    private func check(_ spec: String, import source: String? = nil) async throws {
        let directory = try TemporaryDirectory()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<Self.workers {
                group.addTask {
                    // Behind all other tests that run meanwhile: some of these watch for silence.
                    let complaints = try await Tool("nice").output([
                        "-n", "19", Tool.built("MergeProbe").description, "\(directory.path)/scratch-\(worker)",
                        "\(worker)", "\(Self.exports)", spec,
                    ])
                    #expect(String(decoding: complaints, as: UTF8.self) == "")
                }
            }
            try await group.waitForAll()
        }
        try await ScratchStore.withTemporary { scratch in
            let client = try CacheClient(
                cacheFrom: [source ?? spec], environment: .empty, scratch: scratch,
                clients: BackendClients(s3: S3Client(environment: .empty)))
            let report = try await client.importCaches()
            let cache = try #require(try report.outcomes[0].result.get())
            #expect(cache.problems == [])
            var expected = LayerGraph()
            for worker in 0..<Self.workers {
                for number in 0..<Self.exports { try expected.merge(SampleCache.step("\(worker) \(number)").graph) }
            }
            #expect(cache.graph.recordCount == expected.recordCount)
            let isSame = try cache.graph.withDiffIDs() == expected.withDiffIDs()
            #expect(isSame)
        }
    }

    @Test("in a directory")
    func local() async throws {
        let directory = try TemporaryDirectory()
        try await check("type=local,dest=\(directory.path)/cache", import: "type=local,src=\(directory.path)/cache")
    }

    @Test("in a bucket, by conditional writes", .enabled(if: Tool.weed.isInstalled, "weed is not installed"))
    func s3() async throws {
        try await SeaweedFS.run([.init("ours", "oursecret", ["Admin", "Read", "Write", "List", "Tagging"])]) {
            address in
            _ = try await s3Options(at: address)
            try await check(
                "type=s3,bucket=cache,region=us-east-1,endpoint_url=http://\(address),use_path_style=true,"
                    + "access_key_id=ours,secret_access_key=oursecret")
        }
    }

    @Test("in Azure, by conditional writes")
    func azure() async throws {
        try await AzureBlobServer().run { server, url in
            try await check(
                "type=azblob,account_url=\(url.exposed),account_name=\(server.account),"
                    + "secret_access_key=\(server.key.exposed)")
        }
    }

    @Test("at GitHub, by numbers that nobody takes twice")
    func github() async throws {
        try await GitHubCacheServer(uploadsPerMinute: .max).run { server, url in
            try await check("type=gha,url_v2=\(url.exposed),version=2,\"token=\(server.token().exposed)\"")
        }
    }

    @Test(
        "in a registry, by announcing themselves, and the last one leaves no announcement behind",
        .enabled(if: Tool.dockerRegistry.isInstalled, "docker-registry is not installed"))
    func registry() async throws {
        try await DockerRegistry.run { address in
            let spec = "type=registry,ref=\(address)/cache:main"
            try await check(spec)
            // Of those that ended at the same time, each may have taken the other for one that still writes.
            let directory = try TemporaryDirectory()
            let complaints = try await Tool.built("MergeProbe").output([directory.path, "last", "1", spec])
            #expect(String(decoding: complaints, as: UTF8.self) == "")
            let (data, _) = try await URLSession.shared.data(
                from: try #require(URL(string: "http://\(address)/v2/cache/tags/list")))
            let list = String(decoding: data, as: UTF8.self)
            #expect(list.contains(#""tags":["main"]"#), "\(list)")
        }
    }
}
