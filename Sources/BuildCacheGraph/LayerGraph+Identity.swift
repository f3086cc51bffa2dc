import BuildCacheCore

extension LayerGraph: Equatable {
    /// Whether both graphs hold the same records, links, results, layers and descriptors, however they are numbered.
    ///
    /// Targets do not count: they say what to export, not what is known.
    public static func == (left: LayerGraph, right: LayerGraph) -> Bool {
        left.contents() == right.contents() && left.descriptors == right.descriptors
    }

    /// Each record's identity with its results, as a set: numbering and order of addition fall away.
    private func contents() -> [Digest: Set<[String]>] {
        let recordIdentities = recordIdentities()
        let layerIdentities = layerIdentities()
        var contents: [Digest: Set<[String]>] = [:]
        for record in recordsInOrder() {
            let found = resultIndices(of: record).map {
                [layerIdentities[Int(results[$0].layer)].description, results[$0].createdAt.description]
            }
            contents[recordIdentities[Int(record)], default: []].formUnion(found)
        }
        return contents
    }

    /// Per layer a digest of all that the chain up to it is: equal chains have equal identities, in any graph.
    func layerIdentities() -> [Digest] {
        var identities: [Digest] = []
        identities.reserveCapacity(layers.count)
        for layer in layers {
            var identity = IdentityHasher()
            identity.add(layer.parent < 0 ? .none : identities[Int(layer.parent)])
            if layer.pending < 0 {
                identity.add(layer.blob)
            } else {
                identity.add(pendingLayers[Int(layer.pending)].identity)
            }
            identities.append(identity.digest)
        }
        return identities
    }

    /// Per record a digest of all that leads to it: records that are found the same way have equal identities, in any graph.
    func recordIdentities() -> [Digest] {
        var identities = [Digest](repeating: .none, count: records.count)
        for record in recordsInOrder() {
            let node = records[Int(record)]
            var identity = IdentityHasher()
            identity.add(node.digest)
            identity.add(node.isEphemeral ? 1 : 0)
            for input in 0..<node.inputCount {
                let alternatives = linkIndices(of: record, input: input).map { index in
                    var alternative = IdentityHasher()
                    alternative.add(identities[Int(canonical(links[index].record))])
                    alternative.add(selectors[links[index].selector])
                    return alternative.digest
                }
                let sorted = Set(alternatives).sorted()
                identity.add(sorted.count)
                for alternative in sorted { identity.add(alternative) }
            }
            identities[Int(record)] = identity.digest
        }
        return identities
    }
}

/// Hashes the fields of an identity, each after its length: no two lists of fields give the same bytes.
private struct IdentityHasher {
    private var bytes: [UInt8] = []

    mutating func add(_ number: Int) {
        withUnsafeBytes(of: UInt64(truncatingIfNeeded: number).littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func add(_ digest: Digest) {
        add(32)
        let words = digest.words
        for word in [words.0, words.1, words.2, words.3] {
            withUnsafeBytes(of: word.bigEndian) { bytes.append(contentsOf: $0) }
        }
    }

    mutating func add(_ text: String) {
        add(text.utf8.count)
        bytes.append(contentsOf: text.utf8)
    }

    var digest: Digest { Digest(of: bytes) }
}
