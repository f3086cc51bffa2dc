import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheTesting
import BuildCacheClient
import Synchronization
import Testing

@Suite("A prune")
struct PruneTests {
    private let clock = ManualTime()
    private let store: MemoryStore

    init() { store = MemoryStore { [clock] in clock.now } }

    private static let week = Duration.seconds(7 * 86_400)

    /// Runs `body` with a maker of caches in one store.
    private func withCaches(_ body: (_ cache: (String) -> MemoryCache) async throws -> Void) async throws {
        try await ScratchStore.withTemporary { scratch in
            try await body { MemoryCache($0, in: store, scratch: scratch) }
        }
    }

    @Test("removes names that are too old, and the blobs that only they reach")
    func byAge() async throws {
        try await withCaches { cache in
            let (long, short) = (try SampleCache.chain(of: 4), try SampleCache.chain(of: 2))
            try await cache("old").export(long)
            clock.advance(by: .seconds(30 * 86_400))
            try await cache("new").export(short)
            let plan = try await cache("new").planPrune(Retention(maximumAge: Self.week), now: clock.now)
            #expect(plan.removedNames.map(\.name) == ["old"])
            let lost = Set(long.layers.map(\.descriptor)).subtracting(short.layers.map(\.descriptor))
            #expect(Set(plan.blobs.map(\.digest)) == Set(lost.map(\.digest)))
            #expect(plan.freedBytes > lost.map(\.size).reduce(0, +))

            let report = try await cache("new").prune(plan)
            #expect(report.removedNames == ["old"])
            #expect(report.removedBlobs == plan.blobs)
            #expect(report.freedBytes == plan.freedBytes)
            #expect(report.changedNames == [] && report.changedBlobs == 0 && report.problems == [])
            #expect(store.digests == Set(short.layers.map(\.descriptor.digest)))
            #expect(try await cache("old").importCache(progress: .discarded) == nil)
            #expect(try await cache("new").importCache(progress: .discarded)?.graph == short.graph)
        }
    }

    @Test("tells of names and blobs as they are listed and removed")
    func progress() async throws {
        try await withCaches { cache in
            try await cache("old").export(try .chain(of: 3))
            clock.advance(by: .seconds(30 * 86_400))
            let log = ProgressLog()
            let plan = try await cache("old").planPrune(
                Retention(maximumAge: Self.week), now: clock.now, progress: log.sink)
            #expect(log.events == [.listedNames(1), .listedBlobs(3)])

            let pruned = ProgressLog()
            try await cache("old").prune(plan, progress: pruned.sink)
            #expect(pruned.events.contains(.removedName("old")))
            for blob in plan.blobs {
                #expect(pruned.events.contains(.removedBlob(blob.id, bytes: blob.size)))
            }
        }
    }

    @Test("that is only planned changes nothing")
    func dryRun() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 2))
            clock.advance(by: .seconds(30 * 86_400))
            let before = store.digests
            let plan = try await cache("a").planPrune(Retention(maximumCount: 0), now: clock.now)
            #expect(plan.blobs.count == 2)
            #expect(
                plan.description.split(separator: "\n").map { $0.prefix(6) }.prefix(2) == ["remove", "remove"])
            #expect(store.digests == before)
            #expect(try await cache("a").importCache(progress: .discarded) != nil)
        }
    }

    @Test("leaves blobs alone that nobody reaches, but that are within the grace period")
    func gracePeriod() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 2))
            let layers = store.digests
            clock.advance(by: .seconds(2 * 86_400))
            try await cache("a").prune(try await cache("a").planPrune(Retention(maximumCount: 0), now: clock.now))
            #expect(try await cache("a").importCache(progress: .discarded) == nil)
            #expect(store.digests == layers)
            clock.advance(by: .seconds(1))
            let report = try await cache("a").prune(try await cache("a").planPrune(Retention(), now: clock.now))
            #expect(Set(report.removedBlobs.compactMap(\.digest)) == layers)
            #expect(store.digests == [])
        }
    }

    @Test("keeps a name that was exported again after the plan, unchanged even, and its blobs")
    func exportedAgain() async throws {
        try await withCaches { cache in
            let sample = try SampleCache.chain(of: 3)
            try await cache("a").export(sample)
            try await cache("b").export(try .diamond())
            clock.advance(by: .seconds(30 * 86_400))
            let plan = try await cache("a").planPrune(Retention(maximumAge: Self.week), now: clock.now)
            #expect(plan.removedNames.count == 2)
            try await cache("a").export(sample)
            let report = try await cache("a").prune(plan)
            #expect(report.removedNames == ["b"])
            #expect(report.changedNames == ["a"])
            #expect(report.changedBlobs == 3)
            #expect(try await cache("a").importCache(progress: .discarded)?.graph == sample.graph)
        }
    }

    @Test("keeps blobs that a name reaches which appeared after the plan")
    func appeared() async throws {
        try await withCaches { cache in
            let sample = try SampleCache.chain(of: 3)
            try await cache("a").export(sample)
            clock.advance(by: .seconds(30 * 86_400))
            let plan = try await cache("a").planPrune(Retention(maximumAge: Self.week), now: clock.now)
            // An exporter of somebody else, who renews nothing.
            var careless = cache("new")
            careless.renewalAge = .seconds(Int64.max)
            try await careless.export(sample)
            let report = try await cache("a").prune(plan)
            #expect(report.removedNames == ["a"])
            #expect(report.removedBlobs == [])
            #expect(try await cache("new").importCache(progress: .discarded)?.graph == sample.graph)
        }
    }

    @Test("keeps blobs that an export renewed which has not published its name yet")
    func renewed() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 3))
            clock.advance(by: .seconds(30 * 86_400))
            let plan = try await cache("a").planPrune(Retention(maximumAge: Self.week), now: clock.now)
            let renewed = try #require(plan.blobs.first?.digest)
            #expect(store.renew(renewed))
            let report = try await cache("a").prune(plan)
            #expect(report.changedBlobs == 1)
            #expect(store.digests == [renewed])
        }
    }

    @Test("keeps all blobs, with a warning, while the documents of a name cannot be read")
    func unreadable() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 3))
            clock.advance(by: .seconds(30 * 86_400))
            let base = cache("a")
            let before = store.digests
            for whilePlanning in [true, false] {
                if whilePlanning { store.write(Array("strange".utf8), as: "strange") }
                let plan = try await base.planPrune(
                    whilePlanning ? Retention(maximumCount: 0) : Retention(), now: clock.now)
                #expect(plan.problems.isEmpty != whilePlanning)
                if !whilePlanning { store.write(Array("strange".utf8), as: "strange") }
                let log = ProgressLog()
                let report = try await base.prune(plan, progress: log.sink)
                #expect(report.removedBlobs == [])
                #expect(report.problems.isEmpty == (log.events.isEmpty))
                #expect(store.digests == before)
                let opened = try await base.openForPruning(isReadOnly: false)
                for name in try await opened.names() where name.name == "strange" {
                    #expect(try await opened.remove(name))
                }
            }
            // The name itself was known to be a cache, and it went.
            #expect(try await cache("a").importCache(progress: .discarded) == nil)
        }
    }

    @Test("stops between two removals when it is cancelled")
    func cancelled() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 3))
            clock.advance(by: .seconds(30 * 86_400))
            let plan = try await cache("a").planPrune(Retention(maximumAge: Self.week), now: clock.now)
            let base = cache("a")
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                _ = try await base.prune(plan)
            }
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(store.digests.count == 3)
            #expect(try await cache("a").importCache(progress: .discarded) != nil)
        }
    }

    @Test("keeps every promise of a backend in a memory that is pruned between")
    func conformance() async throws {
        try await ScratchStore.withTemporary { scratch in
            let suite = BackendConformance { setup in
                MemoryCache(
                    setup.cache, export: setup.export, in: store,
                    scratch: scratch)
            }
            for check in BackendConformance.checks + BackendConformance.mergeChecks {
                try await check.run(suite)
                let cache = MemoryCache("a", in: store, scratch: scratch)
                try await cache.prune(try await cache.planPrune(Retention(maximumCount: 3), now: clock.now))
            }
        }
    }

    @Test("keeps every blob for a name that leads to an image index, and never removes the name")
    func indexes() throws {
        let image = Descriptor(mediaType: .ociManifest, digest: Digest(of: "image".utf8), size: 5)
        let json =
            #"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"\#(image.mediaType)","digest":"\#(image.digest)","size":5}]}"#
        let name = StoredName("a", version: "1", modifiedAt: .zero, manifest: Array(json.utf8))
        #expect(name.blobs == nil && name.isHidden && !name.isCache)
        for bytes in [[], Array("{".utf8), Array(json.utf8.dropLast())] {
            let broken = StoredName("a", version: "1", modifiedAt: .zero, manifest: bytes)
            #expect(broken.blobs == nil && !broken.isCache && broken.problem != nil)
        }
    }

    @Test("keeps a promise in a memory: it", arguments: BackendConformance.pruneChecks)
    func promises(_ check: BackendConformance.Check) async throws {
        let store = MemoryStore()
        try await ScratchStore.withTemporary { scratch in
            try await check.run(
                BackendConformance { MemoryCache($0.cache, export: $0.export, in: store, scratch: scratch) })
        }
    }
}

/// A time that moves when it is told to.
final class ManualTime: Sendable {
    private let time = Mutex(Timestamp(seconds: 1_800_000_000) ?? .zero)

    var now: Timestamp { time.withLock { $0 } }
    func advance(by duration: Duration) {
        time.withLock { $0 = Timestamp(seconds: $0.seconds + duration.components.seconds) ?? $0 }
    }
}
