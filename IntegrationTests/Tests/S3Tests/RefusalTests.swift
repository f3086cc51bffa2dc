@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGraph
@testable import BuildCacheHTTP
@testable import BuildCacheS3
@testable import BuildCacheSpec
@testable import BuildCacheTesting
@testable import BuildCacheClient
import NIOHTTP1
import Testing

extension SeaweedFSTests {
    /// What is done with a cache.
    enum Action: CaseIterable { case export, `import` }

    private func refusal(
        _ action: Action, _ client: S3Client = S3TestServer.client, _ change: (inout S3Options) -> Void = { _ in }
    ) async throws -> CacheError {
        var options = try S3TestServer.options()
        change(&options)
        let given = options
        let sample = try SampleCache.diamond()
        return try await ScratchStore.withTemporary { scratch in
            let cache = S3Cache(given, export: ExportOptions(mode: .max), scratch: scratch, client: client)
            let error = await #expect(throws: CacheError.self) {
                switch action {
                case .export: _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
                case .import: _ = try await cache.importCache(progress: .discarded)
                }
            }
            return try #require(error)
        }
    }

    @Test("says that a key is not known, or not the right one", arguments: Action.allCases)
    func wrongKey(_ action: Action) async throws {
        let unknown = try await refusal(action) { $0.accessKeyID = "nobody" }
        #expect(unknown.code == .denied)
        #expect(unknown.message.contains("check access_key_id"), "\(unknown)")
        let wrong = try await refusal(action) { $0.secretAccessKey = Secret("hunter2") }
        #expect(wrong.code == .denied)
        #expect(wrong.message.contains("secret_access_key is not that of access_key_id"), "\(wrong)")
        #expect(!wrong.debugDescription.contains("hunter2"))
    }

    @Test("says by how much a clock is wrong that is farther off than is corrected", arguments: [-90_030, 90_030])
    func wrongClock(_ seconds: Int64) async throws {
        var client = S3TestServer.client
        client.now = {
            let now = Timestamp.now()
            return Timestamp(seconds: now.seconds + seconds) ?? now
        }
        let error = try await refusal(.import, client)
        #expect(error.code == .denied)
        #expect(error.message.contains(seconds < 0 ? "minutes: it is behind" : "minutes: it is ahead of"), "\(error)")
        #expect(error.retry == .never)
    }

    @Test("says that there is no such bucket", arguments: Action.allCases)
    func missingBucket(_ action: Action) async throws {
        let error = try await refusal(action) { $0.bucket = "elsewhere" }
        #expect(error.code == .notFound)
        #expect(error.message.contains("there is no bucket elsewhere"), "\(error)")
        #expect(error.context.backend == "s3")
    }

    @Test("says what permission is missing")
    func denied() async throws {
        func be(_ name: String, _ options: inout S3Options) {
            options.accessKeyID = name
            options.secretAccessKey = Secret(name + "secret")
        }
        let list = try await refusal(.export) { be("writer", &$0) }
        #expect(list.code == .denied)
        #expect(list.message.contains("s3:ListBucket on cache"), "\(list)")
        let write = try await refusal(.export) { be("reader", &$0) }
        #expect(write.code == .denied)
        #expect(write.message.contains("s3:PutObject") || write.message.contains("s3:ListBucket"), "\(write)")
        let read = try await refusal(.import) { be("writer", &$0) }
        #expect(read.code == .denied)
        #expect(read.message.contains("s3:GetObject"), "\(read)")
    }

    @Test("is read by who may read and not list; a lost layer is a miss to them, too")
    func readOnly() async throws {
        let options = try S3TestServer.options()
        let sample = try SampleCache.diamond()
        try await ScratchStore.withTemporary { scratch in
            let cache = S3Cache(
                options, export: ExportOptions(mode: .max), scratch: scratch, client: S3TestServer.client)
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            let victim = sample.layers[1].descriptor.digest
            let bucket = try await S3Bucket(options, client: S3TestServer.client)
            await (try await bucket.send(S3Request(.DELETE, bucket.keys.blob(victim), permission: ""))).discard()
            var reading = options
            reading.accessKeyID = "reader"
            reading.secretAccessKey = Secret("readersecret")
            for options in [options, reading] {
                let found = try #require(
                    try await S3Cache(options, scratch: scratch, client: S3TestServer.client)
                        .importCache(progress: .discarded))
                let rest = sample.graph.removingResults { $0.content == .blob(victim) }
                #expect(found.graph == rest)
                #expect(found.problems.count == 1)
                #expect(found.problems.first?.kind == .lostLayer)
            }
        }
    }
}
