package import BuildCacheCore

extension LayerGraph {
    /// Adds all records, links, results and layers of `other`; equal records become one.
    ///
    /// An empty graph becomes `other` as it is, row order included, so that a cache read and written again keeps its digest. Pending layers
    /// stay apart, whatever they are called.
    ///
    /// - Parameters:
    ///   - other: The graph to add.
    ///   - onlyMissingResults: Whether a record that has results here takes none of `other`'s, as when the layers here are known to be
    ///     stored and those there are not.
    /// - Returns: The identifiers that the records of `other` have here.
    /// - Throws: `CacheError` `.limitExceeded` past 2³¹ records, links or layers, and for graphs made so that merging them takes far longer
    ///   than their size warrants; `CancellationError`. This graph then holds a part of `other`.
    @discardableResult
    public mutating func merge(
        _ other: LayerGraph, onlyMissingResults: Bool = false
    ) throws -> [RecordID: RecordID] {
        try merge(other, onlyMissingResults: onlyMissingResults, within: LimitedWork(adding: other, to: self))
    }

    /// As ``merge(_:onlyMissingResults:)``, with a limit of its own.
    package mutating func merge(_ other: LayerGraph, maximumSteps: Int) throws {
        _ = try merge(other, onlyMissingResults: false, within: LimitedWork(limit: maximumSteps))
    }

    private mutating func merge(
        _ other: LayerGraph, onlyMissingResults: Bool, within budget: LimitedWork
    ) throws -> [RecordID: RecordID] {
        if isEmpty, layers.isEmpty, targets.isEmpty, descriptors.isEmpty {
            self = other
            return Dictionary(
                uniqueKeysWithValues: records.indices.map {
                    (recordID(Int32($0)), recordID(canonical(Int32($0))))
                })
        }
        var newLayers: [Int32] = []
        newLayers.reserveCapacity(other.layers.count)
        for layer in other.layers {
            let pending = layer.pending < 0 ? -1 : number(of: other.pendingLayers[Int(layer.pending)])
            newLayers.append(
                try internLayer(
                    blob: layer.blob, pending: pending, on: layer.parent < 0 ? -1 : newLayers[Int(layer.parent)]))
        }
        // What is known here stays: its source is the one asked first.
        descriptors.merge(other.descriptors) { known, _ in known }

        let newRecords = try mergeRecords(of: other, within: budget) { merged, record, new in
            if onlyMissingResults, merged.records[Int(new)].firstResult >= 0 { return }
            for result in other.resultIndices(of: record).map({ other.results[$0] }) {
                merged.appendResults(
                    [ResultKey(layer: newLayers[Int(result.layer)], createdAt: result.createdAt)],
                    isImported: result.isImported, to: new)
            }
        }
        var identifiers: [RecordID: RecordID] = [:]
        identifiers.reserveCapacity(newRecords.count)
        for index in other.records.indices {
            let index = Int32(index)
            identifiers[other.recordID(index)] = recordID(newRecords[Int(other.canonical(index))])
        }
        targets += other.targets.compactMap { identifiers[$0] }
        return identifiers
    }

    /// Adds the ways in which records of another graph are found: their links, the records that these lead to, and so on; no results.
    ///
    /// A step that a cache recognised by one of its keys is then exported with all of them, as BuildKit does with the back links of what it
    /// imported.
    ///
    /// - Throws: As ``merge(_:onlyMissingResults:)``, and `CacheError` `.invalidSpec` for records that are not of `other`.
    /// - Source: BuildKit `solver/exporter.go: addBacklinks`.
    package mutating func addAlternatives(of found: [RecordID], in other: LayerGraph) throws {
        var isTaken = [Bool](repeating: false, count: other.records.count)
        var stack: [LinkCursor] = []
        for id in found {
            let record = other.canonical(try other.index(of: id))
            guard !isTaken[Int(record)] else { continue }
            isTaken[Int(record)] = true
            stack.append(LinkCursor(record: record))
            while var cursor = stack.popLast() {
                guard let link = cursor.next(in: other) else { continue }
                stack.append(cursor)
                let source = other.canonical(other.links[Int(link)].record)
                guard !isTaken[Int(source)] else { continue }
                isTaken[Int(source)] = true
                stack.append(LinkCursor(record: source))
            }
        }
        try mergeRecords(of: other, where: isTaken, within: LimitedWork(adding: other, to: self)) { _, _, _ in }
    }

    /// Adds records of `other`, each after those it is linked to.
    ///
    /// - Parameters:
    ///   - isTaken: Which records to add, with all that they lead to; `nil` for all.
    ///   - body: Called for each record of `other` with its index here.
    /// - Returns: The index here of each record of `other`, -1 for those that were not added.
    @discardableResult
    private mutating func mergeRecords(
        of other: LayerGraph, where isTaken: [Bool]? = nil, within budget: LimitedWork,
        _ body: (inout LayerGraph, Int32, Int32) -> Void
    ) throws -> [Int32] {
        var budget = budget
        var newRecords = [Int32](repeating: -1, count: other.records.count)
        do {
            for record in other.recordsInOrder() where isTaken?[Int(record)] ?? true {
                try budget.spend(1)
                let node = other.records[Int(record)]
                let new: Int32
                if node.isEphemeral {
                    new = try appendEphemeralRecord()
                } else {
                    let inputs = (0..<node.inputCount).map { input in
                        other.linkIndices(of: record, input: input).map { index in
                            let link = other.links[index]
                            return LinkNode(
                                record: canonical(newRecords[Int(other.canonical(link.record))]),
                                selector: link.selector == 0 ? 0 : selectors.number(of: other.selectors[link.selector]))
                        }
                    }
                    new = try addRecord(node.digest, inputs: inputs, &budget)
                }
                newRecords[Int(record)] = new
                body(&self, record, new)
            }
        } catch {
            throw Task.isCancelled ? CancellationError() : error
        }
        return newRecords.map { $0 < 0 ? $0 : canonical($0) }
    }

    /// A copy in which layers have other blobs, as after a conversion, and pending layers have their first.
    ///
    /// Chains that become equal are one chain afterwards. Layers not named stay. Records keep their identifiers, layers get new ones.
    package func replacing(
        blobs: [Digest: Descriptor] = [:], pending: [PendingLayer: Descriptor] = [:]
    ) throws(CacheError) -> LayerGraph {
        var copy = self
        copy.layers = []
        copy.layerNumbering = Numbering()
        copy.pendingLayers = []
        copy.pendingNumbers = [:]
        copy.descriptors = [:]
        copy.layerIndex = [:]
        copy.knownResults = [:]
        var newLayer: [Int32] = []
        for node in layers {
            let parent = node.parent < 0 ? -1 : newLayer[Int(node.parent)]
            let replacement =
                node.pending < 0
                ? blobs[node.blob] ?? descriptors[node.blob] : pending[pendingLayers[Int(node.pending)]]
            let row: Int32
            if let replacement {
                row = try copy.internLayer(blob: replacement.digest, pending: -1, on: parent)
                copy.descriptors[replacement.digest] = replacement
            } else {
                let number = node.pending < 0 ? -1 : copy.number(of: pendingLayers[Int(node.pending)])
                row = try copy.internLayer(blob: node.blob, pending: number, on: parent)
            }
            newLayer.append(row)
            if copy.layers[Int(row)].importRow < 0 { copy.layers[Int(row)].importRow = node.importRow }
        }
        for index in results.indices { copy.results[index].layer = newLayer[Int(results[index].layer)] }
        copy.layerIndex = nil
        return copy
    }

    /// When each pending layer was made: the earliest time of a result that needs it.
    package var pendingTimes: [PendingLayer: Timestamp] {
        guard !pendingLayers.isEmpty else { return [:] }
        var times = [Timestamp?](repeating: nil, count: layers.count)
        func note(_ time: Timestamp, at layer: Int32) {
            if let known = times[Int(layer)], !time.isBefore(known) { return }
            times[Int(layer)] = time
        }
        for result in results { note(result.createdAt, at: result.layer) }
        // Parents have smaller indices, so a layer is met after all that stand on it.
        for index in layers.indices.reversed() {
            if let time = times[index], layers[index].parent >= 0 { note(time, at: layers[index].parent) }
        }
        var made: [PendingLayer: Timestamp] = [:]
        for (index, layer) in layers.enumerated() where layer.pending >= 0 {
            guard let time = times[index] else { continue }
            let pending = pendingLayers[Int(layer.pending)]
            if let known = made[pending], !time.isBefore(known) { continue }
            made[pending] = time
        }
        return made
    }

    /// A copy without the results that need one of these layers.
    ///
    /// Their records stay: they still lead to others.
    ///
    /// - Parameters:
    ///   - isMissing: Whether a layer is missing.
    /// - Source: `Documentation/Spec/cache-format.md` §2.2, step 4.
    public func removingResults(where isMissing: (Layer) -> Bool) -> LayerGraph {
        var isBroken: [Bool] = []
        isBroken.reserveCapacity(layers.count)
        for (index, node) in layers.enumerated() {
            isBroken.append(
                (node.parent >= 0 && isBroken[Int(node.parent)]) || isMissing(layer(Int32(index))))
        }
        guard isBroken.contains(true) else { return self }
        var copy = self
        for record in records.indices {
            copy.records[record].firstResult = -1
            copy.records[record].lastResult = -1
        }
        copy.results = []
        copy.knownResults = [:]
        for record in recordsInOrder() {
            for index in resultIndices(of: record) where !isBroken[Int(results[index].layer)] {
                copy.appendResult(results[index].key, isImported: results[index].isImported, to: record)
            }
        }
        return copy
    }
}
