import BuildCacheCore
import BuildCacheGraph
import Testing

@Suite("Merging graphs")
struct MergingTests {
    private func digest(_ name: String) -> Digest { .record(operation: Digest(of: name.utf8), output: 0) }

    private func pending(_ name: String) -> PendingLayer { PendingLayer(name: name, recipe: NoRecipe()) }

    private func step(
        _ name: String, layer: PendingLayer, in graph: inout LayerGraph
    ) throws -> (record: RecordID, layer: LayerID) {
        let root = try graph.addRecord(digest("root"))
        let id = try graph.addLayer(layer)
        let result = CacheResult(layer: id, createdAt: .zero)
        return (try graph.addRecord(digest(name), inputs: [[Link(root)]], results: [result]), id)
    }

    // MARK: Pending layers

    @Test(
        "keeps pending layers apart, whatever they are called",
        arguments: [("out", "out"), ("caf\u{e9}", "cafe\u{301}")])
    func pendingLayersStayApart(_ one: String, _ other: String) throws {
        var left = LayerGraph()
        var right = LayerGraph()
        _ = try step("left", layer: pending(one), in: &left)
        _ = try step("right", layer: pending(other), in: &right)
        try left.merge(right)
        #expect(left.layerIDs.count == 2)
        #expect(left.selected(.max).layerIDs.count == 2)
    }

    @Test("of one graph keeps pending layers of one name and one time apart")
    func pendingLayersOfOneName() throws {
        var graph = LayerGraph()
        let one = try step("one", layer: pending("out"), in: &graph)
        let two = try step("two", layer: pending("out"), in: &graph)
        #expect(one.layer != two.layer)
        #expect(graph.selected(.max).layerIDs.count == 2)
    }

    @Test("takes a pending layer that two steps use for one layer")
    func sharedPendingLayer() throws {
        var graph = LayerGraph()
        let base = pending("base")
        let one = try step("one", layer: base, in: &graph)
        let two = try step("two", layer: base, in: &graph)
        #expect(one.layer == two.layer)
    }

    // MARK: Results

    @Test("lets a result that was made beat any that was imported, whatever the clocks say", arguments: [true, false])
    func madeBeatsImported(_ importedFirst: Bool) throws {
        let future = try #require(Timestamp(seconds: 4_000_000_000))
        func graph(_ layer: String, at time: Timestamp) throws -> LayerGraph {
            var graph = LayerGraph()
            let root = try graph.addRecord(digest("root"))
            let id = try graph.addLayer(
                Descriptor(mediaType: .layer(.gzip), digest: Digest(of: layer.utf8), size: 1))
            try graph.addRecord(
                digest("step"), inputs: [[Link(root)]], results: [CacheResult(layer: id, createdAt: time)])
            return graph
        }
        let stored = try graph("old", at: future)
        let imported = try LayerGraph(
            decodingConfig: stored.encodeConfig().bytes, layers: .described(Array(stored.descriptors.values)))
        // As builds with SOURCE_DATE_EPOCH do: the same time, or an earlier one.
        for time in [future, .zero] {
            let made = try graph("new", at: time)
            var both = importedFirst ? imported : made
            try both.merge(importedFirst ? made : imported)
            #expect(both.selected(.max).descriptors.keys.map { $0 } == [Digest(of: "new".utf8)])
            #expect(both.selected(.min).descriptors.keys.map { $0 } == [Digest(of: "new".utf8)])
        }
    }

    // MARK: Alternatives

    @Test("adds the other keys of a record, with all that leads to them, and no results")
    func alternatives() throws {
        var cache = LayerGraph()
        let (a, b, c) = (
            try cache.addRecord(digest("a")), try cache.addRecord(digest("b")), try cache.addRecord(digest("c"))
        )
        let below = try cache.addRecord(digest("below"), inputs: [[Link(c)]])
        let layer = try cache.addLayer(Descriptor(mediaType: .layer(.gzip), digest: digest("l"), size: 1))
        let step = try cache.addRecord(
            digest("step"), inputs: [[Link(a), Link(b, selector: "/x"), Link(below)]],
            results: [CacheResult(layer: layer, createdAt: .zero)])
        try cache.addRecord(digest("unrelated"), inputs: [[Link(step)]])

        var build = LayerGraph()
        let known = try build.addRecord(digest("a"))
        let mine = try build.addRecord(digest("step"), inputs: [[Link(known)]])
        try build.addAlternatives(of: [step], in: cache)
        let record = try build[mine]
        #expect(
            try record.inputs[0].map { try build[$0.record].digest } == [digest("a"), digest("b"), digest("below")])
        #expect(record.inputs[0].map(\.selector) == ["", "/x", ""])
        #expect(record.results == [])
        #expect(build.recordCount == 5)
    }

    // MARK: Identities

    @Test("tells records apart whose selectors put together look alike")
    func identitiesAreInjective() throws {
        let zero = digest("zero").hex
        let pairs = [
            (["a\0" + zero + " b"], ["a", "b"]), (["x][" + zero + " y"], ["x", "y"]), ([" "], [""]),
        ]
        for (one, other) in pairs {
            func graph(_ selectors: [String]) throws -> LayerGraph {
                var graph = LayerGraph()
                let root = try graph.addRecord(digest("root"))
                try graph.addRecord(digest("step"), inputs: [selectors.map { Link(root, selector: $0) }])
                return graph
            }
            let (left, right) = (try graph(one), try graph(other))
            #expect(left != right)
            #expect(!left.difference(from: right).isEmpty)
        }
    }

    // MARK: Hostile graphs

    /// Records of one digest, of which each shares one link with all others and has one of its own.
    private func overlapping(_ count: Int) -> [UInt8] {
        var records = [#"{"digest":"\#(digest("root"))"}"#]
        for number in 0..<count { records.append(#"{"digest":"\#(digest("source \(number)"))"}"#) }
        for number in 0..<count {
            records.append(
                #"{"digest":"\#(digest("step"))","inputs":[[{"link":0},{"link":\#(number + 1)}]]}"#)
        }
        return Array(#"{"records":[\#(records.joined(separator: ","))]}"#.utf8)
    }

    @Test("that share a link takes their links once each")
    func overlappingRecords() throws {
        let read = try LayerGraph(decodingConfig: overlapping(3000), layers: .undescribed)
        var graph = LayerGraph()
        try graph.addRecord(digest("other"))
        try graph.merge(read)
        #expect(graph.recordCount == 3003)
        let step = try #require(
            try CacheLookup(graph).matches(digest("step"), inputs: [[Link(graph.recordIDs[1])]]).first)
        #expect(try graph[step].inputs[0].count == 3001)
    }

    @Test("ends within its limit for graphs made to take long, and says so")
    func limitsWork() throws {
        // Every step gets a link to the end of a long chain, which is followed each time to see that it closes no loop.
        let count = 500
        var mine = LayerGraph()
        let root = try mine.addRecord(digest("root"))
        for number in 0..<count { try mine.addRecord(digest("step \(number)"), inputs: [[Link(root)]]) }
        var theirs = LayerGraph()
        let source = try theirs.addRecord(digest("root"))
        var last = source
        for number in 0..<count { last = try theirs.addRecord(digest("chain \(number)"), inputs: [[Link(last)]]) }
        for number in 0..<count {
            try theirs.addRecord(digest("step \(number)"), inputs: [[Link(source), Link(last)]])
        }
        var limited = mine
        let error = #expect(throws: CacheError.self) { try limited.merge(theirs, maximumSteps: 50_000) }
        #expect(error?.code == .limitExceeded)
        try mine.merge(theirs)
        #expect(mine.recordCount == 2 * count + 1)
    }

    @Test("ends when the task is cancelled")
    func cancels() async throws {
        let read = try LayerGraph(decodingConfig: overlapping(20_000), layers: .undescribed)
        await #expect(throws: CancellationError.self) {
            try await Task {
                withUnsafeCurrentTask { $0?.cancel() }
                var graph = LayerGraph()
                try graph.addRecord(digest("other"))
                try graph.merge(read)
            }.value
        }
    }
}
