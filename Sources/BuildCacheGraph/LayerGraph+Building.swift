public import BuildCacheCore

extension LayerGraph {
    /// Adds a stored layer on top of `parent`, or finds it if this chain is known.
    ///
    /// - Parameters:
    ///   - descriptor: The blob. A later descriptor of the same digest replaces an earlier one.
    ///   - parent: The layer below; `nil` for the lowest.
    /// - Throws: `CacheError` `.invalidSpec` if `parent` is of another graph, `.limitExceeded` past 2³¹ layers.
    public mutating func addLayer(_ descriptor: Descriptor, on parent: LayerID? = nil) throws(CacheError) -> LayerID {
        let index = try internLayer(blob: descriptor.digest, pending: -1, on: try parentIndex(parent))
        descriptors[descriptor.digest] = descriptor
        return layerID(index)
    }

    /// Adds a layer that exists but was never written, on top of `parent`, or finds it if this chain is known.
    ///
    /// - Throws: `CacheError` as ``addLayer(_:on:)-(Descriptor,_)``.
    public mutating func addLayer(_ pending: PendingLayer, on parent: LayerID? = nil) throws(CacheError) -> LayerID {
        let parent = try parentIndex(parent)
        let index = try internLayer(blob: .none, pending: number(of: pending), on: parent)
        return layerID(index)
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
    ///   - inputs: Per input the links of which one must match, at least one each, none of them to anything mutable: see ``Link``. None for a
    ///     root.
    ///   - results: What came out.
    /// - Throws: `CacheError` `.invalidSpec` for an input without links and for identifiers of another graph;
    ///   `.limitExceeded` past 2³¹ records.
    /// - Source: `Documentation/Spec/cache-format.md` §2.1; BuildKit `cache/remotecache/v1/chains.go: Add`.
    @discardableResult
    public mutating func addRecord(
        _ digest: Digest, inputs: [[Link]] = [], results: [CacheResult] = []
    ) throws(CacheError) -> RecordID {
        var encoded: [[LinkNode]] = []
        for (number, input) in inputs.enumerated() {
            guard !input.isEmpty else {
                throw CacheError(
                    .invalidSpec,
                    "input \(number) of record \(digest) has no links, so it could never match; "
                        + "leave such a record out or link it to an ephemeral record")
            }
            var links: [LinkNode] = []
            for link in input {
                let record = canonical(try index(of: link.record))
                links.append(LinkNode(record: record, selector: selectors.number(of: link.selector)))
            }
            encoded.append(links)
        }
        var made: [ResultKey] = []
        for result in results {
            made.append(ResultKey(layer: try index(of: result.layer), createdAt: result.createdAt))
        }
        var budget = LimitedWork.unlimited
        let record = try addRecord(digest, inputs: encoded, &budget)
        appendResults(made, isImported: false, to: record)
        return recordID(record)
    }

    /// Adds a result to a record that is there.
    ///
    /// - Parameter isImported: Whether a cache has it: then it counts for a record without inputs, too, and a result that was made beats it.
    /// - Throws: `CacheError` `.invalidSpec` for identifiers of another graph.
    package mutating func addResult(
        _ result: CacheResult, to record: RecordID, isImported: Bool = false
    ) throws(CacheError) {
        let record = try index(of: record)
        let key = ResultKey(layer: try index(of: result.layer), createdAt: result.createdAt)
        appendResults([key], isImported: isImported, to: record)
    }

    /// Removes the results of a record that need one of these layers.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for a record of another graph.
    package mutating func removeResults(
        of record: RecordID, where isMissing: (Layer) -> Bool = { _ in true }
    ) throws(CacheError) {
        let index = canonical(try self.index(of: record))
        let kept = resultIndices(of: index).map { results[$0] }.filter { result in
            !chain(of: result.layer).contains { isMissing(layer($0)) }
        }
        records[Int(index)].firstResult = -1
        records[Int(index)].lastResult = -1
        knownResults[index] = nil
        for result in kept { appendResult(result.key, isImported: result.isImported, to: index) }
    }

    /// Adds a record that only this machine can know, as for a directory of the user's: BuildKit's `random:` digests.
    ///
    /// It links what is built from it like any record, and is left out by ``selected(_:)`` with all that has no other way to be found.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past 2³¹ records.
    public mutating func addEphemeralRecord() throws(CacheError) -> RecordID {
        let index = try appendEphemeralRecord()
        return recordID(index)
    }
}

// MARK: Layers

extension LayerGraph {
    private func parentIndex(_ parent: LayerID?) throws(CacheError) -> Int32 {
        guard let parent else { return -1 }
        return try index(of: parent)
    }

    /// The number of a pending layer of this graph, which gets one if it is new.
    mutating func number(of pending: PendingLayer) -> Int32 {
        if let known = pendingNumbers[pending] { return known }
        let number = Int32(pendingLayers.count)
        pendingLayers.append(pending)
        pendingNumbers[pending] = number
        return number
    }

    /// Adds a layer on top of the one at `parent`, -1 for none, or finds it.
    mutating func internLayer(blob: Digest, pending: Int32, on parent: Int32) throws(CacheError) -> Int32 {
        let key = LayerKey(blob: blob, pending: pending, parent: parent)
        if layerIndex == nil {
            var index = [LayerKey: Int32](minimumCapacity: layers.count)
            for (number, node) in layers.enumerated() {
                let key = LayerKey(blob: node.blob, pending: node.pending, parent: node.parent)
                if index[key] == nil { index[key] = Int32(number) }
            }
            layerIndex = index
        }
        if let known = layerIndex?[key] { return known }
        try checkRoom(layers.count)
        let index = Int32(layers.count)
        layerNumbering.willAdd(index)
        layers.append(LayerNode(blob: blob, pending: pending, parent: parent))
        layerIndex?[key] = index
        return index
    }

    private func checkRoom(_ count: Int) throws(CacheError) {
        guard count < Int(Int32.max) - 1 else {
            throw CacheError(.limitExceeded, "a graph holds at most 2^31 records, links or layers")
        }
    }
}

// MARK: Records

extension LayerGraph {
    mutating func appendEphemeralRecord() throws(CacheError) -> Int32 {
        try checkRoom(records.count)
        let index = Int32(records.count)
        recordNumbering.willAdd(index)
        records.append(RecordNode(digest: .none, nextAlias: index, isEphemeral: true))
        return index
    }

    /// Adds a record whose links are canonical, or finds it; the links' `next` is ignored.
    mutating func addRecord(
        _ digest: Digest, inputs: [[LinkNode]], _ budget: inout LimitedWork
    ) throws(CacheError) -> Int32 {
        if recordIndex == nil { recordIndex = RecordIndex(self) }
        let matches = try recordIndex?.matches(digest, inputs: inputs, in: self, &budget) ?? []
        guard var known = matches.first else { return try appendRecord(digest, inputs: inputs, &budget) }
        for other in matches.dropFirst() {
            // The ancestor of the two stays: the other way round it would become its own descendant.
            let (from, into) = try descends(known, from: other, &budget) ? (known, other) : (other, known)
            try merge(from, into: into, &budget)
            known = into
        }
        for (input, alternatives) in inputs.enumerated() {
            try addLinks(alternatives, to: known, input: Int32(input), &budget)
        }
        return known
    }

    private mutating func appendRecord(
        _ digest: Digest, inputs newInputs: [[LinkNode]], _ budget: inout LimitedWork
    ) throws(CacheError) -> Int32 {
        try checkRoom(records.count)
        try checkRoom(links.count + newInputs.reduce(0) { $0 + $1.count })
        let index = Int32(records.count)
        recordNumbering.willAdd(index)
        records.append(
            RecordNode(
                digest: digest, firstInput: Int32(inputs.count), inputCount: Int32(newInputs.count), nextAlias: index))
        inputs.append(contentsOf: repeatElement(InputNode(), count: newInputs.count))
        for (input, alternatives) in newInputs.enumerated() {
            try addLinks(alternatives, to: index, input: Int32(input), isNew: true, &budget)
        }
        if newInputs.isEmpty { recordIndex?.insert(index, digest: digest) }
        return index
    }

    /// Adds those links of an input that are not there and close no loop.
    ///
    /// - Parameter isNew: Whether the record was made just now, so that nothing can descend from it.
    private mutating func addLinks<Budget: WorkBudget>(
        _ new: [LinkNode], to record: Int32, input: Int32, isNew: Bool = false, _ budget: inout Budget
    ) throws(Budget.Failure) {
        try budget.spend(new.count)
        // One link of a new record, as nearly all are, needs no memory of the others.
        if isNew, new.count == 1 { return addLink(new[0], to: record, input: input) }
        let place = records[Int(record)].firstInput + input
        var known = knownLinks.removeValue(forKey: place) ?? []
        if known.isEmpty {
            for index in linkIndices(of: record, input: input) {
                known.insert(LinkKey(record: canonical(links[index].record), selector: links[index].selector))
            }
            try budget.spend(known.count)
        }
        for link in new where known.insert(LinkKey(record: link.record, selector: link.selector)).inserted {
            let closesLoop = isNew ? false : try descends(link.record, from: record, &budget)
            if !closesLoop { addLink(link, to: record, input: input) }
        }
        if known.count > LayerGraph.manyEntries { knownLinks[place] = known }
    }

    /// From how many links of one input or results of one record on these are remembered as a set.
    private static let manyEntries = 16

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
    private mutating func merge<Budget: WorkBudget>(
        _ other: Int32, into record: Int32, _ budget: inout Budget
    ) throws(Budget.Failure) {
        let moved = records[Int(other)]
        // Every name of `other` points straight at `record`, so that canonical() is one step.
        var alias = other
        repeat {
            try budget.spend(1)
            records[Int(alias)].mergedInto = record
            alias = records[Int(alias)].nextAlias
        } while alias != other
        records[Int(other)].nextAlias = records[Int(record)].nextAlias
        records[Int(record)].nextAlias = moved.nextAlias
        // What links to `other` now links to `record`, which may come later.
        if other < record { isOrdered = false }
        for input in 0..<min(moved.inputCount, records[Int(record)].inputCount) {
            let more = LinkIndices(links: links, first: inputs[Int(moved.firstInput + input)].firstLink).map {
                LinkNode(record: canonical(links[$0].record), selector: links[$0].selector)
            }
            knownLinks[moved.firstInput + input] = nil
            try addLinks(more, to: record, input: input, &budget)
        }
        knownResults[other] = nil
        for result in ResultIndices(results: results, first: moved.firstResult).map({ results[$0] }) {
            try budget.spend(1)
            appendResults([result.key], isImported: result.isImported, to: record)
        }
    }

    /// Makes one record of those that are found in the same way, as after what they are linked to became one.
    mutating func uniteEqualRecords() {
        var budget = UnlimitedWork()
        var first: [Digest: Int32] = [:]
        for (record, identity) in recordIdentities().enumerated() where records[record].mergedInto < 0 {
            if let known = first[identity] {
                merge(Int32(record), into: known, &budget)
            } else {
                first[identity] = Int32(record)
            }
        }
    }

    /// Whether `record` is `ancestor` or was made from it.
    private func descends<Budget: WorkBudget>(
        _ record: Int32, from ancestor: Int32, _ budget: inout Budget
    ) throws(Budget.Failure) -> Bool {
        if record == ancestor { return true }
        // In an ordered graph whatever descends from a record comes after it.
        if isOrdered && record < ancestor { return false }
        var visited: Set<Int32> = [record]
        var stack = [LinkCursor(record: record)]
        while var cursor = stack.popLast() {
            guard let link = cursor.next(in: self) else { continue }
            try budget.spend(1)
            stack.append(cursor)
            let source = canonical(links[Int(link)].record)
            if source == ancestor { return true }
            if !(isOrdered && source < ancestor), visited.insert(source).inserted {
                stack.append(LinkCursor(record: source))
            }
        }
        return false
    }

    /// Adds the results of which the same chain with the same time is not there; one that was imported and is made now counts as made.
    mutating func appendResults(_ new: [ResultKey], isImported: Bool, to record: Int32) {
        guard !new.isEmpty else { return }
        let record = canonical(record)
        var known = knownResults.removeValue(forKey: record) ?? [:]
        if known.isEmpty { for index in resultIndices(of: record) { known[results[index].key] = Int32(index) } }
        for result in new {
            if let index = known[result] {
                if !isImported { results[Int(index)].isImported = false }
            } else {
                known[result] = appendResult(result, isImported: isImported, to: record)
            }
        }
        if known.count > LayerGraph.manyEntries { knownResults[record] = known }
    }

    /// Adds a result that is not there, and returns its index.
    @discardableResult
    mutating func appendResult(_ result: ResultKey, isImported: Bool, to record: Int32) -> Int32 {
        let index = Int32(results.count)
        results.append(ResultNode(createdAt: result.createdAt, isImported: isImported, layer: result.layer))
        let last = records[Int(record)].lastResult
        if last < 0 { records[Int(record)].firstResult = index } else { results[Int(last)].next = index }
        records[Int(record)].lastResult = index
        return index
    }
}
