import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheGraph
import BuildCacheTesting
import Foundation
import NIOCore
import Synchronization
import TestTools
import Testing

/// Builds that export and then look their steps up, where every hit must have the content of its own step.
@Suite("A step is never a hit with another step's content")
struct WrongHitTests {
    private let store = MemoryStore()

    private func client(_ scratch: ScratchStore, name: String = "main") -> CacheClient {
        let cache = MemoryCache(name, export: ExportOptions(mode: .max), in: store, scratch: scratch)
        return CacheClient(
            sources: [.init(name: name, importer: cache)], destinations: [.init(name: name, exporter: cache)])
    }

    /// Notes a step over a root that all steps share.
    private func step(_ name: String, in session: CacheSession) throws -> RecordID {
        try session.record(
            .record(operation: Digest(of: name.utf8), output: 0), inputs: [[Link(try session.record(Sample.root))]])
    }

    private func tar(_ text: String) -> BlobStream { BlobStream(ByteBuffer(bytes: SampleLayer(text).tar)) }

    /// The tar of a step's hit, decompressed; `nil` for a miss.
    private func content(of name: String, in session: CacheSession) async throws -> [UInt8]? {
        guard let hit = try await session.fetch(try step(name, in: session)), let layer = hit.layers.last else {
            return nil
        }
        var bytes: [UInt8] = []
        for try await chunk in try await session.blobs.openTar(of: layer) { bytes += chunk.readableBytesView }
        return bytes
    }

    @Test(
        "because of the names of its layers", arguments: [("out", "out"), ("caf\u{e9}", "cafe\u{301}"), ("", "")])
    func names(_ one: String, _ other: String) async throws {
        try await ScratchStore.withTemporary { scratch in
            let first = client(scratch).openSession(store: scratch)
            try first.addResult([.tar(name: one) { tar("one") }], createdAt: .zero, to: try step("one", in: first))
            try first.addResult(
                [.tar(name: other) { tar("other") }], createdAt: .zero, to: try step("other", in: first))
            try await first.exportCaches().check()

            let second = client(scratch).openSession(store: scratch)
            #expect(try await content(of: "one", in: second) == SampleLayer("one").tar)
            #expect(try await content(of: "other", in: second) == SampleLayer("other").tar)
        }
    }

    @Test("because two sessions share a scratch store and export at the same time")
    func sharedScratch() async throws {
        try await ScratchStore.withTemporary { scratch in
            let both = AsyncStream<Never>.makeStream()
            let opened = Mutex(0)
            // Each tar goes on once both were asked for, so that the conversions overlap.
            @Sendable func waiting(_ text: String) async throws -> BlobStream {
                if opened.withLock({
                    $0 += 1; return $0 == 2
                }) {
                    both.continuation.finish()
                }
                for await _ in both.stream {}
                return BlobStream(ByteBuffer(bytes: SampleLayer(text).tar))
            }
            let names = ["project a", "project b"]
            let store = store
            _ = try await names.mapConcurrently(limit: 2) { name in
                let destination = CacheClient.Destination(
                    name: name,
                    exporter: MemoryCache(name, export: ExportOptions(mode: .max), in: store, scratch: scratch))
                let session = CacheClient(destinations: [destination]).openSession(store: scratch)
                let root = try session.record(Sample.root)
                let step = try session.record(
                    .record(operation: Digest(of: "step".utf8), output: 0), inputs: [[Link(root)]])
                try session.addResult([.tar(name: "out") { try await waiting(name) }], createdAt: .zero, to: step)
                try await session.exportCaches().check()
            }
            for name in names {
                let session = client(scratch, name: name).openSession(store: scratch)
                #expect(try await content(of: "step", in: session) == SampleLayer(name).tar)
            }
        }
    }

    @Test("because another step wrote the tar file again before the export: that result is left out, and said to be")
    func fileOfTwoSteps() async throws {
        let path = NSTemporaryDirectory() + "build-cache-out-\(UUID().uuidString).tar"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await ScratchStore.withTemporary { scratch in
            let first = client(scratch).openSession(store: scratch)
            for name in ["one", "other"] {
                try Data(SampleLayer(name).tar).write(to: URL(fileURLWithPath: path))
                try first.addResult([.tar(at: path)], to: try step(name, in: first))
            }
            let report = try await first.exportCaches()
            try report.check()
            #expect(report.problems.map(\.kind) == [.omittedResult])
            #expect(report.problems.first?.message.contains("changed") == true)

            let second = client(scratch).openSession(store: scratch)
            #expect(try await content(of: "one", in: second) == nil)
            #expect(try await content(of: "other", in: second) == SampleLayer("other").tar)
        }
    }

    @Test("because an identifier of another session has the same number", arguments: [true, false])
    func foreignIdentifiers(_ sharesClient: Bool) async throws {
        try await ScratchStore.withTemporary { scratch in
            let client = client(scratch)
            let one = client.openSession(store: scratch)
            let two = (sharesClient ? client : self.client(scratch, name: "other")).openSession(store: scratch)
            let mine = try step("mine", in: one)
            let theirs = try step("theirs", in: two)
            let calls: [(CacheSession, RecordID) async throws -> Void] = [
                { _ = try await $0.lookup($1) },
                { _ = try await $0.fetch($1) },
                { _ = try $0.explainMiss($1) },
                { try $0.addResult([.tar { self.tar("x") }], to: $1) },
                { _ = try $0.record(Sample.root, inputs: [[Link($1)]]) },
                { _ = try await $0.exportCaches(targets: [$1]) },
            ]
            for (number, call) in calls.enumerated() {
                for (session, foreign) in [(one, theirs), (two, mine)] {
                    let error = await #expect(throws: CacheError.self, "call \(number)") {
                        try await call(session, foreign)
                    }
                    #expect(error?.code == .invalidSpec, "call \(number)")
                }
            }
        }
    }

    @Test("because a cache has a result from a clock in the future: a step that ran again has its new result")
    func futureClocks() async throws {
        let future = try #require(Timestamp(seconds: 4_000_000_000))
        // As by SOURCE_DATE_EPOCH: the same time each time.
        for time in [Timestamp.now(), future] {
            try await ScratchStore.withTemporary { scratch in
                let name = "step at \(time)"
                let first = client(scratch, name: name).openSession(store: scratch)
                try first.addResult([.tar { tar("old") }], createdAt: future, to: try step(name, in: first))
                try await first.exportCaches().check()

                let second = client(scratch, name: name).openSession(store: scratch)
                let again = try step(name, in: second)
                #expect(try await second.lookup(again) != nil)
                try second.addResult([.tar { tar("new") }], createdAt: time, to: again)
                // Looked up once more, the cache's result is noted again.
                #expect(try await second.lookup(again) != nil)
                try await second.exportCaches().check()

                let third = client(scratch, name: name).openSession(store: scratch)
                #expect(try await content(of: name, in: third) == SampleLayer("new").tar)
            }
        }
    }

    @Test("because a blob in a scratch directory that stays was damaged between two builds")
    func damagedScratch() async throws {
        let folder = NSTemporaryDirectory() + "build-cache-scratch-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let first = client(try await ScratchStore.open(at: folder))
        let session = first.openSession(store: try await ScratchStore.open(at: folder))
        try session.addResult([.tar { tar("one") }], to: try step("one", in: session))
        try await session.exportCaches().check()

        for name in try FileManager.default.contentsOfDirectory(atPath: folder + "/blobs/sha256") {
            let file = URL(fileURLWithPath: folder + "/blobs/sha256/" + name)
            var bytes = try Data(contentsOf: file)
            bytes[bytes.count / 2] ^= 1
            try bytes.write(to: file)
        }
        // A process that comes later knows nothing of what this one has verified.
        let later = try await ScratchStore.open(at: folder)
        let second = client(later).openSession(store: later)
        #expect(try await content(of: "one", in: second) == SampleLayer("one").tar)
        #expect(second.report.bytesFetched > 0)
    }
}

@Suite("An export of a session")
struct SessionExportTests {
    private let store = MemoryStore()

    private func cache(_ name: String, _ scratch: ScratchStore) -> MemoryCache {
        MemoryCache(name, export: ExportOptions(mode: .max), in: store, scratch: scratch)
    }

    private func destination(_ name: String, _ scratch: ScratchStore) -> CacheClient.Destination {
        CacheClient.Destination(name: name, exporter: cache(name, scratch))
    }

    private func digest(_ name: String) -> Digest { .record(operation: Digest(of: name.utf8), output: 0) }

    private func tar(_ text: String) -> BlobStream { BlobStream(ByteBuffer(bytes: SampleLayer(text).tar)) }

    @Test("keeps all keys of a step that was a hit, however many builds found it by one of them")
    func alternativeKeys() async throws {
        try await ScratchStore.withTemporary { scratch in
            let main = CacheClient.Source(name: "main", importer: cache("main", scratch))
            let client = CacheClient(sources: [main], destinations: [destination("main", scratch)])
            func keys(_ session: CacheSession) throws -> (cheap: RecordID, content: RecordID) {
                (
                    try session.record(digest("COPY of the sources")),
                    try session.record(.record(content: Digest(of: "sources".utf8)))
                )
            }
            let first = client.openSession(store: scratch)
            let known = try keys(first)
            let step = try first.record(
                digest("make"), inputs: [[Link(known.cheap), Link(known.content, selector: "/")]])
            try first.addResult([.tar { tar("made") }], to: step)
            try await first.exportCaches().check()

            for _ in 0..<3 {
                let session = client.openSession(store: scratch)
                let step = try session.record(digest("make"), inputs: [[Link(try keys(session).cheap)]])
                #expect(try await session.lookup(step) != nil)
                try await session.exportCaches().check()
            }
            let last = client.openSession(store: scratch)
            let byContent = try last.record(
                digest("make"), inputs: [[Link(try keys(last).content, selector: "/")]])
            #expect(try await last.lookup(byContent) != nil)
        }
    }

    @Test("gives a pending layer the time of its result, so that images made from the cache are reproducible")
    func layerTimes() async throws {
        try await ScratchStore.withTemporary { scratch in
            let main = destination("main", scratch)
            let session = CacheClient(sources: [], destinations: [main]).openSession(store: scratch)
            let root = try session.record(digest("root"))
            let base = CacheSession.ResultLayer.tar { tar("base") }
            let (early, late) = (try #require(Timestamp(seconds: 5)), try #require(Timestamp(seconds: 9)))
            let one = try session.record(digest("one"), inputs: [[Link(root)]])
            try session.addResult([base], createdAt: early, to: one)
            let two = try session.record(digest("two"), inputs: [[Link(one)]])
            try session.addResult([base, .tar { tar("top") }], createdAt: late, to: two)
            try await session.exportCaches().check()
            let cache = try #require(try await self.cache("main", scratch).importCache(progress: .discarded))
            let times = cache.graph.descriptors.values.map {
                [$0.diffID?.digest.description, $0.createdAt?.description]
            }
            #expect(
                Set(times) == [
                    [Digest(of: SampleLayer("base").tar).description, early.description],
                    [Digest(of: SampleLayer("top").tar).description, late.description],
                ])
        }
    }

    @Test("that could make none of its results is an error, and of those that it could not make each is a problem")
    func nothingMade() async throws {
        try await ScratchStore.withTemporary { scratch in
            let main = destination("main", scratch)
            let session = CacheClient(sources: [], destinations: [main]).openSession(store: scratch)
            let root = try session.record(digest("root"))
            let lost = try session.record(digest("lost"), inputs: [[Link(root)]])
            try session.addResult(
                [.tar(name: "never made") { throw CacheError(.notFound, "out.tar does not exist") }], to: lost)
            let report = try await session.exportCaches()
            #expect(report.failures.map(\.code) == [.notFound])
            #expect(report.failures.first?.context.subject == "never made")
            #expect(try await cache("main", scratch).importCache(progress: .discarded) == nil)

            let made = try session.record(digest("made"), inputs: [[Link(root)]])
            try session.addResult([.tar { tar("made") }], to: made)
            let second = try await session.exportCaches()
            try second.check()
            #expect(second.problems.map(\.kind) == [.omittedResult])
            #expect(second.problems.first?.endpoint == "main")
            #expect(session.report.problems.count == 2)
            #expect(session.report.description.contains("2 problems: "))
        }
    }

    @Test("without any result writes nothing and says so, in the report and in its line")
    func nothingToExport() async throws {
        try await ScratchStore.withTemporary { scratch in
            let session = CacheClient(sources: [], destinations: [destination("main", scratch)])
                .openSession(store: scratch)
            _ = try session.record(digest("root"))
            let report = try await session.exportCaches()
            try report.check()
            #expect(report.problems.map(\.kind) == [.nothingToExport])
            #expect(report.description.contains("1 problem: main: "))
        }
    }

    @Test("goes on with a source that cannot be read and a layer that is lost, and lists both")
    func problems() async throws {
        try await ScratchStore.withTemporary { scratch in
            let sample = Sample("step")
            let digest = sample.descriptor.digest
            for (fault, kind) in [
                (FaultySource.Fault.changed(digest), CacheProblem.Kind.damagedLayer), (.missing(digest), .lostLayer),
            ] {
                let cache = try sample.cache(FaultySource(MemorySource([Array("step".utf8)]), fault))
                let client = CacheClient(
                    sources: [
                        .init(name: "main", importer: ScriptedBackend(importing: { cache })),
                        .init(
                            name: "down",
                            importer: ScriptedBackend(importing: { throw CacheError(.unavailable, "it is down") })),
                    ], destinations: [])
                let session = client.openSession(store: MemoryStore())
                await session.waitForSources()
                #expect(try await session.fetch(try sample.record(in: session)) == nil)
                let report = session.report
                #expect(report.problems.map(\.kind) == [.unreadableCache, kind])
                #expect(report.problems.map(\.endpoint) == ["down", "main"])
                #expect(report.problems.last?.subject == digest.description)
                #expect(report.description.contains(" (1 lost layer), "))
            }
        }
    }
}
