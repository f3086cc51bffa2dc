@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheS3
@testable import BuildCacheTesting
@testable import BuildCacheClient
import Testing

/// What a prune does on any server; each runs on every one.
enum PruneChecks {
    struct Check: Sendable, CustomTestStringConvertible {
        /// The end of a sentence that begins with "a prune".
        var testDescription: String
        var run: @Sendable () async throws -> Void
    }

    static let all = [
        Check(testDescription: "removes names, and layers that only they reach", run: removes),
        Check(testDescription: "keeps young layers, and all while a name cannot be read", run: keeps),
        Check(testDescription: "keeps what was exported after the plan", run: exportedAgain),
        Check(testDescription: "finds more layers than a page has", run: pages),
        Check(testDescription: "refuses a grace period that exports do not respect", run: gracePeriod),
    ]

    private static let month: Int64 = 30 * 86_400
    /// A moment when all that is there now is a month old.
    private static var later: Timestamp { Timestamp(seconds: Timestamp.now().seconds + month) ?? .zero }

    /// Runs `body` with a maker of caches of one prefix.
    private static func withCaches(
        _ body: (_ cache: (String) -> S3Cache, _ bucket: S3Bucket) async throws -> Void
    ) async throws {
        let options = try S3TestServer.options()
        try await ScratchStore.withTemporary { scratch in
            try await body(
                { name in
                    var options = options
                    options.names = [name]
                    return S3Cache(options, scratch: scratch, client: S3TestServer.client)
                }, try await S3Bucket(options, client: S3TestServer.client))
        }
    }

    /// Names and the layers that only they reach go; the dry run changes nothing.
    @Sendable private static func removes() async throws {
        try await withCaches { cache, bucket in
            let (long, short) = (try SampleCache.chain(of: 4), try SampleCache.chain(of: 2))
            for name in ["feature/1", "feature/2"] { try await cache(name).export(long) }
            try await cache("main").export(short)
            let layers = long.layers.map(\.descriptor.digest)
            let retention = Retention(maximumCount: 0, protectedNames: ["main"])
            let plan = try await cache("main").planPrune(retention, now: later)
            #expect(Set(plan.removedNames.map(\.name)) == ["feature/1", "feature/2"])
            #expect(plan.blobs.count == 2)
            #expect(plan.problems == [])
            #expect(try await bucket.find(layers).count == 4)

            let report = try await cache("main").prune(plan)
            #expect(Set(report.removedNames) == ["feature/1", "feature/2"])
            #expect(report.removedBlobs == plan.blobs)
            #expect(report.freedBytes == plan.freedBytes)
            #expect(try await bucket.find(layers).count == 2)
            #expect(try await cache("feature/1").importCache(progress: .discarded) == nil)
            #expect(try await cache("main").importCache(progress: .discarded)?.graph == short.graph)
        }
    }

    /// What is young stays, and so does everything while a name cannot be read.
    @Sendable private static func keeps() async throws {
        try await withCaches { cache, bucket in
            let sample = try SampleCache.chain(of: 2)
            let layers = sample.layers.map(\.descriptor.digest)
            try await cache("a").export(sample)
            try await cache("a").prune(try await cache("a").planPrune(Retention(maximumCount: 0)))
            #expect(try await bucket.find(layers).count == 2)
            #expect(try await cache("a").importCache(progress: .discarded) == nil)

            try await bucket.putObject(bucket.keys.manifest("broken"), Array("{".utf8))
            let plan = try await cache("a").planPrune(Retention(), now: later)
            #expect(plan.blobs == [])
            #expect(plan.problems.count == 2)
            // Its age alone does not tell that it is of no use; the caller may.
            let aged = try await cache("a").planPrune(Retention(maximumAge: .seconds(86_400)), now: later)
            #expect(aged.removedNames == [])
            let retention = Retention(removesUnreadable: true)
            let report = try await cache("a").prune(try await cache("a").planPrune(retention, now: later))
            #expect(report.removedNames == ["broken"])
            #expect(Set(report.removedBlobs.compactMap(\.digest)) == Set(layers))
            #expect(try await bucket.find(layers).isEmpty)
        }
    }

    /// A name that is written after the plan, and what it reaches, stays.
    @Sendable private static func exportedAgain() async throws {
        try await withCaches { cache, bucket in
            let (old, new) = (try SampleCache.chain(of: 1), try SampleCache.chain(of: 3))
            try await cache("a").export(old)
            try await cache("b").export(new)
            let plan = try await cache("a").planPrune(Retention(maximumCount: 0), now: later)
            #expect(plan.blobs.count == 3)
            try await cache("a").export(new)
            let report = try await cache("a").prune(plan)
            #expect(report.changedNames == ["a"])
            #expect(report.removedNames == ["b"])
            #expect(report.removedBlobs == [])
            #expect(try await cache("a").importCache(progress: .discarded)?.graph == new.graph)
        }
    }

    /// More objects than one page holds.
    @Sendable private static func pages() async throws {
        try await withCaches { cache, bucket in
            let digests = (0..<1010).map { Digest(of: "\($0)".utf8) }
            _ = try await digests.mapConcurrently(limit: 16) { digest in
                try await bucket.putObject(bucket.keys.blob(digest), [1])
            }
            let plan = try await cache("a").planPrune(Retention(), now: later)
            #expect(plan.blobs.count == digests.count)
        }
    }

    /// The grace period must be longer than exports rely on layers without renewing them.
    @Sendable private static func gracePeriod() async throws {
        try await withCaches { cache, _ in
            let error = await #expect(throws: CacheError.self) {
                try await cache("a").planPrune(Retention(gracePeriod: .seconds(86_400)))
            }
            #expect(error?.code == .invalidSpec)
        }
    }
}
