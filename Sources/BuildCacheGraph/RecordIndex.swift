import BuildCacheCore

/// Finds the records of a digest by what their first input is linked to.
///
/// The source is part of the key because a digest alone may be that of very many records: one command repeated in a long chain
/// has the same operation each time.
struct RecordIndex: Sendable {
    private struct Key: Hashable {
        var digest: Digest
        var source: Int32
    }
    private struct Node {
        var record: Int32
        var next: Int32
    }
    private var heads: [Key: Int32]
    private var nodes: [Node] = []

    init(_ graph: LayerGraph) {
        heads = Dictionary(minimumCapacity: graph.records.count)
        nodes.reserveCapacity(graph.records.count)
        for index in graph.records.indices
        where graph.records[index].mergedInto < 0 && !graph.records[index].isEphemeral {
            let record = Int32(index)
            let digest = graph.records[index].digest
            if graph.records[index].inputCount == 0 {
                insert(record, digest: digest, source: -1)
            } else {
                for link in graph.linkIndices(of: record, input: 0) {
                    insert(record, digest: digest, source: graph.canonical(graph.links[link].record))
                }
            }
        }
    }

    /// Adds a record under one source of its first input; -1 for a root.
    mutating func insert(_ record: Int32, digest: Digest, source: Int32) {
        let key = Key(digest: digest, source: source)
        nodes.append(Node(record: record, next: heads[key] ?? -1))
        heads[key] = Int32(nodes.count - 1)
    }

    /// The records of this digest that share a link with every input, in the order they were added.
    func matches(_ digest: Digest, inputs: [[LinkNode]], in graph: LayerGraph) -> [Int32] {
        guard let first = inputs.first else {
            return candidates(digest, source: -1, in: graph).sorted()
        }
        var matches: Set<Int32> = []
        for link in first {
            // What was added under a record that has since become another is found under its old name.
            let source = graph.canonical(link.record)
            var alias = source
            repeat {
                for record in candidates(digest, source: alias, in: graph)
                where graph.records[Int(record)].inputCount == inputs.count && !matches.contains(record)
                    && inputs.indices.allSatisfy({ graph.shares(inputs[$0], with: record, input: Int32($0)) })
                {
                    matches.insert(record)
                }
                alias = graph.records[Int(alias)].nextAlias
            } while alias != source
        }
        return matches.sorted()
    }

    private func candidates(_ digest: Digest, source: Int32, in graph: LayerGraph) -> Set<Int32> {
        var candidates: Set<Int32> = []
        var next = heads[Key(digest: digest, source: source)] ?? -1
        while next >= 0 {
            candidates.insert(graph.canonical(nodes[Int(next)].record))
            next = nodes[Int(next)].next
        }
        return candidates
    }
}

extension LayerGraph {
    /// Whether one of these links is among those of an input of `record`.
    fileprivate func shares(_ alternatives: [LinkNode], with record: Int32, input: Int32) -> Bool {
        for known in linkIndices(of: record, input: input) {
            let source = canonical(links[known].record)
            let selector = links[known].selector
            if alternatives.contains(where: { canonical($0.record) == source && $0.selector == selector }) {
                return true
            }
        }
        return false
    }
}
