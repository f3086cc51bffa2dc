import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheGraph
import BuildCacheOCI
import BuildCacheTesting
import Synchronization
import Testing

@Suite("A verification")
struct VerificationTests {
    private let store = MemoryStore()

    /// Runs `body` with a maker of caches in one store.
    private func withCaches(_ body: (_ cache: (String) -> MemoryCache) async throws -> Void) async throws {
        try await ScratchStore.withTemporary { scratch in
            try await body { MemoryCache($0, in: store, scratch: scratch) }
        }
    }

    /// Exports a sample, then runs `body` with the cache as a test changes it.
    private func withAltered(
        _ sample: SampleCache, _ alter: (inout AlteredStore) -> Void, _ body: (AlteredCache) async throws -> Void
    ) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = MemoryCache("a", in: store, scratch: scratch)
            try await cache.export(sample)
            var altered = AlteredStore(base: try await cache.openForPruning(isReadOnly: true))
            alter(&altered)
            try await body(AlteredCache(store: altered, scratch: scratch))
        }
    }

    @Test("names the caches that a missing layer belongs to, once", arguments: VerificationReport.Depth.allCases)
    func missing(_ depth: VerificationReport.Depth) async throws {
        try await withCaches { cache in
            let (long, short) = (try SampleCache.chain(of: 4), try SampleCache.chain(of: 2))
            try await cache("b").export(long)
            try await cache("a").export(short)
            try await cache("c").export(try .diamond())
            // The first is a layer of both chains, the other of the long one alone.
            let lost = [long.layers[0], long.layers[3]].map(\.descriptor.digest)
            for digest in lost { store.remove(digest) }

            let report = try await cache("c").verifyAll(depth)
            #expect(!report.isSound)
            #expect(report.names == ["a", "b", "c"])
            #expect(report.damaged.map(\.digest) == lost)
            #expect(report.damaged.map(\.names) == [["a", "b"], ["b"]])
            #expect(report.damaged.allSatisfy { $0.kind == .missing })
            #expect(report.layerCount == 4 + (try SampleCache.diamond().layers.count))
            #expect(try await cache("a").verify(depth).damaged.map(\.digest) == [lost[0]])
            #expect(try await cache("c").verify(depth).isSound)
            #expect(store.digests.isDisjoint(with: lost))
        }
    }

    @Test("reads a layer that several caches share once, and tells of its bytes")
    func readsOnce() async throws {
        try await withCaches { cache in
            let sample = try SampleCache.chain(of: 3)
            for name in ["a", "b", "c"] { try await cache(name).export(sample) }
            let log = ProgressLog()
            let report = try await cache("a").verifyAll(.everyByte, progress: log.sink)
            #expect(report.names.count == 3 && report.isSound)
            let layers = sample.layers.map(\.descriptor)
            var started: [Digest] = []
            var passed: [Digest: Int64] = [:]
            for event in log.events {
                if case .started(let layer) = event { started.append(layer.digest) }
                if case .advanced(let digest, let bytes) = event { passed[digest] = bytes }
            }
            #expect(started.sorted() == layers.map(\.digest).sorted())
            #expect(passed == Dictionary(uniqueKeysWithValues: layers.map { ($0.digest, $0.size) }))
            var totals = ProgressTotals()
            for event in log.events { totals.add(event) }
            #expect(totals.fraction == 1 && totals.bytes == report.layerBytes)
        }
    }

    @Test("finds bytes that are not those of the digest, only if it reads them")
    func corrupted() async throws {
        let sample = try SampleCache.diamond()
        for layer in sample.layers {
            let victim = layer.descriptor.digest
            try await withAltered(sample, { $0.source = FaultySource(sample.blobs, .changed(victim)) }) { cache in
                #expect(try await cache.verify(.presence).isSound)
                for report in [try await cache.verify(.everyByte), try await cache.verifyAll(.everyByte)] {
                    #expect(report.damaged.map(\.digest) == [victim])
                    #expect(report.damaged.map(\.kind) == [.corrupted])
                    #expect(report.damaged.first?.names == ["a"])
                }
            }
        }
    }

    @Test("finds a layer with another diffID than the cache claims, only if it reads it")
    func diffID() async throws {
        try await withCaches { cache in
            let layer = SampleLayer("a")
            var claim = layer.descriptor
            claim.annotations[Annotation.uncompressed] = Digest(of: "another".utf8).description
            var graph = LayerGraph()
            let result = CacheResult(layer: try graph.addLayer(claim), createdAt: .zero)
            let root = try graph.addRecord(Sample.root)
            try graph.addRecord(Sample("a").digest, inputs: [[Link(root)]], results: [result])
            let source = LayerSource(blobs: MemorySource([layer.stored]))
            _ = try await cache("wrong").exportCache(graph, from: source, progress: .discarded)
            try await cache("right").export(SampleCache.single(layer))

            #expect(try await cache("wrong").verify(.presence).isSound)
            let report = try await cache("wrong").verifyAll(.everyByte)
            // The claims of both caches about one blob are checked, and one of them holds.
            #expect(report.damaged.map(\.names) == [["wrong"]])
            #expect(report.damaged.map(\.kind) == [.corrupted])
            #expect(report.layerCount == 1)
        }
    }

    @Test("tells a layer that is cut short from one with too many bytes", arguments: VerificationReport.Depth.allCases)
    func size(_ depth: VerificationReport.Depth) async throws {
        let sample = try SampleCache.diamond()
        let victim = sample.layers[0].descriptor
        for (change, kind) in [(Int64(-1), VerificationReport.Damage.Kind.cutShort), (1, .corrupted)] {
            try await withAltered(sample) {
                $0.sizes[victim.digest] = victim.size + change
                $0.source = FaultySource(sample.blobs, .cut(victim.digest))
            } _: { cache in
                let report = try await cache.verify(depth)
                #expect(report.damaged.map(\.digest) == [victim.digest])
                #expect(report.damaged.map(\.kind) == [kind])
            }
        }
    }

    @Test("does not read a layer that is archived", arguments: VerificationReport.Depth.allCases)
    func archived(_ depth: VerificationReport.Depth) async throws {
        let sample = try SampleCache.diamond()
        let victim = sample.layers[2].descriptor.digest
        try await withAltered(sample) {
            $0.archived = [victim]
        } _: { cache in
            let log = ProgressLog()
            let report = try await cache.verify(depth, progress: log.sink)
            #expect(report.damaged.map(\.digest) == [victim])
            #expect(report.damaged.map(\.kind) == [.archived])
            #expect(!log.events.contains { if case .started(let layer) = $0 { layer.digest == victim } else { false } })
        }
    }

    @Test("takes a few layers that cannot be read for damage, and a store that does not answer for an error")
    func unavailable() async throws {
        for (count, isError) in [(16, false), (17, true)] {
            let sample = try SampleCache.chain(of: 20)
            let victims = Set(sample.layers.prefix(count).map(\.descriptor.digest))
            try await withAltered(sample) {
                $0.source = FailingSource(base: sample.blobs, victims: victims)
            } _: { cache in
                if isError {
                    let error = await #expect(throws: CacheError.self) { _ = try await cache.verify(.everyByte) }
                    #expect(error?.code == .unavailable)
                    #expect(error?.context.operation == .verify)
                } else {
                    let report = try await cache.verify(.everyByte)
                    #expect(Set(report.damaged.compactMap(\.digest)) == victims)
                    #expect(report.damaged.allSatisfy { $0.kind == .unreadable })
                }
            }
        }
    }

    @Test("reads several layers at once, and ends when it is cancelled", .timeLimit(.minutes(1)))
    func cancelled() async throws {
        let sample = try SampleCache.chain(of: 8)
        let source = WaitingSource(base: sample.blobs)
        try await withAltered(sample, { $0.source = source }) { cache in
            let isCancelled = await withTaskGroup(of: Bool.self) { group in
                group.addTask {
                    do { _ = try await cache.verify(.everyByte) } catch { return error is CancellationError }
                    return false
                }
                // As many as the traits say, none of which ends by itself.
                await source.waitUntilOpened(cache.traits.transfersInFlight)
                group.cancelAll()
                return await group.next() ?? false
            }
            #expect(isCancelled)
            #expect(source.opened == cache.traits.transfersInFlight)
        }
    }

    @Test("takes a config that cannot be decoded for damage of that name alone")
    func unreadable() async throws {
        try await withCaches { cache in
            try await cache("good").export(try .diamond())
            store.write(Array(#"{"layers":[{"blob":"sha256:"#.utf8), as: "bad")
            store.write(Array("neither".utf8), as: "other")
            // The placeholder of a folder.
            store.write([], as: "folder")
            let report = try await cache("good").verifyAll()
            #expect(report.names == ["bad", "good", "other"])
            #expect(report.damaged.map(\.names) == [["bad"], ["other"]])
            #expect(report.damaged.allSatisfy { $0.kind == .unreadable && $0.digest == nil })
            #expect("\(report)".split(separator: "\n").count == 3)
            #expect(try await cache("bad").verify(.everyByte).damaged.count == 1)
            #expect(try await cache("folder").verify(.everyByte).names.isEmpty)
        }
    }

    @Test("of a backend that is not a store says what an import says, and reads the layers")
    func imported() async throws {
        let sample = try SampleCache.diamond()
        let (lost, changed) = (Digest(of: "lost".utf8), sample.layers[0].descriptor.digest)
        let backend = ScriptedBackend(importing: {
            try ImportedCache(
                parts: [ImportedCache.Part(manifest: nil, graph: sample.graph)],
                blobs: FaultySource(sample.blobs, .changed(changed)),
                problems: [CacheProblem(.lostLayer, "it is missing", subject: "\(lost)", code: .notFound)])
        })
        #expect(try await backend.verify().damaged.map(\.digest) == [lost])
        let report = try await backend.verify(.everyByte)
        #expect(Set(report.damaged.map(\.digest)) == [lost, changed])
        #expect(Set(report.damaged.map(\.kind)) == [.missing, .corrupted])
        #expect(try await ScriptedBackend().verify(.everyByte) == ScriptedBackend().verify(.everyByte))
        #expect(try await ScriptedBackend().verify(.everyByte).names.isEmpty)
    }
}

/// A cache whose store a test changes.
private struct AlteredCache: StoredCache, PrunableBackend {
    let store: AlteredStore
    let scratch: ScratchStore
    let export = ExportOptions()
    let limits = CacheConfigLimits()
    let traits = BackendTraits(name: "altered", transfersInFlight: 3)

    func openStore(for use: StoreUse) async throws -> AlteredStore { store }
}

/// A store with other bytes, sizes or tiers than the one below it.
private struct AlteredStore: PrunableStore {
    let base: any PrunableStore
    var source: (any BlobSource)?
    var sizes: [Digest: Int64] = [:]
    var archived: Set<Digest> = []

    var form: CacheForm { base.form }
    var cacheNames: [String] { base.cacheNames }
    var renewalAge: Duration { base.renewalAge }

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await (source ?? base).open(descriptor, range: range)
    }
    func stat(_ digest: Digest) async throws -> BlobStat? {
        if let size = sizes[digest] { return BlobStat(size: size) }
        return try await base.stat(digest)
    }
    func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
        var states = try await base.presence(of: layers)
        for layer in layers {
            if let size = sizes[layer.digest], size != layer.size { states[layer.digest] = .damaged }
            if archived.contains(layer.digest) { states[layer.digest] = .archived(ArchivedBlob(tier: "GLACIER")) }
        }
        return states
    }
    func document(named name: String, limit: Int) async throws -> NamedDocument? {
        try await base.document(named: name, limit: limit)
    }
    func names() async throws -> [StoredName] { try await base.names() }
    func blobs() async throws -> StoredBlobs { try await base.blobs() }

    // A verification changes nothing, and so calls none of these.
    private static let forbidden = CacheError(.denied, "nothing may be changed")
    func noteDamage(of layer: Digest) async { Issue.record("damage of \(layer) is noted") }
    func put(_ layer: Descriptor, from source: any BlobSource) async throws -> PutOutcome { throw Self.forbidden }
    func refresh(_ layer: Descriptor) async throws -> PutOutcome? { throw Self.forbidden }
    func publish(_ draft: CacheDraft, as name: String) async throws -> Publication { throw Self.forbidden }
    func remove(_ name: StoredName) async throws -> Bool { throw Self.forbidden }
    func remove(_ blob: StoredBlob) async throws -> Bool { throw Self.forbidden }
}

/// A source that does not answer for some blobs.
private struct FailingSource: BlobSource {
    let base: any BlobSource
    let victims: Set<Digest>

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        guard !victims.contains(descriptor.digest) else { throw CacheError(.unavailable, "no answer") }
        return try await base.open(descriptor, range: range)
    }
}

/// A source each blob of which waits for the cancellation of its task.
private final class WaitingSource: BlobSource {
    private let base: any BlobSource
    private let count = Mutex(0)
    private let openings: AsyncStream<Void>
    private let opening: AsyncStream<Void>.Continuation

    init(base: any BlobSource) {
        self.base = base
        (openings, opening) = AsyncStream.makeStream()
    }

    var opened: Int { count.withLock { $0 } }

    func waitUntilOpened(_ number: Int) async {
        var rest = number
        for await _ in openings {
            rest -= 1
            if rest == 0 { return }
        }
    }

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        count.withLock { $0 += 1 }
        opening.yield()
        for await _ in AsyncStream<Never>.makeStream().stream {}
        try Task.checkCancellation()
        return try await base.open(descriptor, range: range)
    }
}
