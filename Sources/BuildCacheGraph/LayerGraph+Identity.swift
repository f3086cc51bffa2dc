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
            let parent = layer.parent < 0 ? "" : identities[Int(layer.parent)].hex
            let content = layer.pending < 0 ? layer.blob.hex : "pending \(pendingLayers[Int(layer.pending)])"
            identities.append(Digest(of: "\(parent) \(content)".utf8))
        }
        return identities
    }

    /// Per record a digest of all that leads to it: records that are found the same way have equal identities, in any graph.
    func recordIdentities() -> [Digest] {
        var identities = [Digest](repeating: .none, count: records.count)
        for record in recordsInOrder() {
            let node = records[Int(record)]
            var text = "\(node.digest.hex) \(node.isEphemeral)"
            for input in 0..<node.inputCount {
                let alternatives = linkIndices(of: record, input: input).map { index in
                    ExactText(
                        "\(identities[Int(canonical(links[index].record))].hex) \(selectors[links[index].selector])")
                }
                text += "[" + Set(alternatives).sorted().map(\.text).joined(separator: "\0") + "]"
            }
            identities[Int(record)] = Digest(of: text.utf8)
        }
        return identities
    }
}
