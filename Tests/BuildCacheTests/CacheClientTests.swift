import BuildCache
import Foundation
import NIOCore
import Synchronization
import Testing

@Suite("A client")
struct CacheClientTests {
    /// A backend that does what a test says and keeps nothing.
    private struct ScriptedBackend: CacheBackend {
        var traits = BackendTraits(name: "scripted", transfersInFlight: 1)
        var exporting: @Sendable (LayerGraph, ProgressSink) async throws -> ExportReceipt = { _, _ in ExportReceipt() }
        var importing: @Sendable () async throws -> ImportedCache? = { nil }

        func exportCache(_ graph: LayerGraph, from source: LayerSource, progress: ProgressSink) async throws
            -> ExportReceipt
        {
            try await exporting(graph, progress)
        }
        func importCache(progress: ProgressSink) async throws -> ImportedCache? { try await importing() }
    }

    /// One blob, in memory.
    private struct OneBlob: BlobSource {
        var bytes: [UInt8]
        var isGone = false

        func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
            guard !isGone, Digest(of: bytes) == descriptor.digest else { throw CacheError(.notFound, "it is gone") }
            return BlobStream(ByteBuffer(bytes: bytes))
        }
    }

    private static let root = Digest.record(content: Digest(of: "root".utf8))
    private static let step = Digest.record(operation: Digest(of: "step".utf8), output: 0)

    /// A cache with one step, whose result has this one layer.
    private func cache(_ layer: String, at second: Int64, isGone: Bool = false) throws -> ImportedCache {
        var graph = LayerGraph()
        let bytes = Array(layer.utf8)
        let descriptor = Descriptor(
            mediaType: .layer(.uncompressed), digest: Digest(of: bytes), size: Int64(bytes.count))
        let result = CacheResult(
            layer: try graph.addLayer(descriptor), createdAt: try #require(Timestamp(seconds: second)))
        let root = try graph.addRecord(Self.root)
        try graph.addRecord(Self.step, inputs: [[Link(root)]], results: [result])
        return try ImportedCache(
            parts: [ImportedCache.Part(manifest: nil, graph: graph)], blobs: OneBlob(bytes: bytes, isGone: isGone))
    }

    private func source(_ name: String, _ backend: ScriptedBackend) -> CacheClient.Source {
        CacheClient.Source(name: name, importer: backend)
    }

    private func destination(
        _ name: String, ignoresErrors: Bool = false, _ backend: ScriptedBackend
    ) -> CacheClient.Destination {
        CacheClient.Destination(name: name, exporter: backend, ignoresErrors: ignoresErrors)
    }

    @Test("unites what its sources know, the newest result first, and reads each layer from who has it")
    func unitesSources() async throws {
        let (old, new) = (try cache("old", at: 1), try cache("new", at: 2))
        let client = CacheClient(
            sources: [
                source("old", ScriptedBackend(importing: { old })),
                source("new", ScriptedBackend(importing: { new })),
            ],
            destinations: [])
        let report = try await client.importCaches()
        let lookup = CacheLookup(report.graph)
        let results = try lookup.results(
            of: lookup.matches(Self.step, inputs: [try lookup.matches(Self.root).map { Link($0) }]))
        #expect(results.map(\.createdAt.seconds) == [2, 1])
        for (result, text) in zip(results, ["new", "old"]) {
            let descriptor = try #require(try report.graph.descriptor(of: result.layer))
            var bytes: [UInt8] = []
            for try await chunk in try await report.blobs.open(descriptor, range: nil) {
                bytes += chunk.readableBytesView
            }
            #expect(String(decoding: bytes, as: UTF8.self) == text)
        }
    }

    @Test("reads a layer from the next source when the first lost it")
    func fallsBack() async throws {
        let (lost, kept) = (try cache("same", at: 1, isGone: true), try cache("same", at: 1))
        let client = CacheClient(
            sources: [
                source("lost", ScriptedBackend(importing: { lost })),
                source("kept", ScriptedBackend(importing: { kept })),
            ],
            destinations: [])
        let report = try await client.importCaches()
        let descriptor = try #require(report.graph.descriptors.values.first)
        #expect(try await report.blobs.open(descriptor, range: nil).length == 4)
    }

    @Test("goes on without a source that fails or has nothing yet, and says which")
    func sourcesFailAlone() async throws {
        let good = try cache("good", at: 1)
        let client = CacheClient(
            sources: [
                source("down", ScriptedBackend(importing: { throw CacheError(.unavailable, "it is down") })),
                source("empty", ScriptedBackend()), source("good", ScriptedBackend(importing: { good })),
            ], destinations: [])
        let report = try await client.importCaches()
        #expect(report.graph == good.graph)
        #expect(report.outcomes.map(\.source) == ["down", "empty", "good"])
        guard case .failure(let error) = report.outcomes[0].result else {
            Issue.record("a source that fails is reported")
            return
        }
        #expect(error.description == "scripted import: unavailable: it is down")
    }

    @Test(
        "lets no destination's failure hide another's or keep it from being written, and ignores what it is told to ignore"
    )
    func destinationsFailAlone() async throws {
        let failing = ScriptedBackend(exporting: { _, _ in throw CacheError(.denied, "no") })
        let full = ScriptedBackend(exporting: { _, _ in throw CacheError(.storageFull, "no room") })
        let written = Mutex(0)
        let good = ScriptedBackend(exporting: { _, _ in
            written.withLock { $0 += 1 }
            return ExportReceipt()
        })
        let client = CacheClient(
            sources: [],
            destinations: [
                destination("ignored", ignoresErrors: true, failing), destination("good", good),
                destination("full", full),
                destination("denied", failing),
            ])
        let source = LayerSource(blobs: OneBlob(bytes: []))
        let report = try await client.exportCaches(LayerGraph(), from: source)
        #expect(written.withLock { $0 } == 1)
        #expect(report.failures.map(\.code) == [.storageFull, .denied])
        let error = #expect(throws: CacheError.self) { try report.check() }
        #expect(error?.code == .storageFull)
        #expect(error?.message.contains("denied") == true)

        let lenient = CacheClient(sources: [], destinations: [destination("ignored", ignoresErrors: true, failing)])
        try await lenient.exportCaches(LayerGraph(), from: source).check()
    }

    @Test("ends with the cancellation, not with a report")
    func cancels() async throws {
        let (started, starter) = AsyncStream.makeStream(of: Void.self)
        let endless = ScriptedBackend(
            exporting: { _, _ in
                starter.finish()
                // Ends with the cancellation of this task and not otherwise.
                for await _ in AsyncStream<Never>.makeStream().stream {}
                try Task.checkCancellation()
                return ExportReceipt()
            })
        let client = CacheClient(sources: [], destinations: [destination("endless", endless)])
        let task = Task { try await client.exportCaches(LayerGraph(), from: LayerSource(blobs: OneBlob(bytes: []))) }
        for await _ in started {}
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    @Test("lets pass what BuildKit lets pass if it is told to, and says what")
    func lenient() async throws {
        try await ScratchStore.withTemporary { scratch in
            let texts = ["type=local,dest=a,mode=maxx"]
            #expect(throws: CacheError.self) { try CacheClient(cacheTo: texts, environment: .empty, scratch: scratch) }
            var ignored: [CacheError] = []
            let client = try CacheClient(
                cacheTo: texts + texts, environment: .empty, leniency: .lenient, scratch: scratch
            ) { ignored.append($0) }
            #expect(client.destinations.count == 2)
            #expect(ignored.map { $0.message.contains("maxx") } == [true, true])
            let specs = [CacheSpec(exportingTo: .local(LocalOptions(dest: "a")))]
            #expect(try CacheClient(imports: [], exports: specs, scratch: scratch).destinations.count == 1)
            #expect(throws: CacheError.self) {
                try CacheClient(imports: [], exports: specs + specs, scratch: scratch)
            }
        }
    }

    @Test("made of specs refuses what cannot be: the same destination twice, unknown types")
    func refusesSpecs() async throws {
        try await ScratchStore.withTemporary { scratch in
            let twice = ["type=local,dest=a", "type=local,dest=./a,mode=max"]
            #expect(throws: CacheError.self) { try CacheClient(cacheTo: twice, environment: .empty, scratch: scratch) }
            let unknown = #expect(throws: CacheError.self) {
                try CacheClient(cacheFrom: ["type=registrar,ref=user/app"], environment: .empty, scratch: scratch)
            }
            #expect(unknown?.code == .invalidSpec)
            let client = try CacheClient(
                cacheFrom: ["type=local,src=a", "type=local,src=a"], cacheTo: ["type=local,dest=a"],
                environment: .empty, scratch: scratch)
            #expect(client.sources.count == 1)
            #expect(client.destinations.map(\.name) == ["type=local,dest=a"])
        }
    }

    @Test("writes a local cache with pending layers, and finds every step in it again")
    func endToEnd() async throws {
        let directory = NSTemporaryDirectory() + "build-cache-client-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try await ScratchStore.withTemporary { scratch in
            let client = try CacheClient(
                cacheFrom: ["type=local,src=\(directory)"],
                cacheTo: ["type=local,dest=\(directory),mode=max,compression=zstd"],
                environment: .empty, scratch: scratch)
            #expect(try await client.importCaches().graph.isEmpty)

            var graph = LayerGraph()
            let root = try graph.addRecord(Self.root)
            let layer = try graph.addLayer(
                PendingLayer { BlobStream(ByteBuffer(string: "the tar of step")) })
            let time = try #require(Timestamp(seconds: 7))
            try graph.addRecord(
                Self.step, inputs: [[Link(root)]], results: [CacheResult(layer: layer, createdAt: time)])
            let source = LayerSource(blobs: OneBlob(bytes: []))
            let events = Mutex<[ProgressEvent]>([])
            let report = try await client.exportCaches(graph, from: source) { _, event in
                events.withLock { $0.append(event) }
            }
            try report.check()
            #expect(events.withLock { $0 }.first == .planned(layers: 1, bytes: 0))

            let found = try await client.importCaches()
            let lookup = CacheLookup(found.graph)
            let matches = try lookup.matches(Self.step, inputs: [try lookup.matches(Self.root).map { Link($0) }])
            let result = try #require(try lookup.results(of: matches).first)
            let descriptor = try #require(try found.graph.descriptor(of: result.layer))
            #expect(descriptor.mediaType == .layer(.zstd))
            #expect(descriptor.diffID == DiffID(Digest(of: "the tar of step".utf8)))
            #expect(descriptor.createdAt == Timestamp(seconds: 7))
        }
    }
}
