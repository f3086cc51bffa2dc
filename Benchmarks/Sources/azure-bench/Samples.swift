import BuildCache
import Foundation
import NIOCore

/// Layers in memory.
struct MemoryBlobs: BlobSource {
    var blobs: [Digest: ByteBuffer] = [:]

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        guard let all = blobs[descriptor.digest] else { throw CacheError(.notFound, "there is no such blob") }
        let part = range ?? 0..<Int64(all.readableBytes)
        return BlobStream(length: Int64(part.count)) {
            var rest = all.getSlice(at: Int(part.lowerBound), length: part.count) ?? ByteBuffer()
            return { rest.readableBytes > 0 ? rest.readSlice(length: min(1 << 20, rest.readableBytes)) : nil }
        }
    }
}

/// A cache of so many layers that nobody has yet, and where they are.
func makeCache(layers count: Int, bytes: Int) throws -> (graph: LayerGraph, source: MemoryBlobs) {
    var random = SystemRandomNumberGenerator()
    var graph = LayerGraph()
    var source = MemoryBlobs()
    var last = try graph.addRecord(.record(content: Digest(of: "context".utf8)))
    var layer: LayerID?
    for number in 0..<count {
        var words = [UInt64](repeating: 0, count: bytes / 8)
        for index in words.indices { words[index] = random.next() }
        let buffer = words.withUnsafeBytes { ByteBuffer(bytes: $0) }
        let digest = buffer.withUnsafeReadableBytes { Digest(of: $0) }
        let descriptor = Descriptor(
            mediaType: .layer(.uncompressed), digest: digest, size: Int64(bytes),
            annotations: [Annotation.uncompressed: digest.description])
        source.blobs[digest] = buffer
        let top = try graph.addLayer(descriptor, on: layer)
        layer = top
        last = try graph.addRecord(
            .record(operation: Digest(of: "step \(number)".utf8), output: 0), inputs: [[Link(last)]],
            results: [CacheResult(layer: top, createdAt: .now())])
    }
    graph.targets = [last]
    return (graph, source)
}

func seconds(_ body: () async throws -> Void) async rethrows -> Double {
    let duration = try await ContinuousClock().measure { try await body() }
    return Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
}

extension Double {
    /// With two digits behind the point.
    var short: String { String(format: "%.2f", self) }
}
