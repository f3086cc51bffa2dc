public import BuildCacheCore

extension LayerGraph {
    /// Adds all records, links, results and layers of `other`; equal records become one.
    ///
    /// An empty graph becomes `other` as it is, row order included, so that a cache read and written again keeps its digest.
    ///
    /// - Parameters:
    ///   - other: What to add.
    ///   - onlyMissingResults: Whether a record that has results here takes none of `other`'s, as when the layers here are known to be
    ///     stored and those there are not.
    /// - Returns: What the records of `other` are called here.
    /// - Throws: `CacheError` `.limitExceeded` past 2³¹ records, links or layers.
    @discardableResult
    public mutating func merge(
        _ other: LayerGraph, onlyMissingResults: Bool = false
    ) throws(CacheError) -> [RecordID: RecordID] {
        if isEmpty, layers.isEmpty, targets.isEmpty, descriptors.isEmpty {
            self = other
            return Dictionary(
                uniqueKeysWithValues: records.indices.map {
                    (RecordID(index: Int32($0)), RecordID(index: canonical(Int32($0))))
                })
        }
        var newLayers: [LayerID] = []
        newLayers.reserveCapacity(other.layers.count)
        for layer in other.layers {
            let parent = layer.parent < 0 ? nil : newLayers[Int(layer.parent)]
            if layer.pending >= 0 {
                newLayers.append(try addLayer(other.pendingLayers[Int(layer.pending)], on: parent))
            } else {
                newLayers.append(try internLayer(blob: layer.blob, pending: -1, on: parent))
            }
        }
        // What is known here stays: its source is the one asked first.
        descriptors.merge(other.descriptors) { known, _ in known }

        var newRecords: [RecordID: RecordID] = [:]
        for index in other.recordsInOrder() {
            let id = RecordID(index: index)
            let record = other[id]
            let inputs = record.inputs.map { input in
                input.compactMap { link in newRecords[link.record].map { Link($0, selector: link.selector) } }
            }
            let results = record.results.map {
                CacheResult(layer: newLayers[Int($0.layer.index)], createdAt: $0.createdAt)
            }
            let new =
                record.isEphemeral ? try addEphemeralRecord() : try addRecord(record.digest, inputs: inputs)
            if !onlyMissingResults || records[Int(new.index)].firstResult < 0 {
                appendResults(results.map { ResultKey(layer: $0.layer.index, createdAt: $0.createdAt) }, to: new.index)
            }
            if other.records[Int(index)].isImported { records[Int(new.index)].isImported = true }
            newRecords[id] = new
        }
        for index in other.records.indices where other.records[index].mergedInto >= 0 {
            newRecords[RecordID(index: Int32(index))] =
                newRecords[RecordID(index: other.canonical(Int32(index)))]
        }
        targets += other.targets.compactMap { newRecords[RecordID(index: other.canonical($0.index))] }
        return newRecords
    }

    /// A copy in which layers have other blobs, as after a conversion, and pending layers have their first.
    ///
    /// Chains that become equal are one chain afterwards. Layers not named stay.
    public func replacing(
        blobs: [Digest: Descriptor] = [:], pending: [PendingLayer: Descriptor] = [:]
    ) throws(CacheError) -> LayerGraph {
        var copy = self
        copy.layers = []
        copy.pendingLayers = []
        copy.pendingNumbers = [:]
        copy.descriptors = [:]
        copy.layerIndex = [:]
        var newLayer: [LayerID] = []
        for (index, node) in layers.enumerated() {
            let parent = node.parent < 0 ? nil : newLayer[Int(node.parent)]
            let replacement =
                node.pending < 0
                ? blobs[node.blob] ?? descriptors[node.blob] : pending[pendingLayers[Int(node.pending)]]
            if let replacement {
                newLayer.append(try copy.addLayer(replacement, on: parent))
            } else if node.pending >= 0 {
                newLayer.append(try copy.addLayer(pendingLayers[Int(node.pending)], on: parent))
            } else {
                newLayer.append(try copy.internLayer(blob: node.blob, pending: -1, on: parent))
            }
            let row = Int(newLayer[index].index)
            if copy.layers[row].importRow < 0 { copy.layers[row].importRow = node.importRow }
        }
        for index in results.indices { copy.results[index].layer = newLayer[Int(results[index].layer)].index }
        copy.layerIndex = nil
        return copy
    }

    /// A copy without the results that need one of these layers.
    ///
    /// Their records stay: they still lead to others.
    ///
    /// - Parameters:
    ///   - isMissing: Whether a layer can not be had.
    /// - Source: `spec/cache-format.md` §2.2, step 4.
    public func removingResults(where isMissing: (Layer) -> Bool) -> LayerGraph {
        var isBroken: [Bool] = []
        isBroken.reserveCapacity(layers.count)
        for (index, node) in layers.enumerated() {
            isBroken.append(
                (node.parent >= 0 && isBroken[Int(node.parent)]) || isMissing(self[LayerID(index: Int32(index))]))
        }
        guard isBroken.contains(true) else { return self }
        var copy = self
        for record in records.indices {
            copy.records[record].firstResult = -1
            copy.records[record].lastResult = -1
        }
        copy.results = []
        for record in recordsInOrder() {
            for index in resultIndices(of: record) where !isBroken[Int(results[index].layer)] {
                copy.appendResult(
                    ResultKey(layer: results[index].layer, createdAt: results[index].createdAt), to: record)
            }
        }
        return copy
    }
}
