import BuildCacheCore
import BuildCacheGraph
import Testing

/// The tables of `Documentation/Spec/layer-selection.md` §2 and §3, row by row.
@Suite("A selection")
struct SelectionTests {
    private func digest(_ name: String) -> Digest { .record(operation: Digest(of: name.utf8), output: 0) }

    /// A build in two stages.
    ///
    /// `tool` is a stage of its own whose product is copied into the image; `a` to `c` make the image.
    ///
    ///     root ─ a ─ b ─ c        layers of a, b, c on top of each other
    ///     root ─ tool ────┘       one layer, not part of the image
    private func makeBuild(stored: Set<String> = []) throws -> LayerGraph {
        var graph = LayerGraph()
        func layer(_ name: String, on parent: LayerID?) throws -> LayerID {
            stored.contains(name)
                ? try graph.addLayer(
                    Descriptor(mediaType: .layer(.gzip), digest: Digest(of: name.utf8), size: 1), on: parent)
                : try graph.addLayer(PendingLayer(name: name, recipe: NoRecipe()), on: parent)
        }
        func result(_ layer: LayerID) -> CacheResult { CacheResult(layer: layer, createdAt: .zero) }
        let root = try graph.addRecord(digest("root"))
        let layerA = try layer("a", on: nil)
        let a = try graph.addRecord(digest("a"), inputs: [[Link(root)]], results: [result(layerA)])
        let layerB = try layer("b", on: layerA)
        let b = try graph.addRecord(digest("b"), inputs: [[Link(a)]], results: [result(layerB)])
        let tool = try graph.addRecord(
            digest("tool"), inputs: [[Link(root)]], results: [result(try layer("tool", on: nil))])
        let layerC = try layer("c", on: layerB)
        let c = try graph.addRecord(
            digest("c"), inputs: [[Link(b)], [Link(tool, selector: "/bin")]], results: [result(layerC)])
        try graph.setTargets([c])
        return graph
    }

    private func withResults(_ graph: LayerGraph) throws -> Set<String> {
        let names = Dictionary(
            uniqueKeysWithValues: ["root", "a", "b", "c", "tool", "other", "late"].map { (digest($0), $0) })
        return try Set(
            graph.recordIDs.filter { try !graph[$0].results.isEmpty }.compactMap { try names[graph[$0].digest] })
    }

    private func pending(_ graph: LayerGraph) throws -> Set<String> {
        Set(
            try graph.layerIDs.compactMap { layer in
                if case .pending(let pending) = try graph[layer].content { pending.name } else { nil }
            })
    }

    @Test("in min takes the final chain, the results of its prefixes, and all keys")
    func minTakesTheImage() throws {
        let selected = try makeBuild().selected(.min)
        #expect(try withResults(selected) == ["a", "b", "c"])
        #expect(selected.recordCount == 5)
        #expect(try pending(selected) == ["a", "b", "c"])
    }

    @Test("in max takes the result of every step and makes its layers")
    func maxTakesAll() throws {
        let selected = try makeBuild().selected(.max)
        #expect(try withResults(selected) == ["a", "b", "c", "tool"])
        #expect(try pending(selected) == ["a", "b", "c", "tool"])
    }

    @Test("in min takes a step outside the image if its layers are stored already")
    func minTakesStoredStages() throws {
        let selected = try makeBuild(stored: ["tool"]).selected(.min)
        #expect(try withResults(selected) == ["a", "b", "c", "tool"])
        #expect(try pending(selected) == ["a", "b", "c"])
    }

    @Test("in min goes on as min below a step without a result, on each branch for itself")
    func minPassesThroughEmptySteps() throws {
        var graph = try makeBuild()
        let c = try #require(graph.targets.first)
        let other = try graph.addRecord(
            digest("other"), inputs: [[Link(CacheLookup(graph).matches(digest("root"))[0])]],
            results: [
                CacheResult(layer: graph.addLayer(PendingLayer(name: "other", recipe: NoRecipe())), createdAt: .zero)
            ])
        try graph.setTargets([try graph.addRecord(digest("late"), inputs: [[Link(c)], [Link(other)]])])
        #expect(try withResults(graph.selected(.min)) == ["a", "b", "c", "other"])
    }

    @Test("never takes the result of a root that a build made", arguments: CacheMode.allCases)
    func rootsHaveNoResults(_ mode: CacheMode) throws {
        var graph = LayerGraph()
        let layer = try graph.addLayer(Descriptor(mediaType: .layer(.gzip), digest: digest("base"), size: 1))
        let root = try graph.addRecord(digest("root"), results: [CacheResult(layer: layer, createdAt: .zero)])
        try graph.setTargets([root])
        let selected = graph.selected(mode)
        #expect(selected.recordCount == 1)
        #expect(try withResults(selected).isEmpty)
        #expect(selected.layerIDs.isEmpty)
    }

    @Test("takes what led to the targets and nothing else; without targets, what led to every leaf")
    func targetsDecide() throws {
        var graph = try makeBuild()
        let root = try CacheLookup(graph).matches(digest("root"))[0]
        try graph.addRecord(
            digest("other"), inputs: [[Link(root)]],
            results: [CacheResult(layer: graph.addLayer(PendingLayer(name: "x", recipe: NoRecipe())), createdAt: .zero)]
        )
        #expect(graph.selected(.max).recordCount == 5)
        try graph.setTargets([])
        #expect(graph.selected(.max).recordCount == 6)
        #expect(try withResults(graph.selected(.min)) == ["a", "b", "c", "other"])
    }

    @Test("walks every target anew: a stage below one result may be the result of another platform")
    func targetsAreWalkedAnew() throws {
        var graph = try makeBuild()
        let tool = try CacheLookup(graph).matches(
            digest("tool"), inputs: [[Link(CacheLookup(graph).matches(digest("root"))[0])]])[0]
        try graph.setTargets(graph.targets + [tool])
        #expect(try withResults(graph.selected(.min)) == ["a", "b", "c", "tool"])
    }

    @Test("in min takes a stored older result of an ancestor rather than make a newer one")
    func minPrefersStoredBelow() throws {
        var graph = try makeBuild()
        let root = try CacheLookup(graph).matches(digest("root"))[0]
        let old = try graph.addLayer(Descriptor(mediaType: .layer(.gzip), digest: digest("old"), size: 1))
        try graph.addRecord(
            digest("tool"), inputs: [[Link(root)]],
            results: [
                CacheResult(layer: old, createdAt: try #require(Timestamp(seconds: -70_000_000_000 + 7_900_000_000)))
            ])
        let selected = graph.selected(.min)
        #expect(try withResults(selected) == ["a", "b", "c", "tool"])
        #expect(try !pending(selected).contains("tool"))
    }

    @Test(
        "leaves out ephemeral records and what has no other way to be found, and keeps the other ways",
        arguments: CacheMode.allCases)
    func ephemeralRecords(_ mode: CacheMode) throws {
        var graph = LayerGraph()
        let directory = try graph.addEphemeralRecord()
        let content = try graph.addRecord(.record(content: Digest(of: "content".utf8)))
        let layer = try graph.addLayer(PendingLayer(name: "a", recipe: NoRecipe()))
        let result = CacheResult(layer: layer, createdAt: .zero)
        try graph.addRecord(digest("a"), inputs: [[Link(directory, selector: "/"), Link(content)]], results: [result])
        let lost = try graph.addRecord(digest("b"), inputs: [[Link(directory)]], results: [result])
        try graph.addRecord(digest("c"), inputs: [[Link(lost)], [Link(content)]], results: [result])
        let selected = graph.selected(mode)
        #expect(try withResults(selected) == ["a"])
        #expect(selected.recordCount == 2)
        #expect(try selected.recordIDs.map { try selected[$0].inputs.map(\.count) } == [[], [1]])
    }

    @Test("keeps one result of each record, the newest")
    func newestResult() throws {
        var graph = LayerGraph()
        let root = try graph.addRecord(digest("root"))
        for second: Int64 in [3, 9, 5] {
            let layer = try graph.addLayer(
                Descriptor(mediaType: .layer(.gzip), digest: digest("\(second)"), size: second))
            try graph.addRecord(
                digest("a"), inputs: [[Link(root)]],
                results: [CacheResult(layer: layer, createdAt: try #require(Timestamp(seconds: second)))])
        }
        let selected = graph.selected(.max)
        #expect(try selected.recordIDs.flatMap { try selected[$0].results.map(\.createdAt.seconds) } == [9])
        #expect(selected.descriptors.values.map(\.size) == [9])
    }

    @Test("that lost a layer loses the results above it, and no record")
    func removesResults() throws {
        let graph = try makeBuild(stored: ["a", "b", "c", "tool"]).selected(.max)
        let without = graph.removingResults { $0.content == .blob(Digest(of: "b".utf8)) }
        #expect(try withResults(without) == ["a", "tool"])
        #expect(without.recordCount == 5)
    }

    @Test("whose layers were converted keeps its chains, and equal chains become one")
    func replacesLayers() throws {
        let graph = try makeBuild(stored: ["a", "b", "c", "tool"]).selected(.max)
        let same = Descriptor(mediaType: .layer(.zstd), digest: Digest(of: "same".utf8), size: 4)
        let replaced = try graph.replacing(blobs: [Digest(of: "a".utf8): same, Digest(of: "tool".utf8): same])
        #expect(replaced.layerIDs.count == 3)
        #expect(replaced.descriptors[same.digest] == same)
        #expect(replaced.descriptors[Digest(of: "a".utf8)] == nil)
        #expect(try withResults(replaced) == ["a", "b", "c", "tool"])
    }
}
