import BuildCacheCore
import BuildCacheGraph
import Testing

@Suite("A step that missed is explained by")
struct ExplainTests {
    private func digest(_ name: String) -> Digest { .record(operation: Digest(of: name.utf8), output: 0) }

    /// `run` on `base` and on two versions of `sources`, the newer one built from `v2`; `lost` has no result.
    private func makeLookup() throws -> CacheLookup {
        var graph = LayerGraph()
        let base = try graph.addRecord(digest("base"))
        let layer = try graph.addLayer(Descriptor(mediaType: .layer(.gzip), digest: Digest(of: "l".utf8), size: 1))
        for (second, version) in ["v1", "v2"].enumerated() {
            let source = try graph.addRecord(digest(version))
            let time = try #require(Timestamp(seconds: Int64(second)))
            try graph.addRecord(
                digest("run"), inputs: [[Link(base)], [Link(source, selector: "/src")]],
                results: [CacheResult(layer: layer, createdAt: time)])
        }
        try graph.addRecord(digest("lost"), inputs: [[Link(base)]])
        return CacheLookup(graph)
    }

    private func link(_ lookup: CacheLookup, _ name: String, _ selector: String = "") throws -> Link {
        Link(try #require(try lookup.matches(digest(name)).first), selector: selector)
    }

    @Test("nothing, if it did not")
    func hit() throws {
        let lookup = try makeLookup()
        let inputs = [[try link(lookup, "base")], [try link(lookup, "v1", "/src")]]
        #expect(try lookup.explainMiss(digest("run"), inputs: inputs) == nil)
    }

    @Test("the input that missed itself, compared with the newest of the nearest records")
    func unknownInput() throws {
        let lookup = try makeLookup()
        let explanation = try #require(
            lookup.explainMiss(digest("run"), inputs: [[try link(lookup, "base")], []]))
        let newest = try link(lookup, "v2", "/src")
        guard case .otherInputs(_, let differences) = explanation.reason else {
            Issue.record("\(explanation)")
            return
        }
        let difference = try #require(differences.first)
        #expect(differences.count == 1)
        #expect(difference.input == 1)
        #expect(difference.kind == .unknownInput)
        #expect(difference.known == [newest])
        let names = [digest("v2"): "v2"]
        #expect(
            explanation.text(in: lookup.graph) { names[$0] ?? "?" }
                == #"input 1 missed itself; the nearest was built from v2 "/src""#)
    }

    @Test("the input that is another record, or another part of the same")
    func otherInput() throws {
        let lookup = try makeLookup()
        let (base, other) = (try link(lookup, "base"), try link(lookup, "v1", "/other"))
        let part = try #require(try lookup.explainMiss(digest("run"), inputs: [[base], [other]]))
        guard case .otherInputs(let nearest, let differences) = part.reason else {
            Issue.record("\(part)")
            return
        }
        #expect(differences.map(\.kind) == [.otherSelector])
        #expect(try lookup.graph[nearest].inputs[1] == [try link(lookup, "v1", "/src")])
        let swapped = try #require(try lookup.explainMiss(digest("run"), inputs: [[other], [base]]))
        guard case .otherInputs(_, let both) = swapped.reason else {
            Issue.record("\(swapped)")
            return
        }
        #expect(both.map(\.kind) == [.otherRecord, .otherRecord])
    }

    @Test("another key on the same inputs, another number of inputs, no result, or nothing at all")
    func others() throws {
        let lookup = try makeLookup()
        let base = try link(lookup, "base")
        let lost = try #require(try lookup.matches(digest("lost"), inputs: [[base]]).first)
        let run = try #require(
            try lookup.matches(digest("run"), inputs: [[base], [try link(lookup, "v1", "/src")]]).first)
        #expect(try lookup.explainMiss(digest("lost"), inputs: [[base]])?.reason == .noResult(lost))
        #expect(try lookup.explainMiss(digest("new"), inputs: [[base]])?.reason == .otherKey([lost]))
        #expect(try lookup.explainMiss(digest("run"), inputs: [[base]])?.reason == .otherInputCount(run, 2))
        #expect(try lookup.explainMiss(digest("new"), inputs: [[]])?.reason == .unknown)
        #expect(try lookup.explainMiss(digest("new"))?.reason == .unknown)
    }
}

@Suite("The difference of two graphs")
struct DifferenceTests {
    private func digest(_ name: String) -> Digest { .record(operation: Digest(of: name.utf8), output: 0) }

    /// Steps one on the other, the first of them without inputs; each with a layer that is named by it.
    private func chain(_ steps: [(name: String, layer: String)]) throws -> LayerGraph {
        var graph = LayerGraph()
        var below: RecordID?
        for (name, layer) in steps {
            let layer = try graph.addLayer(
                Descriptor(mediaType: .layer(.gzip), digest: Digest(of: layer.utf8), size: 1))
            below = try graph.addRecord(
                digest(name), inputs: below.map { [[Link($0)]] } ?? [],
                results: [CacheResult(layer: layer, createdAt: .zero)])
        }
        return graph
    }

    @Test("is empty for the same content, however it is numbered")
    func same() throws {
        let graph = try chain([("a", "1"), ("b", "2")])
        var other = LayerGraph()
        _ = try other.merge(try chain([("a", "1")]))
        _ = try other.merge(graph)
        #expect(other.difference(from: graph).isEmpty)
    }

    @Test("begins where the first input differs, and tells other results from other records")
    func differs() throws {
        let old = try chain([("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")])
        let new = try chain([("a", "1"), ("b", "22"), ("x", "3"), ("d", "4")])
        let difference = new.difference(from: old)
        #expect(try difference.changed.map { try new[$0].digest } == [digest("b")])
        #expect(try difference.added.map { try new[$0].digest } == [digest("x"), digest("d")])
        #expect(try difference.origins.map { try new[$0].digest } == [digest("x")])
        #expect(try difference.removed.map { try old[$0].digest } == [digest("c"), digest("d")])
        #expect(difference.addedBlobs.map(\.digest) == [Digest(of: "22".utf8)])
        #expect(difference.removedBlobs.map(\.digest) == [Digest(of: "2".utf8)])
        #expect(old.difference(from: new).added == difference.removed)
    }
}
