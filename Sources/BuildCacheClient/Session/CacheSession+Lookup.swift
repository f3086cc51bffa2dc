public import BuildCacheCore
public import BuildCacheGraph
import Logging
import Metrics
import Synchronization

/// A result that a cache has for a step.
public struct CacheHit: Hashable, Sendable {
    /// The step, of the session that was asked.
    public var record: RecordID
    /// When the result was made.
    public var createdAt: Timestamp
    /// Its layers, the lowest first.
    ///
    /// The diffID of a layer is a claim of the cache's writer until the layer was fetched, or read with `openTar`.
    public var layers: [Descriptor]
    /// The name of the first source that has them.
    public var source: String
    /// The place of that source among those of the client; names may be equal.
    var place: Int?
}

extension CacheSession {
    /// Asks whether a cache has a result for a step.
    ///
    /// Answers as soon as a cache that has arrived has one whose layers were there when it was loaded; the others are waited for only while
    /// none has, each until its deadline. The newest result of what has arrived is taken, and of equally new ones that of the first source.
    /// A hit is noted as the result of its record.
    ///
    /// - Returns: `nil` for a miss: run the step.
    /// - Throws: `CacheError` `.invalidSpec` for a record of another session; `CancellationError`.
    public func lookup(_ record: RecordID) async throws -> CacheHit? {
        while true {
            try Task.checkCancellation()
            let (known, count) = sources.now
            let answer = try state.withLock { state in try state.answer(record, known) }
            if let answer {
                note(answer, of: record)
                return answer
            }
            if known.waitingFor == 0 {
                note(nil, of: record)
                return nil
            }
            try await sources.changes.next(after: count)
        }
    }

    /// Says why the caches have no result for a step; looks at all that they know.
    ///
    /// - Returns: What differs from the nearest record and the graph that this is of, for `MissExplanation.text(in:naming:)`; `nil` for a
    ///   step of which a cache has a result, though its layers may be lost.
    /// - Throws: `CacheError` `.invalidSpec` for a record of another session.
    public func explainMiss(
        _ record: RecordID
    ) throws(CacheError) -> (explanation: MissExplanation, graph: LayerGraph)? {
        let known = sources.now.known
        let explanation = state.withLock { state in
            Result { () throws(CacheError) in
                _ = try state.matches(of: record, known)
                let step = try state.graph[record]
                return try known.lookup.explainMiss(step.digest, inputs: state.known(step.inputs))
            }
        }
        return try explanation.get().map { ($0, known.lookup.graph) }
    }

    private func note(_ hit: CacheHit?, of record: RecordID) {
        let isNew = state.withLock { state -> Bool in
            guard let hit else {
                state.hits[record] = nil
                return state.misses.insert(record).inserted
            }
            state.misses.remove(record)
            return state.hits.updateValue(hit, forKey: record) == nil
        }
        guard isNew else { return }
        Counter(label: "build_cache.session.\(hit == nil ? "misses" : "hits")").increment()
        guard let logger = options.logger, let digest = state.withLock({ try? $0.graph[record].digest }) else { return }
        if let hit {
            logger.debug("cached", metadata: ["record": "\(digest)", "source": "\(hit.source)"])
        } else {
            logger.debug("not cached", metadata: ["record": "\(digest)"])
        }
    }
}

extension CacheSession.State {
    /// The best result for a record of which no blob was lost, noted as its own; `nil` if there is none.
    mutating func answer(
        _ record: RecordID, _ known: LoadingSources.Known
    ) throws(CacheError) -> CacheHit? {
        let found = try matches(of: record, known)
        for result in try known.lookup.results(of: found) {
            let chain = try known.lookup.graph.chain(result.layer)
            var layers: [Descriptor] = []
            for layer in chain { if let known = try known.lookup.graph.descriptor(of: layer) { layers.append(known) } }
            guard layers.count == chain.count, !layers.contains(where: { lost.contains($0.digest) }) else { continue }
            let source = known.caches.first { cache in
                layers.allSatisfy { cache.cache.graph.descriptors[$0.digest] != nil }
            }
            guard let top = try graph.addChain(layers) else { continue }
            try graph.addResult(CacheResult(layer: top, createdAt: result.createdAt), to: record, isImported: true)
            let place = source?.place ?? known.caches.first?.place
            return CacheHit(
                record: record, createdAt: result.createdAt, layers: layers,
                source: place.map { names[$0] } ?? "", place: place)
        }
        return nil
    }

    /// The records that a record is in the caches: found for all that it is built from first, without recursion, because chains are long.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for a record of another session.
    mutating func matches(
        of record: RecordID, _ known: LoadingSources.Known
    ) throws(CacheError) -> [RecordID] {
        if matchesVersion != known.version {
            matches.removeAll(keepingCapacity: true)
            matchesVersion = known.version
        }
        let start = try graph.canonicalID(record)
        var stack = [start]
        while let top = stack.last {
            guard matches[top] == nil else {
                stack.removeLast()
                continue
            }
            let step = try graph[top]
            let depth = stack.count
            for input in step.inputs {
                for link in input where matches[link.record] == nil { stack.append(link.record) }
            }
            guard stack.count == depth else { continue }
            matches[top] =
                step.isEphemeral ? [] : try known.lookup.matches(step.digest, inputs: self.known(step.inputs))
        }
        return matches[start] ?? []
    }

    /// The links of inputs, as they are in the caches.
    func known(_ inputs: [[Link]]) -> [[Link]] {
        inputs.map { input in
            input.flatMap { link in (matches[link.record] ?? []).map { Link($0, selector: link.selector) } }
        }
    }
}
