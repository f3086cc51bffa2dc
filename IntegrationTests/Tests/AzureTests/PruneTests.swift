@testable import BuildCacheAzure
@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
@testable import BuildCacheClient
@testable import TestTools
import Testing

@Suite("A prune in Azure")
struct PruneTests {
    /// A moment when all that is there now is a month old.
    private static var later: Timestamp { Timestamp(seconds: Timestamp.now().seconds + 30 * 86_400) ?? .zero }

    /// Runs `body` with a server and a maker of caches of one prefix.
    private func withCaches(
        _ body: @escaping @Sendable (AzureBlobServer, _ cache: (String) -> AzureBlobCache) async throws -> Void
    ) async throws {
        try await AzureBlobServer().run { server, url in
            try await ScratchStore.withTemporary { scratch in
                try await body(server) { name in
                    AzureBlobCache(
                        server.options(url, names: [name]), export: ExportOptions(mode: .max), scratch: scratch,
                        client: AzureClient(transport: .immediate()))
                }
            }
        }
    }

    private static func name(of layer: SampleLayer) -> String { "a/b/blobs/\(layer.descriptor.digest)" }

    @Test("removes names, and layers that only they reach, and changes nothing while it is planned")
    func removes() async throws {
        try await withCaches { server, cache in
            let (long, short) = (try SampleCache.chain(of: 4), try SampleCache.chain(of: 2))
            for name in ["feature/1", "a <b> & c"] { try await cache(name).export(long) }
            try await cache("main").export(short)
            server.put([1], as: "a/b/blobs/readme", in: "cache")
            server.put([1], as: "elsewhere", in: "cache")
            let before = server.names(in: "cache")
            let retention = Retention(maximumCount: 0, protectedNames: ["main"])
            let plan = try await cache("main").planPrune(retention, now: Self.later)
            #expect(Set(plan.removedNames.map(\.name)) == ["feature/1", "a <b> & c"])
            #expect(plan.problems == [])
            #expect(server.names(in: "cache") == before)

            let report = try await cache("main").prune(plan)
            #expect(report.removedNames.count == 2)
            #expect(report.freedBytes == plan.freedBytes)
            let expected = ["a/b/blobs/readme", "a/b/manifests/main", "elsewhere"] + short.layers.map(Self.name)
            #expect(server.names(in: "cache") == expected.sorted())
            #expect(try await cache("main").imported()?.graph == short.graph)
        }
    }

    @Test("of a container that is not there is an error, and makes none")
    func absent() async throws {
        try await withCaches { server, cache in
            let error = await #expect(throws: CacheError.self) {
                try await cache("a").planPrune(Retention(maximumCount: 0), now: Self.later)
            }
            #expect(error?.code == .notFound)
            #expect(server.names(in: "cache") == nil)
        }
    }

    @Test("keeps a name that is exported again after the plan")
    func exportedAgain() async throws {
        try await withCaches { _, cache in
            let (old, new) = (try SampleCache.chain(of: 1), try SampleCache.chain(of: 3))
            try await cache("a").export(old)
            try await cache("b").export(new)
            let plan = try await cache("a").planPrune(Retention(maximumCount: 0), now: Self.later)
            #expect(plan.blobs.count == 3)
            try await cache("a").export(new)
            let report = try await cache("a").prune(plan)
            #expect(report.changedNames == ["a"])
            #expect(report.removedNames == ["b"])
            #expect(report.removedBlobs == [])
            #expect(try await cache("a").imported()?.graph == new.graph)
        }
    }

    @Test("keeps an old layer that an export relies on which has not published its name: exports renew those")
    func renewed() async throws {
        try await withCaches { server, cache in
            let sample = try SampleCache.chain(of: 2)
            try await cache("a").export(sample)
            // An hour within the time that exports rely on a layer for, and an hour past it.
            for (hours, outcome) in [(Int64(23), PutOutcome.alreadyPresent), (25, .refreshed)] {
                for layer in sample.layers {
                    server.put(layer.stored, as: Self.name(of: layer), in: "cache")
                    server.age(Self.name(of: layer), in: "cache", seconds: hours * 3600)
                }
                let plan = try await cache("a").planPrune(Retention(maximumCount: 0), now: Self.later)
                #expect(plan.blobs.count == 2)
                let receipt = try await cache("b").export(sample)
                #expect(sample.layers.allSatisfy { receipt.transfers[$0.descriptor.digest] == outcome })
                server.remove("a/b/manifests/b", in: "cache")
                let report = try await cache("a").prune(plan)
                #expect(report.removedBlobs.isEmpty == (outcome == .refreshed))
            }
        }
    }

    @Test("finds more blobs than a page has")
    func pages() async throws {
        try await withCaches { server, cache in
            for number in 0..<5003 {
                server.put([1], as: "a/b/blobs/\(Digest(of: "\(number)".utf8))", in: "cache")
            }
            let plan = try await cache("a").planPrune(Retention(), now: Self.later)
            #expect(plan.blobs.count == 5003)
        }
    }

    @Test("keeps all layers while a name cannot be read")
    func unreadable() async throws {
        try await withCaches { server, cache in
            try await cache("a").export(try .chain(of: 2))
            server.put(Array("{".utf8), as: "a/b/manifests/broken", in: "cache")
            let plan = try await cache("a").planPrune(
                Retention(maximumCount: 0, protectedNames: ["broken"]), now: Self.later)
            #expect(plan.removedNames.map(\.name) == ["a"])
            #expect(plan.blobs == [])
            #expect(plan.problems.count == 2)
        }
    }

    /// A wrong answer of an account about the names in it.
    enum Lie: CaseIterable { case noContainer, noSize, noBytes }

    @Test("removes no layer of a name that the account hides or empties", arguments: Lie.allCases)
    func lies(_ lie: Lie) async throws {
        try await withCaches { server, cache in
            try await cache("a").export(try .chain(of: 2))
            server.faults.set { request in
                let isList = request.query["comp"] == "list" && request.query["prefix"]?.contains("manifests") == true
                switch lie {
                case .noContainer where isList: return .answer(404)
                case .noSize where isList:
                    return .answer(
                        200,
                        body:
                            "<EnumerationResults><Blobs><Blob><Name>a/b/manifests/a</Name><Properties/></Blob></Blobs>"
                            + "<NextMarker/></EnumerationResults>")
                case .noBytes where request.method == "GET" && request.path.hasSuffix("manifests%2Fa"):
                    return .answer(200)
                default: return nil
                }
            }
            do {
                let plan = try await cache("a").planPrune(Retention(), now: Self.later)
                #expect(plan.blobs == [])
                #expect(lie == .noBytes)
                #expect(plan.problems.map(\.kind) == [.unreadableCache, .keptBlobs])
            } catch let error as CacheError {
                #expect(error.code == (lie == .noSize ? .corrupted : .notFound))
            }
        }
    }

    @Test("says which permission is missing")
    func denied() async throws {
        try await AzureBlobServer().run { server, url in
            try await ScratchStore.withTemporary { scratch in
                var options = server.options(url, names: ["a"])
                try await AzureBlobCache(options, scratch: scratch).export(try .chain(of: 1))
                options.secretAccessKey = nil
                options.accountURL = try server.signedURL(
                    container: "cache", permissions: "rl", expires: Self.later, base: url)
                let cache = AzureBlobCache(options, scratch: scratch)
                let plan = try await cache.planPrune(Retention(maximumCount: 0), now: Self.later)
                #expect(plan.removedNames.count == 1)
                let error = await #expect(throws: CacheError.self) { try await cache.prune(plan) }
                #expect(error?.code == .denied)
                options.accountURL = try server.signedURL(
                    container: "cache", permissions: "rld", expires: Self.later, base: url)
                let report = try await AzureBlobCache(options, scratch: scratch).prune(plan)
                #expect(report.removedNames == ["a"])
            }
        }
    }
}
