import BuildCacheCore
import BuildCacheGraph
import Testing

@Suite("An identifier")
struct IdentifierTests {
    private func digest(_ name: String) -> Digest { .record(operation: Digest(of: name.utf8), output: 0) }

    /// Two graphs with as many records and layers, so that every index of one is one of the other.
    private func twins() throws -> (mine: LayerGraph, theirs: LayerGraph) {
        func graph(_ name: String) throws -> LayerGraph {
            var graph = LayerGraph()
            let root = try graph.addRecord(digest("\(name) root"))
            let layer = try graph.addLayer(
                Descriptor(mediaType: .layer(.gzip), digest: Digest(of: name.utf8), size: 1))
            try graph.addRecord(
                digest("\(name) step"), inputs: [[Link(root)]],
                results: [CacheResult(layer: layer, createdAt: .zero)])
            return graph
        }
        return (try graph("mine"), try graph("theirs"))
    }

    @Test("of another graph is refused by every call that takes one, though its number is in range")
    func foreignIdentifiers() throws {
        let (mine, theirs) = try twins()
        let record = try #require(theirs.recordIDs.last)
        let layer = try #require(theirs.layerIDs.last)
        let calls: [(inout LayerGraph) throws -> Void] = [
            { _ = try $0[record] },
            { _ = try $0[layer] },
            { _ = try $0.chain(layer) },
            { _ = try $0.descriptor(of: layer) },
            { try $0.setTargets([record]) },
            { try $0.addRecord(digest("x"), inputs: [[Link(record)]]) },
            { try $0.addRecord(digest("x"), results: [CacheResult(layer: layer, createdAt: .zero)]) },
            { try $0.addResult(CacheResult(layer: layer, createdAt: .zero), to: $0.recordIDs[1]) },
            { try $0.addResult(CacheResult(layer: $0.layerIDs[0], createdAt: .zero), to: record) },
            { try $0.removeResults(of: record) },
            { _ = try $0.addLayer(Descriptor(mediaType: .layer(.gzip), digest: digest("x"), size: 1), on: layer) },
            { _ = try CacheLookup($0).matches(digest("x"), inputs: [[Link(record)]]) },
            { _ = try CacheLookup($0).results(of: [record]) },
            { _ = try CacheLookup($0).explainMiss(digest("x"), inputs: [[Link(record)]]) },
            { try $0.addAlternatives(of: $0.recordIDs, in: theirs) },
        ]
        for (number, call) in calls.enumerated() {
            var graph = mine
            let error = #expect(throws: CacheError.self, "call \(number)") { try call(&graph) }
            #expect(error?.code == .invalidSpec, "call \(number)")
            #expect(graph == mine, "call \(number)")
        }
    }

    @Test("is valid in copies of its graph, also in those that grew, and not in what grew out of another copy")
    func copies() throws {
        let (original, _) = try twins()
        let old = try #require(original.recordIDs.last)
        var left = original
        var right = original
        let leftStep = try left.addRecord(digest("left"), inputs: [[Link(old)]])
        let rightStep = try right.addRecord(digest("right"), inputs: [[Link(old)]])
        #expect(try left[old].digest == original[old].digest)
        #expect(try left[leftStep].digest == digest("left"))
        #expect(try right[rightStep].digest == digest("right"))
        #expect(throws: CacheError.self) { _ = try left[rightStep] }
        #expect(throws: CacheError.self) { _ = try right[leftStep] }
        let leftLayer = try left.addLayer(Descriptor(mediaType: .layer(.gzip), digest: digest("l"), size: 1))
        _ = try right.addLayer(Descriptor(mediaType: .layer(.gzip), digest: digest("r"), size: 1))
        #expect(throws: CacheError.self) { _ = try right[leftLayer] }
    }

    @Test("kept over a selection, which numbers anew, is refused")
    func selections() throws {
        let (mine, _) = try twins()
        let record = try #require(mine.recordIDs.last)
        let selected = mine.selected(.max)
        #expect(throws: CacheError.self) { _ = try selected[record] }
        #expect(selected.recordCount == mine.recordCount)
    }

    @Test("that a merge returned is that of the same record")
    func merges() throws {
        var (mine, theirs) = try twins()
        let names = try mine.merge(theirs)
        for record in theirs.recordIDs {
            let merged = try #require(names[record])
            #expect(try mine[merged].digest == theirs[record].digest)
        }
        #expect(names.count == theirs.recordCount)
    }
}
