public import BuildCacheCore

/// Answers which records of a graph a step matches, and what came out of it then.
///
/// An index over a snapshot of the graph: making it takes time in proportion to the records, each answer only to its matches.
///
/// ```swift
/// let lookup = CacheLookup(graph)
/// let base = try lookup.matches(baseDigest)
/// let step = try lookup.matches(stepDigest, inputs: [base.map { Link($0) }])
/// if let result = try lookup.results(of: step).first { … }
/// ```
///
/// - Source: `Documentation/Spec/cache-format.md` §6.4.
public struct CacheLookup: Sendable {
    /// The graph that is asked.
    public let graph: LayerGraph
    private let index: RecordIndex

    /// Indexes `graph`.
    public init(_ graph: LayerGraph) {
        self.graph = graph
        index = RecordIndex(graph)
    }

    /// The records that a step is, given what its inputs were found to be.
    ///
    /// - Parameters:
    ///   - digest: The step's record digest, see `Digest.record(operation:output:)`.
    ///   - inputs: Per input every record it may be, each with the selector it is used with. None for a step without inputs; an input
    ///     without any link matches nothing.
    /// - Returns: All matches, in the order of the graph.
    /// - Throws: `CacheError` `.invalidSpec` for a link to a record of another graph.
    public func matches(_ digest: Digest, inputs: [[Link]] = []) throws(CacheError) -> [RecordID] {
        var encoded: [[LinkNode]] = []
        for input in inputs {
            var links: [LinkNode] = []
            for link in input {
                let record = graph.canonical(try graph.index(of: link.record))
                guard let selector = graph.selectors.known(link.selector) else { continue }
                links.append(LinkNode(record: record, selector: selector))
            }
            encoded.append(links)
        }
        var budget = UnlimitedWork()
        return index.matches(digest, inputs: encoded, in: graph, &budget).map { graph.recordID($0) }
    }

    /// The results of these records, newest first and of equally new ones in the order they were added: the first is the best, the
    /// rest stand in for it if its blobs are gone.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for a record of another graph.
    public func results(of records: some Sequence<RecordID>) throws(CacheError) -> [CacheResult] {
        var seen: Set<CacheResult> = []
        var results: [CacheResult] = []
        for record in records { results += try graph[record].results.filter { seen.insert($0).inserted } }
        return results.enumerated()
            .sorted { left, right in
                if right.element.createdAt.isBefore(left.element.createdAt) { return true }
                if left.element.createdAt.isBefore(right.element.createdAt) { return false }
                return left.offset < right.offset
            }
            .map(\.element)
    }
}
