import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheGraph
import BuildCacheTesting
import Synchronization

/// One step over a root that all samples share, with a layer of one text.
struct Sample {
    static let root = Digest.record(content: Digest(of: "root".utf8))
    private let name: String
    private let layer: String
    private let second: Int64

    init(_ name: String, layer: String? = nil, at second: Int64 = 1) {
        (self.name, self.layer, self.second) = (name, layer ?? name, second)
    }

    var digest: Digest { .record(operation: Digest(of: name.utf8), output: 0) }

    var descriptor: Descriptor {
        Descriptor(
            mediaType: .layer(.uncompressed), digest: Digest(of: layer.utf8), size: Int64(layer.utf8.count),
            annotations: [Annotation.uncompressed: Digest(of: layer.utf8).description])
    }

    /// The cache that has it, its layer from another source if one is given.
    func cache(_ blobs: (any BlobSource)? = nil) throws -> ImportedCache {
        var graph = LayerGraph()
        let result = CacheResult(
            layer: try graph.addLayer(descriptor), createdAt: Timestamp(seconds: second) ?? .zero)
        let root = try graph.addRecord(Sample.root)
        try graph.addRecord(digest, inputs: [[Link(root)]], results: [result])
        return try ImportedCache(
            parts: [ImportedCache.Part(manifest: nil, graph: graph)], blobs: blobs ?? MemorySource([Array(layer.utf8)]))
    }

    /// Notes the step in a session.
    func record(in session: CacheSession) throws -> RecordID {
        try session.record(digest, inputs: [[Link(try session.record(Sample.root))]])
    }
}

/// A backend that does what a test says and keeps nothing.
struct ScriptedBackend: CacheBackend {
    var traits = BackendTraits(name: "scripted", transfersInFlight: 1)
    var exporting: @Sendable (LayerGraph, LayerSource) async throws -> ExportReceipt = { _, _ in ExportReceipt() }
    var importing: @Sendable () async throws -> ImportedCache? = { nil }

    func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt { try await exporting(graph, source) }
    func importCache(progress: ProgressSink) async throws -> ImportedCache? { try await importing() }
}

/// A backend that never answers, until its task is cancelled.
struct HangingBackend: CacheBackend {
    var traits = BackendTraits(name: "hanging", transfersInFlight: 1)

    func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt { ExportReceipt() }
    func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        for await _ in AsyncStream<Never>.makeStream().stream {}
        try Task.checkCancellation()
        return nil
    }
}

/// A backend that answers when a test lets it, whatever becomes of its task.
final class StubbornBackend: CacheBackend {
    let traits = BackendTraits(name: "stubborn", transfersInFlight: 1)
    private let waiting = Mutex<(continuation: CheckedContinuation<Void, Never>?, isOver: Bool)>((nil, false))

    func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt { ExportReceipt() }
    func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        await withCheckedContinuation { continuation in
            let isOver = waiting.withLock { state in
                if !state.isOver { state.continuation = continuation }
                return state.isOver
            }
            if isOver { continuation.resume() }
        }
        return nil
    }
    func letGo() {
        waiting.withLock { state in
            state.isOver = true
            defer { state.continuation = nil }
            return state.continuation
        }?.resume()
    }
}

/// A store without room.
struct FullStore: BlobStore {
    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        throw CacheError(.notFound, "nothing fits in here")
    }
    func stat(_ digest: Digest) async throws -> BlobStat? { nil }
    func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        throw CacheError(.storageFull, "no room")
    }
}

extension CacheSession {
    /// Returns when all sources have answered: a step that no cache has is waited for that long.
    func waitForSources() async {
        guard let unknown = try? record(.record(content: Digest(of: "nobody has this".utf8))) else { return }
        _ = try? await lookup(unknown)
    }
}
