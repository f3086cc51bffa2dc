import BuildCacheCore

/// Finds the records of a digest by what their inputs are linked to.
///
/// The link is part of the key because a digest alone may be that of very many records: one command repeated in a long chain has the
/// same operation each time. All inputs are in it, so that a search can begin with the one that fewest records share.
struct RecordIndex: Sendable {
    private struct Key: Hashable {
        var digest: Digest
        var input: Int32
        var record: Int32
        var selector: Int32
    }
    private struct Place {
        var head: Int32 = -1
        var count: Int32 = 0
    }
    private struct Node {
        var record: Int32
        var next: Int32
    }
    private var places: [Key: Place]
    private var nodes: [Node] = []

    init(_ graph: LayerGraph) {
        places = Dictionary(minimumCapacity: graph.links.count)
        nodes.reserveCapacity(graph.links.count)
        for index in graph.records.indices
        where graph.records[index].mergedInto < 0 && !graph.records[index].isEphemeral {
            let record = Int32(index)
            let node = graph.records[index]
            if node.inputCount == 0 { insert(record, digest: node.digest) }
            for input in 0..<node.inputCount {
                for link in graph.linkIndices(of: record, input: input) {
                    var link = graph.links[link]
                    link.record = graph.canonical(link.record)
                    insert(record, digest: node.digest, input: input, link)
                }
            }
        }
    }

    /// Adds a record under one link of an input; a root has none.
    mutating func insert(
        _ record: Int32, digest: Digest, input: Int32 = -1, _ link: LinkNode = LinkNode(record: -1, selector: 0)
    ) {
        let key = Key(digest: digest, input: input, record: link.record, selector: link.selector)
        let place = places[key] ?? Place()
        nodes.append(Node(record: record, next: place.head))
        places[key] = Place(head: Int32(nodes.count - 1), count: place.count + 1)
    }

    /// The records of this digest that share a link with every input, in the order they were added.
    ///
    /// - Throws: The error of the budget.
    func matches<Budget: WorkBudget>(
        _ digest: Digest, inputs: [[LinkNode]], in graph: LayerGraph, _ budget: inout Budget
    ) throws(Budget.Failure) -> [Int32] {
        var searches: [[Key]] = []
        for (place, input) in inputs.enumerated() {
            let keys = keys(of: input, input: Int32(place), digest, in: graph)
            try budget.spend(1 + keys.count)
            searches.append(keys)
        }
        guard !searches.isEmpty else {
            return try candidates([Key(digest: digest, input: -1, record: -1, selector: 0)], in: graph, &budget)
        }
        let counts = searches.map { $0.reduce(0) { $0 + Int(places[$1]?.count ?? 0) } }
        guard let rarest = searches.indices.min(by: { counts[$0] < counts[$1] }), counts[rarest] > 0 else { return [] }
        let wanted = inputs.enumerated().map { place, input in
            // A record that was found by the rarest link shares it.
            place == rarest
                ? [] : Set(input.map { LinkKey(record: graph.canonical($0.record), selector: $0.selector) })
        }
        var found: [Int32] = []
        for record in try candidates(searches[rarest], in: graph, &budget)
        where Int(graph.records[Int(record)].inputCount) == inputs.count {
            var isMatch = true
            for place in wanted.indices where isMatch && place != rarest {
                isMatch = try graph.shares(wanted[place], with: record, input: Int32(place), &budget)
            }
            if isMatch { found.append(record) }
        }
        return found
    }

    /// Where records with one of these links are found; what was added under a record that has since become another is found under
    /// its old name.
    private func keys(of links: [LinkNode], input: Int32, _ digest: Digest, in graph: LayerGraph) -> [Key] {
        var keys: [Key] = []
        for link in links {
            let source = graph.canonical(link.record)
            var alias = source
            repeat {
                keys.append(Key(digest: digest, input: input, record: alias, selector: link.selector))
                alias = graph.records[Int(alias)].nextAlias
            } while alias != source
        }
        return keys
    }

    /// The records found there, each once, in the order they were added.
    ///
    /// A sorted list, for mostly there is one.
    private func candidates<Budget: WorkBudget>(
        _ keys: [Key], in graph: LayerGraph, _ budget: inout Budget
    ) throws(Budget.Failure) -> [Int32] {
        var found: [Int32] = []
        for key in keys {
            var next = places[key]?.head ?? -1
            while next >= 0 {
                try budget.spend(1)
                found.append(graph.canonical(nodes[Int(next)].record))
                next = nodes[Int(next)].next
            }
        }
        guard found.count > 1 else { return found }
        found.sort()
        return found.indices.filter { $0 == 0 || found[$0] != found[$0 - 1] }.map { found[$0] }
    }
}

extension LayerGraph {
    /// Whether one of these links is among those of an input of `record`.
    fileprivate func shares<Budget: WorkBudget>(
        _ wanted: Set<LinkKey>, with record: Int32, input: Int32, _ budget: inout Budget
    ) throws(Budget.Failure) -> Bool {
        for index in linkIndices(of: record, input: input) {
            try budget.spend(1)
            if wanted.contains(LinkKey(record: canonical(links[index].record), selector: links[index].selector)) {
                return true
            }
        }
        return false
    }
}
