public import BuildCacheCore

/// What two caches do not have in common.
public struct GraphDifference: Hashable, Sendable {
    /// Records that only the new graph has.
    public var added: [RecordID] = []
    /// Those of ``added`` all of whose inputs both graphs have: where the difference begins.
    ///
    /// What is built on them is new because of them.
    public var origins: [RecordID] = []
    /// Records that only the old graph has, by its identifiers.
    public var removed: [RecordID] = []
    /// Records of both graphs whose newest results are other layers, or of another time; by the identifiers of the new one.
    public var changed: [RecordID] = []
    /// Blobs that only the new graph describes, by digest.
    public var addedBlobs: [Descriptor] = []
    /// Blobs that only the old graph describes, by digest.
    public var removedBlobs: [Descriptor] = []

    /// Whether both know the same.
    public var isEmpty: Bool {
        added.isEmpty && removed.isEmpty && changed.isEmpty && addedBlobs.isEmpty && removedBlobs.isEmpty
    }
}

extension LayerGraph {
    /// Returns the differences between this graph and an older one.
    ///
    /// Records are the same if they are found in the same way: by digest, and so for all that they are built from. Numbering and order do
    /// not count, ephemeral records neither.
    public func difference(from old: LayerGraph) -> GraphDifference {
        let (newIdentities, oldIdentities) = (recordIdentities(), old.recordIdentities())
        let oldRecords = Dictionary(old.comparableRecords.map { (oldIdentities[Int($0)], $0) }) { first, _ in first }
        let newRecords = comparableRecords
        let known = Set(newRecords.map { newIdentities[Int($0)] })

        var difference = GraphDifference()
        let (newLayers, oldLayers) = (layerIdentities(), old.layerIdentities())
        for record in newRecords {
            guard let other = oldRecords[newIdentities[Int(record)]] else {
                difference.added.append(recordID(record))
                let isOrigin = (0..<records[Int(record)].inputCount).allSatisfy { input in
                    linkIndices(of: record, input: input).contains {
                        oldRecords[newIdentities[Int(canonical(links[$0].record))]] != nil
                    }
                }
                if isOrigin { difference.origins.append(recordID(record)) }
                continue
            }
            if result(of: record, newLayers) != old.result(of: other, oldLayers) {
                difference.changed.append(recordID(record))
            }
        }
        difference.removed = old.comparableRecords.filter { !known.contains(oldIdentities[Int($0)]) }
            .map { old.recordID($0) }
        difference.addedBlobs = blobs(missingIn: old)
        difference.removedBlobs = old.blobs(missingIn: self)
        return difference
    }

    private var comparableRecords: [Int32] { recordsInOrder().filter { !records[Int($0)].isEphemeral } }

    private struct Outcome: Hashable {
        var chain: Digest
        var seconds: Int64
        var nanoseconds: Int32
    }

    /// The newest result, by what it is in any graph.
    private func result(of record: Int32, _ identities: [Digest]) -> Outcome? {
        let best = bestResult(of: record)
        guard best >= 0 else { return nil }
        let result = results[Int(best)]
        return Outcome(
            chain: identities[Int(result.layer)], seconds: result.createdAt.seconds,
            nanoseconds: result.createdAt.nanoseconds)
    }

    private func blobs(missingIn other: LayerGraph) -> [Descriptor] {
        descriptors.values.filter { other.descriptors[$0.digest] == nil }.sorted { $0.digest < $1.digest }
    }
}
