public import BuildCacheCore

extension LayerGraph {
    /// Adds a stored layer on top of `parent`, or finds it if this chain is known.
    ///
    /// - Parameters:
    ///   - descriptor: The blob. A later descriptor of the same digest replaces an earlier one.
    ///   - parent: The layer below; `nil` for the lowest.
    /// - Throws: `CacheError` `.invalidSpec` if `parent` is of another graph, `.limitExceeded` past 2³¹ layers.
    public mutating func addLayer(_ descriptor: Descriptor, on parent: LayerID? = nil) throws(CacheError) -> LayerID {
        let id = try internLayer(blob: descriptor.digest, pending: -1, on: parent)
        descriptors[descriptor.digest] = descriptor
        return id
    }

    /// Adds a layer that exists but was never written, on top of `parent`, or finds it if this chain is known.
    ///
    /// - Throws: `CacheError` as ``addLayer(_:on:)-(Descriptor,_)``.
    public mutating func addLayer(_ pending: PendingLayer, on parent: LayerID? = nil) throws(CacheError) -> LayerID {
        if let parent { try check(parent) }
        let number = pendingNumbers[pending] ?? Int32(pendingLayers.count)
        if Int(number) == pendingLayers.count {
            pendingLayers.append(pending)
            pendingNumbers[pending] = number
        }
        return try internLayer(blob: .none, pending: number, on: parent)
    }

    /// Adds a chain of stored layers, bottom first; `nil` for an empty one.
    ///
    /// - Throws: `CacheError` as ``addLayer(_:on:)-(Descriptor,_)``.
    public mutating func addChain(_ chain: some Sequence<Descriptor>) throws(CacheError) -> LayerID? {
        var top: LayerID?
        for descriptor in chain { top = try addLayer(descriptor, on: top) }
        return top
    }

    /// Adds a record, or adds links and results to the one that it turns out to be.
    ///
    /// A record is known already if one with the same digest shares, for every input, at least one link with it. If several are,
    /// they become one. A link that would make a record its own ancestor is left out.
    ///
    /// - Parameters:
    ///   - digest: See `Digest.record(operation:output:)`.
    ///   - inputs: Per input the links of which one must match, at least one each. None for a root.
    ///   - results: What came out.
    /// - Throws: `CacheError` `.invalidSpec` for an input without links and for identifiers of another graph;
    ///   `.limitExceeded` past 2³¹ records.
    /// - Source: `spec/cache-format.md` §2.1; BuildKit `cache/remotecache/v1/chains.go: Add`.
    @discardableResult
    public mutating func addRecord(
        _ digest: Digest, inputs: [[Link]] = [], results: [CacheResult] = []
    ) throws(CacheError) -> RecordID {
        for (number, input) in inputs.enumerated() {
            guard !input.isEmpty else {
                throw CacheError(
                    .invalidSpec,
                    "input \(number) of record \(digest) has no links, so nothing could ever match it; "
                        + "leave such a record out or link it to an ephemeral record")
            }
            for link in input { try check(link.record) }
        }
        for result in results { try check(result.layer) }
        let encoded = inputs.map { input in
            input.map { LinkNode(record: canonical($0.record.index), selector: selectors.number(of: $0.selector)) }
        }
        let record = try addRecord(digest, inputs: encoded)
        appendResults(results.map { ResultKey(layer: $0.layer.index, createdAt: $0.createdAt) }, to: record)
        return RecordID(index: record)
    }

    /// Adds a result to a record that is there.
    ///
    /// - Parameter isImported: Whether a cache has it: then it counts for a record without inputs, too.
    /// - Throws: `CacheError` `.invalidSpec` for identifiers of another graph.
    package mutating func addResult(
        _ result: CacheResult, to record: RecordID, isImported: Bool = false
    ) throws(CacheError) {
        try check(record)
        try check(result.layer)
        appendResults([ResultKey(layer: result.layer.index, createdAt: result.createdAt)], to: record.index)
        if isImported { records[Int(canonical(record.index))].isImported = true }
    }

    /// Removes the results of a record that need one of these layers.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for a record of another graph.
    package mutating func removeResults(
        of record: RecordID, where isMissing: (Layer) -> Bool
    ) throws(CacheError) {
        try check(record)
        let index = canonical(record.index)
        let kept = resultIndices(of: index).filter { result in
            !chain(LayerID(index: results[result].layer)).contains { isMissing(self[$0]) }
        }.map { ResultKey(layer: results[$0].layer, createdAt: results[$0].createdAt) }
        records[Int(index)].firstResult = -1
        records[Int(index)].lastResult = -1
        appendResults(kept, to: index)
    }

    /// Adds a record that only this machine can know, as for a directory of the user's: BuildKit's `random:` digests.
    ///
    /// It links what is built from it like any record, and is left out by ``selected(_:)`` with all that has no other way to be found.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past 2³¹ records.
    public mutating func addEphemeralRecord() throws(CacheError) -> RecordID {
        try checkRoom(records.count)
        let index = Int32(records.count)
        records.append(RecordNode(digest: .none, nextAlias: index, isEphemeral: true))
        return RecordID(index: index)
    }
}

// MARK: Layers

extension LayerGraph {
    mutating func internLayer(blob: Digest, pending: Int32, on parent: LayerID?) throws(CacheError) -> LayerID {
        if let parent { try check(parent) }
        let key = LayerKey(blob: blob, pending: pending, parent: parent?.index ?? -1)
        if layerIndex == nil {
            var index = [LayerKey: Int32](minimumCapacity: layers.count)
            for (number, node) in layers.enumerated() {
                let key = LayerKey(blob: node.blob, pending: node.pending, parent: node.parent)
                if index[key] == nil { index[key] = Int32(number) }
            }
            layerIndex = index
        }
        if let known = layerIndex?[key] { return LayerID(index: known) }
        try checkRoom(layers.count)
        let index = Int32(layers.count)
        layers.append(LayerNode(blob: blob, pending: pending, parent: key.parent))
        layerIndex?[key] = index
        return LayerID(index: index)
    }

    private func check(_ layer: LayerID) throws(CacheError) {
        guard layers.indices.contains(Int(layer.index)) else {
            throw CacheError(
                .invalidSpec, "layer \(layer.index) is not of this graph, which has \(layers.count) layers")
        }
    }

    func check(_ record: RecordID) throws(CacheError) {
        guard records.indices.contains(Int(record.index)) else {
            throw CacheError(
                .invalidSpec, "record \(record.index) is not of this graph, which has \(records.count) records")
        }
    }

    private func checkRoom(_ count: Int) throws(CacheError) {
        guard count < Int(Int32.max) - 1 else {
            throw CacheError(.limitExceeded, "a graph holds at most 2^31 records, links or layers")
        }
    }
}

// MARK: Records

extension LayerGraph {
    /// Adds a record whose links are canonical, or finds it; the links' `next` is ignored.
    mutating func addRecord(_ digest: Digest, inputs: [[LinkNode]]) throws(CacheError) -> Int32 {
        if recordIndex == nil { recordIndex = RecordIndex(self) }
        let matches = recordIndex?.matches(digest, inputs: inputs, in: self) ?? []
        guard var known = matches.first else { return try appendRecord(digest, inputs: inputs) }
        for other in matches.dropFirst() {
            // The ancestor of the two stays: the other way round it would become its own descendant.
            let (from, into) = descends(known, from: other) ? (known, other) : (other, known)
            merge(from, into: into)
            known = into
        }
        for (input, alternatives) in inputs.enumerated() { addLinks(alternatives, to: known, input: Int32(input)) }
        return known
    }

    private mutating func appendRecord(_ digest: Digest, inputs newInputs: [[LinkNode]]) throws(CacheError) -> Int32 {
        try checkRoom(records.count)
        try checkRoom(links.count + newInputs.reduce(0) { $0 + $1.count })
        let index = Int32(records.count)
        records.append(
            RecordNode(
                digest: digest, firstInput: Int32(inputs.count), inputCount: Int32(newInputs.count), nextAlias: index))
        inputs.append(contentsOf: repeatElement(InputNode(), count: newInputs.count))
        for (input, alternatives) in newInputs.enumerated() {
            addLinks(alternatives, to: index, input: Int32(input), isNew: true)
        }
        if newInputs.isEmpty { recordIndex?.insert(index, digest: digest) }
        return index
    }

    /// Adds those links of an input that are not there and close no loop.
    ///
    /// - Parameter isNew: Whether the record was made just now, so that nothing can descend from it.
    private mutating func addLinks(_ new: [LinkNode], to record: Int32, input: Int32, isNew: Bool = false) {
        var known: Set<LinkKey> = []
        for index in linkIndices(of: record, input: input) {
            known.insert(LinkKey(record: canonical(links[index].record), selector: links[index].selector))
        }
        for link in new where known.insert(LinkKey(record: link.record, selector: link.selector)).inserted {
            if isNew || !descends(link.record, from: record) { addLink(link, to: record, input: input) }
        }
    }

    private mutating func addLink(_ link: LinkNode, to record: Int32, input: Int32) {
        if link.record > record { isOrdered = false }
        let index = Int32(links.count)
        links.append(LinkNode(record: link.record, selector: link.selector))
        let place = Int(records[Int(record)].firstInput + input)
        if inputs[place].lastLink < 0 {
            inputs[place].firstLink = index
        } else {
            links[Int(inputs[place].lastLink)].next = index
        }
        inputs[place].lastLink = index
        records[Int(record)].importRow = -1
        recordIndex?.insert(record, digest: records[Int(record)].digest, input: input, link)
    }

    /// Makes `other` another name of `record`, with all its links and results.
    private mutating func merge(_ other: Int32, into record: Int32) {
        let moved = records[Int(other)]
        // Every name of `other` points straight at `record`, so that canonical() is one step.
        var alias = other
        repeat {
            records[Int(alias)].mergedInto = record
            alias = records[Int(alias)].nextAlias
        } while alias != other
        records[Int(other)].nextAlias = records[Int(record)].nextAlias
        records[Int(record)].nextAlias = moved.nextAlias
        // Who links to `other` now links to `record`, which may come later.
        if other < record { isOrdered = false }
        for input in 0..<min(moved.inputCount, records[Int(record)].inputCount) {
            let more = LinkIndices(links: links, first: inputs[Int(moved.firstInput + input)].firstLink).map {
                LinkNode(record: canonical(links[$0].record), selector: links[$0].selector)
            }
            addLinks(more, to: record, input: input)
        }
        if moved.isImported { records[Int(record)].isImported = true }
        appendResults(
            ResultIndices(results: results, first: moved.firstResult).map {
                ResultKey(layer: results[$0].layer, createdAt: results[$0].createdAt)
            }, to: record)
    }

    /// Makes one record of those that are found in the same way, as after what they are linked to became one.
    mutating func uniteEqualRecords() {
        var first: [Digest: Int32] = [:]
        for (record, identity) in recordIdentities().enumerated() where records[record].mergedInto < 0 {
            if let known = first[identity] {
                merge(Int32(record), into: known)
            } else {
                first[identity] = Int32(record)
            }
        }
    }

    /// Whether `record` is `ancestor` or was made from it.
    private func descends(_ record: Int32, from ancestor: Int32) -> Bool {
        if record == ancestor { return true }
        // In an ordered graph whatever descends from a record comes after it.
        if isOrdered && record < ancestor { return false }
        var visited: Set<Int32> = [record]
        var stack = [LinkCursor(record: record)]
        while var cursor = stack.popLast() {
            guard let link = cursor.next(in: self) else { continue }
            stack.append(cursor)
            let source = canonical(links[Int(link)].record)
            if source == ancestor { return true }
            if !(isOrdered && source < ancestor), visited.insert(source).inserted {
                stack.append(LinkCursor(record: source))
            }
        }
        return false
    }

    /// Adds the results of which the same chain with the same time is not there.
    mutating func appendResults(_ new: [ResultKey], to record: Int32) {
        let record = canonical(record)
        var known = Set(
            resultIndices(of: record).map { ResultKey(layer: results[$0].layer, createdAt: results[$0].createdAt) })
        for result in new where known.insert(result).inserted { appendResult(result, to: record) }
    }

    /// Adds a result that is not there.
    mutating func appendResult(_ result: ResultKey, to record: Int32) {
        let index = Int32(results.count)
        results.append(ResultNode(createdAt: result.createdAt, layer: result.layer))
        let last = records[Int(record)].lastResult
        if last < 0 { records[Int(record)].firstResult = index } else { results[Int(last)].next = index }
        records[Int(record)].lastResult = index
    }
}
