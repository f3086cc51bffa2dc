import BuildCacheCore
import BuildCacheGraph
import Testing

@Suite("A graph that is put together")
struct BuildingTests {
    private func digest(_ name: String) -> Digest { .record(operation: Digest(of: name.utf8), output: 0) }

    private func result(_ name: String, at second: Int64, in graph: inout LayerGraph) throws -> CacheResult {
        let layer = try graph.addLayer(Descriptor(mediaType: .layer(.gzip), digest: Digest(of: name.utf8), size: 1))
        return CacheResult(layer: layer, createdAt: try #require(Timestamp(seconds: second)))
    }

    @Test("knows a root by its digest")
    func rootsAreOne() throws {
        var graph = LayerGraph()
        let first = try graph.addRecord(digest("a"))
        #expect(try graph.addRecord(digest("a")) == first)
        #expect(try graph.addRecord(digest("b")) != first)
        #expect(graph.recordCount == 2)
    }

    @Test("knows a record by its digest and one shared link on every input, and adds the links that are new")
    func recordsAreOne() throws {
        var graph = LayerGraph()
        let a = try graph.addRecord(digest("a"))
        let b = try graph.addRecord(digest("b"))
        let c = try graph.addRecord(digest("c"))
        let first = try graph.addRecord(digest("step"), inputs: [[Link(a, selector: "s"), Link(b)], [Link(c)]])
        #expect(try graph.addRecord(digest("step"), inputs: [[Link(b)], [Link(a), Link(c)]]) == first)
        #expect(try graph[first].inputs == [[Link(a, selector: "s"), Link(b)], [Link(c), Link(a)]])
        // The same digest without a shared link on each input, with another selector, or another number of inputs, is another record.
        #expect(try graph.addRecord(digest("step"), inputs: [[Link(b)], [Link(b)]]) != first)
        #expect(try graph.addRecord(digest("step"), inputs: [[Link(a)], [Link(c)]]) != first)
        #expect(try graph.addRecord(digest("step"), inputs: [[Link(b)]]) != first)
    }

    @Test("makes one record of several that turn out to be equal, and what was built on either is found")
    func mergesRecords() throws {
        var graph = LayerGraph()
        let a = try graph.addRecord(digest("a"))
        let b = try graph.addRecord(digest("b"))
        let onA = try graph.addRecord(digest("step"), inputs: [[Link(a)]], results: [result("l1", at: 1, in: &graph)])
        let onB = try graph.addRecord(digest("step"), inputs: [[Link(b)]], results: [result("l2", at: 2, in: &graph)])
        let child = try graph.addRecord(digest("child"), inputs: [[Link(onB)]])
        #expect(onA != onB)

        let both = try graph.addRecord(digest("step"), inputs: [[Link(a), Link(b)]])
        #expect(graph.recordCount == 4)
        #expect(try graph[both] == graph[onA])
        #expect(try graph[both] == graph[onB])
        #expect(try graph[both].inputs == [[Link(a), Link(b)]])
        #expect(try graph[both].results.count == 2)
        #expect(try graph[child].inputs == [[Link(both)]])
        #expect(try graph.addRecord(digest("child"), inputs: [[Link(onA)]]) == child)
        #expect(try CacheLookup(graph).matches(digest("child"), inputs: [[Link(both)]]) == [child])
        #expect(try graph.encodeConfig().bytes == graph.selected(.max).encodeConfig().bytes)
    }

    @Test("leaves out a link that would make a record its own ancestor")
    func noLoops() throws {
        var graph = LayerGraph()
        let a = try graph.addRecord(digest("a"))
        let step = try graph.addRecord(digest("step"), inputs: [[Link(a)]])
        let child = try graph.addRecord(digest("child"), inputs: [[Link(step)]])
        try graph.addRecord(digest("step"), inputs: [[Link(a), Link(child), Link(step)]])
        #expect(try graph[step].inputs == [[Link(a)]])
        // A link to a younger record that does not descend from it is fine, and later loops through it are still seen.
        let late = try graph.addRecord(digest("late"))
        try graph.addRecord(digest("step"), inputs: [[Link(a), Link(late)]])
        #expect(try graph[step].inputs == [[Link(a), Link(late)]])
        let encoded = try graph.encodeConfig()
        #expect(try LayerGraph(decodingConfig: encoded.bytes, layers: .undescribed) == graph)
    }

    @Test("keeps two results that differ in nothing but their layers, and one of two that are equal")
    func resultsAreComparedByChain() throws {
        var graph = LayerGraph()
        let first = try result("one", at: 5, in: &graph)
        let second = try result("two", at: 5, in: &graph)
        let record = try graph.addRecord(digest("a"), results: [first, second, first])
        #expect(try graph[record].results == [first, second])
    }

    @Test("refuses an input without links and identifiers of another graph")
    func refusesMisuse() throws {
        var other = LayerGraph()
        for name in ["a", "b", "c"] { try other.addRecord(digest(name)) }
        let foreign = try #require(other.recordIDs.last)
        let foreignResult = try result("x", at: 0, in: &other)

        var graph = LayerGraph()
        let calls: [(inout LayerGraph) throws -> Void] = [
            { try $0.addRecord(digest("s"), inputs: [[]]) },
            { try $0.addRecord(digest("s"), inputs: [[Link(foreign)]]) },
            { try $0.addRecord(digest("s"), results: [foreignResult]) },
            { _ = try $0.addLayer(PendingLayer(name: "p", recipe: NoRecipe()), on: foreignResult.layer) },
        ]
        for call in calls {
            let error = #expect(throws: CacheError.self) { try call(&graph) }
            #expect(error?.code == .invalidSpec)
        }
        #expect(graph.isEmpty)
    }

    @Test("unites with another: equal records, links and results once, everything else from both")
    func unites() throws {
        var left = LayerGraph()
        let a = try left.addRecord(digest("a"))
        try left.addRecord(digest("step"), inputs: [[Link(a)]], results: [result("old", at: 1, in: &left)])
        var right = LayerGraph()
        _ = try right.addRecord(digest("z"))
        let otherA = try right.addRecord(digest("a"))
        let otherStep = try right.addRecord(
            digest("step"), inputs: [[Link(otherA)]], results: [result("new", at: 2, in: &right)])
        let child = try right.addRecord(digest("child"), inputs: [[Link(otherStep)]])

        let leftFirst = try {
            var graph = left; try graph.merge(right); return graph
        }()
        let rightFirst = try {
            var graph = right; try graph.merge(left); return graph
        }()
        #expect(leftFirst == rightFirst)
        #expect(leftFirst.recordCount == 4)
        #expect(try leftFirst.encodeConfig().bytes == rightFirst.encodeConfig().bytes)

        var graph = left
        let names = try graph.merge(right)
        let lookup = CacheLookup(graph)
        let step = try lookup.matches(digest("step"), inputs: [[Link(a)]])
        #expect(try lookup.results(of: step).map(\.createdAt.seconds) == [2, 1])
        #expect(try lookup.matches(digest("child"), inputs: [step.map { Link($0) }]) == [try #require(names[child])])
    }

    @Test("keeps results of roots that a cache had, whichever graph comes first")
    func keepsRoots() throws {
        var made = LayerGraph()
        let root = try made.addRecord(digest("root"), results: [result("layer", at: 1, in: &made)])
        try made.addRecord(digest("step"), inputs: [[Link(root)]], results: [result("top", at: 2, in: &made)])
        let read = try LayerGraph(
            decodingConfig: made.encodeConfig().bytes, layers: .described(Array(made.descriptors.values)))
        var built = LayerGraph()
        try built.addRecord(digest("root"))
        for (first, second) in [(read, built), (built, read)] {
            var both = first
            try both.merge(second)
            let selected = both.selected(.max)
            #expect(try selected.recordIDs.map { try selected[$0].results.count } == [1, 1])
        }
        let ofBuild = made.selected(.max)
        #expect(try ofBuild.recordIDs.flatMap { try ofBuild[$0].results }.count == 1)
    }

    @Test("without records keeps its layers and targets when another is united with it")
    func unitesIntoLayers() throws {
        var graph = LayerGraph()
        _ = try graph.addLayer(Descriptor(mediaType: .layer(.gzip), digest: digest("mine"), size: 1))
        var other = LayerGraph()
        let theirs = try other.addRecord(digest("a"), results: [result("theirs", at: 1, in: &other)])
        let names = try graph.merge(other)
        #expect(graph.layerIDs.count == 2)
        #expect(graph.descriptors.count == 2)
        let known = try #require(names[theirs])
        #expect(try graph[known].results.map { try graph[$0.layer].content } == [.blob(Digest(of: "theirs".utf8))])
    }

    @Test("is written as the same bytes in whatever order records turned out to be equal")
    func totalOrder() throws {
        // Until somebody says that a and b are one, the steps on them are two.
        func make(_ steps: [(on: String, second: Int64)]) throws -> [UInt8] {
            var graph = LayerGraph()
            let sources = try ["a", "b"].map {
                try graph.addRecord(digest("base"), inputs: [[Link(graph.addRecord(digest($0)))]])
            }
            for step in steps {
                try graph.addRecord(
                    digest("step"), inputs: [[Link(sources[step.on == "a" ? 0 : 1])]],
                    results: [result("\(step.second)", at: step.second, in: &graph)])
            }
            let roots = try ["a", "b"].map { Link(try graph.addRecord(digest($0))) }
            try graph.addRecord(digest("base"), inputs: [roots])
            let encoded = try graph.encodeConfig()
            let read = try LayerGraph(decodingConfig: encoded.bytes, layers: .undescribed)
            #expect(read.recordCount == 4)
            return encoded.bytes
        }
        #expect(try make([("a", 1), ("b", 2)]) == make([("b", 2), ("a", 1)]))
    }

    @Test("takes selectors for the same only if their bytes are")
    func selectorsAreBytes() throws {
        var graph = LayerGraph()
        let root = try graph.addRecord(digest("root"))
        let step = try graph.addRecord(
            digest("step"), inputs: [[Link(root, selector: "caf\u{E9}"), Link(root, selector: "cafe\u{301}")]])
        #expect(try graph[step].inputs[0].map { Array($0.selector.utf8).count } == [5, 6])
        let encoded = try graph.encodeConfig()
        let read = try LayerGraph(decodingConfig: encoded.bytes, layers: .undescribed)
        #expect(try read.recordIDs.map { try read[$0].inputs.first?.count ?? 0 }.max() == 2)
        #expect(try read.encodeConfig().bytes == encoded.bytes)
    }

    @Test("holds a record with a million results, and a million links of one input, and unites with the same")
    func wide() throws {
        let count = 1_000_000
        var graph = LayerGraph()
        let root = try graph.addRecord(digest("root"))
        let layer = try graph.addLayer(Descriptor(mediaType: .layer(.gzip), digest: digest("layer"), size: 1))
        let results = try (0..<count).map {
            CacheResult(layer: layer, createdAt: try #require(Timestamp(seconds: Int64($0))))
        }
        try graph.addRecord(
            digest("step"), inputs: [(0..<count).map { Link(root, selector: "\($0)") }], results: results)
        var other = LayerGraph()
        try other.addRecord(digest("other"))
        try other.merge(graph)
        try other.merge(graph)
        #expect(other.recordCount == 3)
        #expect(try other.recordIDs.map { try other[$0].results.count }.max() == count)
        #expect(other.removingResults { _ in false }.selected(.max).recordCount == 3)
    }

    @Test("holds a chain of 100 000 records, all of one operation, and one root with 100 000 records on it")
    func large() throws {
        var chain = LayerGraph()
        var below = try chain.addRecord(digest("root"))
        for _ in 0..<100_000 { below = try chain.addRecord(digest("step"), inputs: [[Link(below)]]) }
        #expect(chain.selected(.min).recordCount == 100_001)
        #expect(try LayerGraph(decodingConfig: chain.encodeConfig().bytes, layers: .undescribed).recordCount == 100_001)

        var fan = LayerGraph()
        let root = try fan.addRecord(digest("root"))
        for number in 0..<100_000 { try fan.addRecord(digest("\(number)"), inputs: [[Link(root)]]) }
        #expect(try CacheLookup(fan).matches(digest("777"), inputs: [[Link(root)]]).count == 1)
    }
}
