public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
import NIOCore

/// A graph together with its layers: something to export.
public struct SampleCache: Sendable {
    /// Records, results and layers.
    public let graph: LayerGraph
    /// The stored layers.
    public let layers: [SampleLayer]

    /// The stored blobs.
    public var blobs: MemorySource { MemorySource(layers.map(\.stored)) }

    /// The stored layers; pending ones bring their own tars.
    public var source: LayerSource { source(blobs) }

    /// The stored layers as another source gives them.
    public func source(_ blobs: any BlobSource) -> LayerSource { LayerSource(blobs: blobs) }

    // MARK: Samples

    /// Two sources, a base built from both, two steps on top of it, and one that takes from both of them.
    ///
    /// All layers are stored, some as gzip and some as they are.
    ///
    /// - Parameter name: Goes into every digest: two diamonds of different names share nothing.
    public static func diamond(_ name: String = "diamond") throws(CacheError) -> SampleCache {
        var sample = Builder()
        let sources = [try sample.root("\(name) a"), try sample.root("\(name) b")]
        let base = try sample.step("\(name) base", on: sources.map { [Link($0)] }, layer: .stored(nil))
        let left = try sample.step("\(name) left", on: [[Link(base.record)]], layer: .stored(base.layer))
        let right = try sample.step(
            "\(name) right", on: [[Link(base.record)]], layer: .stored(base.layer), isCompressed: false)
        let top = try sample.step(
            "\(name) top", on: [[Link(left.record), Link(right.record, selector: "/out")], [Link(right.record)]],
            layer: .stored(left.layer))
        try sample.graph.setTargets([top.record])
        return sample.cache
    }

    /// One step on the other, each with a layer of its own.
    public static func chain(of count: Int) throws(CacheError) -> SampleCache {
        var sample = Builder()
        var last = try sample.root("chain")
        var layer: LayerID?
        for number in 0..<count {
            let step = try sample.step(
                "step \(number)", on: [[Link(last)]], layer: .stored(layer), isCompressed: number % 2 == 0)
            last = step.record
            layer = step.layer
        }
        try sample.graph.setTargets([last])
        return sample.cache
    }

    /// A step whose layer was never stored, and one that uses a file of it and whose layer was: `max` has to make a layer that `min`
    /// leaves alone.
    public static func pending() throws(CacheError) -> SampleCache {
        var sample = Builder()
        let root = try sample.root("pending")
        let tool = try sample.step("tool", on: [[Link(root)]], layer: .pending)
        let result = try sample.step("result", on: [[Link(tool.record)]], layer: .stored(nil))
        try sample.graph.setTargets([result.record])
        return sample.cache
    }

    /// One step over a source that all such samples share.
    ///
    /// - Parameter name: Goes into the digests of the step and its layer.
    public static func step(_ name: String) throws(CacheError) -> SampleCache {
        var sample = Builder()
        let root = try sample.root("shared")
        let step = try sample.step(name, on: [[Link(root)]], layer: .stored(nil))
        try sample.graph.setTargets([step.record])
        return sample.cache
    }

    /// One step with a layer of the caller's, as one that is large.
    public static func single(_ layer: SampleLayer) throws(CacheError) -> SampleCache {
        var graph = LayerGraph()
        let result = CacheResult(layer: try graph.addLayer(layer.descriptor), createdAt: Timestamp.zero)
        let root = try graph.addRecord(.record(content: Digest(of: "single".utf8)))
        try graph.setTargets([graph.addRecord(Builder.digest("single"), inputs: [[Link(root)]], results: [result])])
        return SampleCache(graph: graph, layers: [layer])
    }

    /// Records without any layer.
    public static func withoutLayers() throws(CacheError) -> SampleCache {
        var sample = Builder()
        let root = try sample.root("nothing")
        try sample.graph.addRecord(Builder.digest("nothing came out"), inputs: [[Link(root)]])
        return sample.cache
    }

    private struct Builder {
        enum Base { case stored(LayerID?), pending }

        var graph = LayerGraph()
        private var layers: [SampleLayer] = []
        private var second: Int64 = 1_790_000_000

        var cache: SampleCache { SampleCache(graph: graph, layers: layers) }

        static func digest(_ step: String) -> Digest { .record(operation: Digest(of: step.utf8), output: 0) }

        mutating func root(_ content: String) throws(CacheError) -> RecordID {
            try graph.addRecord(.record(content: Digest(of: content.utf8)))
        }

        /// A step with one layer, whose time is later than that of the step before.
        mutating func step(
            _ name: String, on inputs: [[Link]], layer base: Base, isCompressed: Bool = true
        ) throws(CacheError) -> (record: RecordID, layer: LayerID) {
            second += 1
            let createdAt = Timestamp(seconds: second, nanoseconds: 123_456_789) ?? .zero
            let content = SampleLayer("what \(name) made", isCompressed: isCompressed, second: second)
            let layer: LayerID
            switch base {
            case .stored(let parent):
                layers.append(content)
                layer = try graph.addLayer(content.descriptor, on: parent)
            case .pending:
                layer = try graph.addLayer(
                    PendingLayer(name: name) { BlobStream(ByteBuffer(bytes: content.tar)) })
            }
            let result = CacheResult(layer: layer, createdAt: createdAt)
            return (try graph.addRecord(Builder.digest(name), inputs: inputs, results: [result]), layer)
        }
    }
}
