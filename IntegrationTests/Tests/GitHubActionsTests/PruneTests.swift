@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGitHubActions
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
@testable import BuildCacheClient
@testable import TestTools
import Testing

@Suite("A prune at GitHub")
struct PruneTests {
    private static let day: Int64 = 86_400
    private static let main = GitHubCacheServer.Permission("refs/heads/main")
    private static let feature = GitHubCacheServer.Permission("refs/heads/feature")

    /// Runs `body` with a server and a maker of caches that may list and delete.
    private func withCaches(
        _ version: Int,
        _ body:
            @escaping @Sendable (
                GitHubCacheServer,
                _ cache: @escaping @Sendable (String, [GitHubCacheServer.Permission]) -> GitHubActionsCache
            ) async throws -> Void
    ) async throws {
        try await GitHubCacheServer(uploadsPerMinute: .max).run { server, url in
            var client = GitHubActionsClient.immediate()
            client.api = url
            let used = client
            try await ScratchStore.withTemporary { scratch in
                try await body(server) { scope, permissions in
                    var options = server.options(url, version, scope: scope, permissions)
                    options.repository = "owner/name"
                    options.ghtoken = server.restToken
                    return GitHubActionsCache(
                        options, export: ExportOptions(mode: .max), scratch: scratch, client: used)
                }
            }
        }
    }

    @Test("keeps a promise: it", arguments: BackendConformance.pruneChecks, [1, 2])
    func promises(_ check: BackendConformance.Check, _ version: Int) async throws {
        try await withCaches(version) { _, cache in
            try await check.run(BackendConformance { cache($0.cache, [Self.main]) })
        }
    }

    @Test("removes names with all their indexes, and layers that only they reach", arguments: [1, 2])
    func removes(_ version: Int) async throws {
        try await withCaches(version) { server, cache in
            let (long, short) = (try SampleCache.chain(of: 4), try SampleCache.chain(of: 2))
            for sample in [long, short, long] { try await cache("old", [Self.main]).export(sample) }
            try await cache("new", [Self.main]).export(short)
            server.age(seconds: 30 * Self.day)
            let before = server.entries
            let retention = Retention(maximumCount: 0, protectedNames: ["new@*"])
            let plan = try await cache("new", [Self.main]).planPrune(retention)
            #expect(plan.removedNames.map(\.name) == ["old@refs/heads/main"])
            #expect(server.entries == before)
            // Two layers, and two indexes that a newer one superseded.
            #expect(plan.blobs.count == 4)
            #expect(plan.blobs.compactMap(\.digest).count == 2)

            let report = try await cache("new", [Self.main]).prune(plan)
            #expect(report.removedNames == ["old@refs/heads/main"])
            #expect(server.entries.count == 3)
            #expect(try await cache("old", [Self.main]).imported() == nil)
            #expect(try await cache("new", [Self.main]).imported()?.graph == short.graph)
        }
    }

    @Test("removes indexes that newer ones superseded when they are old, and the newest never for that")
    func superseded() async throws {
        try await withCaches(2) { server, cache in
            let samples = try (1...3).map { try SampleCache.chain(of: $0) }
            for sample in samples { try await cache("a", [Self.main]).export(sample) }
            let young = try await cache("a", [Self.main]).planPrune(Retention())
            #expect(young.blobs == [])
            server.age(seconds: 3 * Self.day)
            let base = cache("a", [Self.main])
            let report = try await base.prune(try await base.planPrune(Retention()))
            #expect(report.removedBlobs.count == 2)
            #expect(server.entries.filter { $0.key.hasPrefix("index-") }.map { $0.key.hasSuffix("#3") } == [true])
            #expect(try await base.imported()?.graph == samples[2].graph)
        }
    }

    @Test("keeps BuildKit's signatures of indexes that are the newest of a name, and removes those of others")
    func signatures() async throws {
        try await withCaches(2) { server, cache in
            let base = cache("a", [Self.main])
            func index(_ number: Int) throws -> GitHubCacheServer.Entry {
                try #require(server.entries.last { $0.key.hasPrefix("index-") && $0.key.hasSuffix("#\(number)") })
            }
            func sign(_ index: GitHubCacheServer.Entry) -> String {
                let key = "buildkit-blob-1-\(Digest(of: index.bytes))-sig"
                server.put(
                    .init(key: key, scope: index.scope, version: index.version, bytes: Array("a bundle".utf8)))
                return key
            }
            try await base.export(try .chain(of: 1))
            let superseded = sign(try index(1))
            try await base.export(try .chain(of: 2))
            let live = sign(try index(2))
            // An index of BuildKit that signs has a name of its own.
            var signed = try index(2)
            signed.key = "index-a-1-f921bd05-sig#5"
            signed.bytes += Array(" ".utf8)
            server.put(signed)
            let signedLive = sign(signed)
            server.age(seconds: 30 * Self.day)
            let report = try await base.prune(try await base.planPrune(Retention()))
            let keys = Set(server.entries.map(\.key))
            #expect(keys.isSuperset(of: [live, signedLive, signed.key]))
            #expect(!keys.contains(superseded))
            #expect(report.removedNames == [])
            #expect(try await base.imported()?.graph == SampleCache.chain(of: 2).graph)
        }
    }

    @Test("keeps all layers as long as a name stays whose branch the token may not read")
    func otherBranch() async throws {
        try await withCaches(2) { server, cache in
            try await cache("a", [Self.feature]).export(try .chain(of: 3))
            try await cache("a", [Self.main]).export(try .chain(of: 1))
            server.age(seconds: 30 * Self.day) { $0.hasPrefix("buildkit-blob") }
            let base = cache("a", [Self.main])
            let kept = try await base.planPrune(Retention(protectedNames: ["*feature"]))
            #expect(kept.blobs == [])
            #expect(kept.problems.count == 2)
            #expect(kept.problems.first?.message.contains("may not read refs/heads/feature") == true)
            // Jobs of that branch can read it, so it is not one of the unreadable names.
            let hidden = try await base.planPrune(Retention(removesUnreadable: true))
            #expect(hidden.removedNames == [])
            // Its age is known all the same, and with it go its layers.
            server.age(seconds: 30 * Self.day) { $0.hasPrefix("index-") }
            let report = try await base.prune(
                try await base.planPrune(Retention(maximumAge: .seconds(Self.day), protectedNames: ["*main"])))
            #expect(report.removedNames == ["a@refs/heads/feature"])
            #expect(try await base.imported()?.graph == SampleCache.chain(of: 1).graph)
        }
    }

    @Test("keeps a name of which a newer index was written after the plan")
    func exportedAgain() async throws {
        try await withCaches(2) { server, cache in
            let base = cache("a", [Self.main])
            try await base.export(try .chain(of: 1))
            server.age(seconds: 30 * Self.day)
            let plan = try await base.planPrune(Retention(maximumCount: 0))
            try await base.export(try .chain(of: 2))
            let report = try await base.prune(plan)
            #expect(report.changedNames == ["a@refs/heads/main"])
            #expect(report.removedBlobs == [])
            #expect(try await base.imported()?.graph == SampleCache.chain(of: 2).graph)
        }
    }

    @Test("keeps a layer that an export has found which lists what is there: it looks up what is old")
    func listed() async throws {
        try await withCaches(2) { server, cache in
            let sample = try SampleCache.chain(of: 2)
            let base = cache("a", [Self.main])
            try await base.export(sample)
            // An hour within the time that exports rely on a list for, and an hour past it.
            for (hours, isRenewed) in [(Int64(23), false), (25, true)] {
                server.age(seconds: hours * 3600)
                try await cache("b", [Self.main]).export(sample)
                let plan = try await base.planPrune(
                    Retention(maximumCount: 0, gracePeriod: .seconds(30 * 3600)), now: Self.now(after: 10 * 3600))
                #expect(plan.blobs.compactMap(\.digest).isEmpty == isRenewed)
                server.evict { $0.hasPrefix("index-b") }
            }
        }
    }

    @Test("removes no layer of a name whose index comes without the bytes that the list tells of")
    func emptiedIndex() async throws {
        try await withCaches(2) { server, cache in
            try await cache("a", [Self.main]).export(try .chain(of: 2))
            server.faults.set { request in
                request.method == "GET" && request.query["sig"] != nil ? .answer(200) : nil
            }
            let plan = try await cache("a", [Self.main]).planPrune(Retention(), now: Self.later)
            #expect(plan.blobs == [])
            #expect(plan.problems.map(\.kind) == [.unreadableCache, .keptBlobs])
        }
    }

    @Test("does not take a list without a number of entries for an empty one", arguments: ["{}", "[]", "null"])
    func uncountedList(_ body: String) async throws {
        try await withCaches(2) { server, cache in
            try await cache("a", [Self.main]).export(try .chain(of: 2))
            server.faults.set { request in
                request.path.hasSuffix("/actions/caches") && request.query["key"] == "index-"
                    ? .answer(200, body: body) : nil
            }
            let error = await #expect(throws: CacheError.self) {
                let plan = try await cache("a", [Self.main]).planPrune(Retention(), now: Self.later)
                #expect(plan.blobs == [])
            }
            #expect(error?.code == .corrupted)
        }
    }

    private static var later: Timestamp { now(after: 30 * day) }
    private static func now(after seconds: Int64) -> Timestamp {
        Timestamp(seconds: Timestamp.now().seconds + seconds) ?? .zero
    }

    @Test("finds more entries than a page has")
    func pages() async throws {
        try await withCaches(2) { server, cache in
            let base = cache("a", [Self.main])
            try await base.export(try .chain(of: 130))
            let plan = try await base.planPrune(Retention(maximumCount: 0), now: Self.later)
            #expect(plan.blobs.count == 130)
        }
    }

    @Test("is refused without the options that it needs, and with a token that is none")
    func refused() async throws {
        try await GitHubCacheServer().run { server, url in
            try await ScratchStore.withTemporary { scratch in
                var options = server.options(url, 2)
                var client = GitHubActionsClient.immediate()
                client.api = url
                for (token, code) in [(Secret<String>?.none, CacheError.Code.unsupported), (Secret("no"), .denied)] {
                    options.ghtoken = token
                    options.repository = token.map { _ in "owner/name" }
                    let cache = GitHubActionsCache(options, scratch: scratch, client: client)
                    let error = await #expect(throws: CacheError.self) { try await cache.planPrune(Retention()) }
                    #expect(error?.code == code)
                }
            }
        }
    }
}
