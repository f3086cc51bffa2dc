@testable import BuildCacheCore
@testable import BuildCacheOCI
@testable import BuildCacheTesting
@testable import TestServers
import Testing

@testable import BuildCacheRegistry

@Suite("An announcement of a job that merges into a tag")
struct TagMergeTests {
    private func listing(settled: Set<String>, underWay: Set<String>) -> TagMerge.Listing {
        TagMerge.Listing(settled: settled, underWay: underWay)
    }

    @Test(
        "is under way for an hour, whatever the tag that is meant is called", arguments: ["main", "cache.merge-queue"])
    func time(_ tag: String) throws {
        let made = try #require(Timestamp(seconds: 1_790_000_000))
        let name = "\(tag).merge-0d6e4079-\(String(made.seconds, radix: 36))-12bngx3hwfrcf"
        #expect(TagMerge.mayBeUnderWay(name, at: made))
        #expect(TagMerge.mayBeUnderWay(name, at: try #require(Timestamp(seconds: made.seconds + 3600))))
        #expect(!TagMerge.mayBeUnderWay(name, at: try #require(Timestamp(seconds: made.seconds + 3601))))
        #expect(!TagMerge.mayBeUnderWay(name + ".settled", at: made))
        #expect(!TagMerge.mayBeUnderWay(tag, at: made))
    }

    @Test(
        "is not under way when it is dated far ahead, or in no time at all",
        arguments: ["zzzzzzzzzz", "1y2p0ij32e8e7", "-1", "+1", "", "é"])
    func madeUp(_ date: String) throws {
        let now = try #require(Timestamp(seconds: 1_790_000_000))
        #expect(!TagMerge.mayBeUnderWay("main.merge-0d6e4079-\(date)-12bngx3hwfrcf", at: now))
    }

    @Test("of more than a thousand jobs is refused before they are read")
    func many() async throws {
        let registry = FakeRegistry()
        let prefix = "cache.merge-\(Digest(of: "cache".utf8).hex.prefix(8))-"
        let tags = (0...1000).map { "\"\(prefix)abc-\($0)\"" }.joined(separator: ",")
        registry.manners.fault = { _, request in
            request.path.hasSuffix("/tags/list") ? .answer(ServerResponse(200, json: "{\"tags\":[\(tags)]}")) : nil
        }
        try await withCache(registry, writePolicy: .merge) { cache in
            let sample = try SampleCache.diamond()
            let error = await #expect(throws: CacheError.self) {
                try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            }
            #expect(error?.code == .limitExceeded)
            #expect(registry.log.count < 50)
        }
    }

    @Test(
        "takes no manifest along that is not an announcement, though it has the tag of one",
        arguments: [true, false])
    func foreign(_ isCache: Bool) async throws {
        let registry = FakeRegistry()
        try await withCache(registry, writePolicy: .merge) { cache in
            let sample = try SampleCache.diamond()
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            let repository = try await RegistryRepository(cache.options.ref, client: cache.client)
            let image = ImageManifest(
                config: Descriptor(mediaType: .ociConfig, digest: Digest(of: "{}".utf8), size: 2), layers: [])
            let written = try await repository.manifest(.tag("cache"))
            let manifest = isCache ? try #require(written) : image.encode()
            for tag in ["other", "cache.merge-\(Digest(of: "cache".utf8).hex.prefix(8))-x"] {
                try await repository.putManifest(manifest, as: .tag(tag))
            }
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            #expect(try await repository.manifest(.tag("cache")) != nil)
            #expect(try await repository.manifest(.tag("other"))?.digest == manifest.digest)
        }
    }

    @Test("goes at the end of a job that is alone")
    func alone() {
        let listings = [
            listing(settled: [], underWay: ["own"]), listing(settled: ["own"], underWay: []),
            listing(settled: ["own"], underWay: []),
        ]
        #expect(TagMerge.removable(listings) == ["own"])
    }

    @Test("stays while anybody is under way who had announced itself when it settled")
    func slowWriter() {
        let listings = [
            listing(settled: ["early"], underWay: ["own", "slow"]),
            listing(settled: ["early", "own"], underWay: ["slow"]),
            listing(settled: ["early", "own"], underWay: ["slow"]),
        ]
        #expect(TagMerge.removable(listings) == [])
    }

    @Test("goes though others are under way that came later")
    func laterWriter() {
        let listings = [
            listing(settled: ["early"], underWay: ["own"]),
            listing(settled: ["early"], underWay: ["own", "slow"]),
            listing(settled: ["early", "own", "slow"], underWay: ["late"]),
            listing(settled: ["early", "own", "slow"], underWay: ["late", "later"]),
        ]
        #expect(TagMerge.removable(listings) == ["early"])
    }

    @Test("stays if only the list that showed it settled lacked somebody: a list is no picture of one moment")
    func missedWriter() {
        let listings = [
            listing(settled: ["early"], underWay: ["own"]),
            listing(settled: ["early", "own"], underWay: ["slow"]),
        ]
        #expect(TagMerge.removable(listings) == [])
    }
}
