@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheOCI
@testable import BuildCacheRegistry
@testable import BuildCacheSpec
@testable import BuildCacheTesting
@testable import BuildCacheClient
@testable import TestServers
@testable import TestTools
import Testing

@Suite("A prune of a repository")
struct PruneTests {
    /// A month after the newest result of a sample.
    private static var later: Timestamp { Timestamp(seconds: 1_790_000_000 + 30 * 86_400) ?? .zero }

    /// Makes caches of one repository.
    private struct Caches: Sendable {
        let address: String
        let client: RegistryClient
        let scratch: ScratchStore

        func callAsFunction(_ tag: String) throws -> RegistryCache {
            RegistryCache(
                RegistryOptions(ref: try Reference("\(address)/library/app:\(tag)")),
                export: ExportOptions(mode: .max), scratch: scratch, client: client)
        }

        func stored(_ tag: String) async throws -> ImportedCache? {
            try await self(tag).importCache(progress: .discarded)
        }
    }

    private func withCaches(
        at address: String, _ body: (Caches) async throws -> Void
    ) async throws {
        try await RegistryClient.forTests { client in
            try await ScratchStore.withTemporary { scratch in
                try await body(Caches(address: address, client: client, scratch: scratch))
            }
        }
    }

    private func withFakeRegistry(
        _ manners: FakeRegistry.Manners = FakeRegistry.Manners(),
        _ body: @escaping @Sendable (Caches) async throws -> Void
    ) async throws {
        let registry = FakeRegistry(manners)
        try await withServer(registry.respond) { address in try await withCaches(at: address, body) }
    }

    /// What holds at every registry.
    private func removesTags(_ caches: Caches) async throws {
        let (long, short) = (try SampleCache.chain(of: 4), try SampleCache.chain(of: 2))
        for tag in ["old", "older"] { try await caches(tag).export(long) }
        try await caches("main").export(short)
        // An image is no cache, however old it is.
        let repository = try await RegistryRepository(
            try Reference("\(caches.address)/library/app"), client: caches.client)
        let config = Array("{}".utf8)
        let layer = SampleLayer("of an image")
        let blob = Descriptor(mediaType: .ociConfig, digest: Digest(of: config), size: Int64(config.count))
        let blobs = BuildCacheTesting.MemorySource([config, layer.stored])
        for descriptor in [blob, layer.descriptor] { try await repository.put(descriptor, from: blobs) }
        let image = ImageManifest(mediaType: .ociManifest, config: blob, layers: [layer.descriptor]).encode()
        try await repository.publish(image, as: "image")

        let retention = Retention(maximumAge: .seconds(7 * 86_400), protectedNames: ["main"])
        let plan = try await caches("main").planPrune(retention, now: Self.later)
        #expect(Set(plan.removedNames.map(\.name)) == ["old", "older"])
        #expect(plan.names.first { $0.stored.name == "image" }?.verdict == .notACache)
        #expect(plan.blobs == [])
        #expect(plan.problems.count == 1)
        #expect(try await caches.stored("old") != nil)

        let report = try await caches("main").prune(plan)
        #expect(Set(report.removedNames) == ["old", "older"])
        #expect(report.problems.first?.message.contains("garbage collection") == true)
        #expect(try await caches.stored("old") == nil)
        #expect(try await caches.stored("older") == nil)
        #expect(try await caches.stored("main")?.graph == short.graph)
        #expect(try await repository.resolve("image") == image.descriptor)
    }

    @Test(
        "at docker-registry removes tags of caches that are too old",
        .enabled(if: Tool.dockerRegistry.isInstalled, "docker-registry is not installed"))
    func atDockerRegistry() async throws {
        try await DockerRegistry.run { address in try await withCaches(at: address, removesTags) }
    }

    @Test("removes tags of caches that are too old, of however many pages of tags")
    func atFakeRegistry() async throws {
        var manners = FakeRegistry.Manners()
        manners.tagsPerPage = 1
        try await withFakeRegistry(manners, removesTags)
    }

    @Test("keeps a tag whose manifest another one has which stays, also if that came after the plan")
    func shared() async throws {
        try await withFakeRegistry { caches in
            let sample = try SampleCache.chain(of: 2)
            for tag in ["a", "main"] { try await caches(tag).export(sample) }
            try await caches("b").export(try .chain(of: 3))
            let retention = Retention(maximumCount: 0, protectedNames: ["main"])
            let plan = try await caches("main").planPrune(retention)
            #expect(plan.removedNames.map(\.name) == ["b"])
            #expect(plan.names.first { $0.stored.name == "a" }?.verdict == .sharedWith("main"))
            try await caches("c").export(try .chain(of: 3))
            let report = try await caches("main").prune(plan)
            #expect(report.changedNames == ["b"])
            #expect(try await caches.stored("b") != nil)
        }
    }

    @Test("keeps a tag that was moved after the plan")
    func moved() async throws {
        try await withFakeRegistry { caches in
            try await caches("a").export(try .chain(of: 1))
            let plan = try await caches("a").planPrune(Retention(maximumCount: 0))
            try await caches("a").export(try .chain(of: 2))
            let report = try await caches("a").prune(plan)
            #expect(report.changedNames == ["a"])
            let expected = try SampleCache.chain(of: 2).graph
            #expect(try await caches.stored("a")?.graph == expected)
        }
    }

    @Test("of a repository that is not there finds nothing")
    func absent() async throws {
        try await withFakeRegistry { caches in
            let plan = try await caches("a").planPrune(Retention(maximumCount: 0))
            #expect(plan.names == [])
        }
    }

    @Test("says what to do if the registry forbids deletes")
    func forbidden() async throws {
        var manners = FakeRegistry.Manners()
        manners.allowsDeletes = false
        try await withFakeRegistry(manners) { caches in
            try await caches("a").export(try .chain(of: 1))
            let plan = try await caches("a").planPrune(Retention(maximumCount: 0))
            let error = await #expect(throws: CacheError.self) { try await caches("a").prune(plan) }
            #expect(error?.code == .unsupported)
            #expect(error?.message.contains("storage.delete.enabled") == true)
            #expect(try await caches.stored("a") != nil)
        }
    }

    @Test(
        "asks a token server for the right to delete",
        .enabled(if: Tool.dockerRegistry.isInstalled, "docker-registry is not installed"))
    func withTokens() async throws {
        try await DockerRegistry.run { inner in
            let gate = LoginGate(.token(takesPost: true), Forwarder(to: inner).respond)
            try await withServer(gate.respond) { address in
                try await RegistryClient.forTests(credentials: .right) { client in
                    try await ScratchStore.withTemporary { scratch in
                        try await removesTags(Caches(address: address, client: client, scratch: scratch))
                    }
                }
            }
        }
    }
}
