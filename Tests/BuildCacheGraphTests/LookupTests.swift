import BuildCacheCore
import BuildCacheGraph
import Testing

@Suite("A lookup")
struct LookupTests {
    private func digest(_ name: String) -> Digest { .record(operation: Digest(of: name.utf8), output: 0) }

    /// `copy` has two inputs: a base, and a source by definition with a selector or by content without.
    private func makeGraph() throws -> LayerGraph {
        var graph = LayerGraph()
        let base = try graph.addRecord(digest("base"))
        let source = try graph.addRecord(digest("source"))
        let content = try graph.addRecord(.record(content: Digest(of: "content".utf8)))
        let layer = try graph.addLayer(Descriptor(mediaType: .layer(.gzip), digest: Digest(of: "l".utf8), size: 1))
        try graph.addRecord(
            digest("copy"), inputs: [[Link(base)], [Link(source, selector: "/src"), Link(content)]],
            results: [CacheResult(layer: layer, createdAt: .zero)])
        return graph
    }

    @Test("finds a step when every input matches by one of its links")
    func matches() throws {
        let lookup = try CacheLookup(makeGraph())
        let base = try #require(try lookup.matches(digest("base")).first)
        let source = try #require(try lookup.matches(digest("source")).first)
        let content = try #require(try lookup.matches(.record(content: Digest(of: "content".utf8))).first)
        #expect(
            try lookup.matches(digest("copy"), inputs: [[Link(base)], [Link(source, selector: "/src")]]).count == 1)
        #expect(try lookup.matches(digest("copy"), inputs: [[Link(base)], [Link(content)]]).count == 1)
        #expect(
            try lookup.matches(
                digest("copy"), inputs: [[Link(source), Link(base)], [Link(content, selector: "x"), Link(content)]]
            ).count == 1)
    }

    @Test("finds nothing when an input, a selector, the digest or the number of inputs differs")
    func misses() throws {
        let lookup = try CacheLookup(makeGraph())
        let base = try #require(try lookup.matches(digest("base")).first)
        let source = try #require(try lookup.matches(digest("source")).first)
        let misses: [[[Link]]] = [
            [[Link(base)], [Link(source)]], [[Link(base)], [Link(source, selector: "/other")]],
            [[Link(source)], [Link(source, selector: "/src")]],
            [[Link(base)]], [], [[Link(base)], []], [[Link(base)], [Link(source, selector: "/src")], [Link(base)]],
        ]
        for inputs in misses { #expect(try lookup.matches(digest("copy"), inputs: inputs).isEmpty) }
        #expect(try lookup.matches(digest("move"), inputs: [[Link(base)], [Link(source, selector: "/src")]]).isEmpty)
        #expect(try lookup.matches(digest("copy")).isEmpty)
    }

    @Test("goes on through records that have no result")
    func continuesThroughEmptyRecords() throws {
        var graph = try makeGraph()
        let base = try #require(try CacheLookup(graph).matches(digest("base")).first)
        let between = try graph.addRecord(digest("between"), inputs: [[Link(base)]])
        let layer = try graph.addLayer(Descriptor(mediaType: .layer(.gzip), digest: Digest(of: "m".utf8), size: 1))
        try graph.addRecord(
            digest("last"), inputs: [[Link(between)]], results: [CacheResult(layer: layer, createdAt: .zero)])
        let lookup = CacheLookup(graph)
        let found = try lookup.matches(digest("between"), inputs: [[Link(base)]])
        #expect(try lookup.results(of: found).isEmpty)
        #expect(
            try lookup.results(of: lookup.matches(digest("last"), inputs: [found.map { Link($0) }])).map(\.layer) == [
                layer
            ]
        )
    }

    @Test("offers results newest first, whatever the zone, and equally new ones as they were added")
    func ordersResults() throws {
        var graph = LayerGraph()
        var results: [CacheResult] = []
        for (name, time) in [
            ("a", "2026-01-01T00:00:00Z"), ("b", "2026-01-02T00:00:00Z"), ("c", "2026-01-02T01:00:00+01:00"),
            ("d", "2026-01-01T23:00:00Z"),
        ] {
            let layer = try graph.addLayer(Descriptor(mediaType: .layer(.gzip), digest: Digest(of: name.utf8), size: 1))
            results.append(CacheResult(layer: layer, createdAt: try Timestamp(time)))
        }
        let record = try graph.addRecord(digest("r"), results: results)
        #expect(try CacheLookup(graph).results(of: [record]) == [results[1], results[2], results[3], results[0]])
    }
}
