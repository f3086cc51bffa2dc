import BuildCache
import Foundation
import NIOCore

/// Copies a cache from one place to another.
func copyCache(from: String, to: String) async throws {
    try await ScratchStore.withTemporary { scratch in
        let client = try CacheClient(cacheFrom: [from], cacheTo: [to], scratch: scratch)
        let known = try await client.importCaches()
        for outcome in known.outcomes { _ = try outcome.result.get() }
        try await client.exportCaches(known.graph, from: LayerSource(blobs: known.blobs)).check()
    }
}

/// Makes a cache in a directory: a chain of steps, each with a layer of random bytes, as gzip.
func makeCache(in directory: String, layers: Int, bytes: Int) async throws {
    var graph = LayerGraph()
    var last = try graph.addRecord(.record(content: Digest(of: "sources".utf8)))
    var layer: LayerID?
    for number in 0..<layers {
        let name = "step \(number)"
        let made = try graph.addLayer(PendingLayer(name: name) { randomBytes(bytes) }, on: layer)
        last = try graph.addRecord(
            .record(operation: Digest(of: name.utf8), output: 0), inputs: [[Link(last)]],
            results: [CacheResult(layer: made, createdAt: .zero)])
        layer = made
    }
    try graph.setTargets([last])
    let source = LayerSource(blobs: NoBlobs())
    try await ScratchStore.withTemporary { [graph] scratch in
        let cache = try LocalCache(
            LocalOptions(dest: directory), export: ExportOptions(mode: .max), scratch: scratch)
        _ = try await cache.exportCache(graph, from: source, progress: .discarded)
    }
}

private func randomBytes(_ count: Int) -> BlobStream {
    BlobStream(length: nil) {
        var random = SystemRandomNumberGenerator()
        var rest = count
        return {
            let count = min(rest, 1 << 20)
            guard count > 0 else { return nil }
            rest -= count
            var chunk = ByteBufferAllocator().buffer(capacity: count)
            for _ in 0..<count / 8 { chunk.writeInteger(random.next()) }
            return chunk
        }
    }
}

/// All layers are made.
private struct NoBlobs: BlobSource {
    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        throw CacheError(.notFound, "there are no blobs")
    }
}
