public import BuildCacheCore

/// Why a cache has no result for a step: what the nearest record has that the step has not, or the other way round.
public struct MissExplanation: Hashable, Sendable {
    /// What a step and the nearest record differ in.
    @nonexhaustive
    public enum Reason: Hashable, Sendable {
        /// Nothing differs: a record matches, but no result of it is left, as after its layers were removed.
        case noResult(RecordID)
        /// The nearest record is the same step, and these of its inputs are others.
        case otherInputs(RecordID, [InputDifference])
        /// The nearest record is the same step with another number of inputs.
        case otherInputCount(RecordID, Int)
        /// No record has the step's key; these are built from the same inputs by other steps.
        case otherKey([RecordID])
        /// No record has the step's key, nor all of its inputs.
        case unknown
    }

    /// One input that the nearest record has otherwise.
    public struct InputDifference: Hashable, Sendable {
        /// How the input differs.
        @nonexhaustive
        public enum Kind: Hashable, Sendable {
            /// The cache knows nothing that this input could be: it missed itself, so that is where to look first.
            case unknownInput
            /// The input is known, and the nearest record was built from another.
            case otherRecord
            /// The same record, of which another part was used.
            case otherSelector
        }

        /// Which input, from 0.
        public var input: Int
        /// How it differs.
        public var kind: Kind
        /// What the nearest record was built from.
        public var known: [Link]
    }

    /// The key of the step, as it was looked up.
    public var digest: Digest
    /// What differs.
    public var reason: Reason
}

extension CacheLookup {
    /// Says why a step has no result here.
    ///
    /// The nearest record has the same key and the fewest differing inputs; an input that differs only in its selector counts half. Ties
    /// go to the newest result. Scans all records: use it for diagnostics, not for each step of a build.
    ///
    /// - Parameters:
    ///   - digest: The step's record digest, as for ``matches(_:inputs:)``.
    ///   - inputs: Per input every record it may be, as for ``matches(_:inputs:)``.
    /// - Returns: `nil` if there is a result: the step did not miss.
    /// - Throws: `CacheError` `.invalidSpec` for a link to a record of another graph.
    public func explainMiss(_ digest: Digest, inputs: [[Link]] = []) throws(CacheError) -> MissExplanation? {
        let found = try matches(digest, inputs: inputs)
        if let first = found.first {
            return try results(of: found).isEmpty ? MissExplanation(digest: digest, reason: .noResult(first)) : nil
        }
        var wanted: [Set<Link>] = []
        for links in inputs {
            var known: Set<Link> = []
            for link in links { known.insert(Link(try graph.canonicalID(link.record), selector: link.selector)) }
            wanted.append(known)
        }
        let same = entries.filter { $0.record.digest == digest && !$0.record.isEphemeral }
        let comparable = same.filter { $0.record.inputs.count == inputs.count }
        guard !comparable.isEmpty else {
            let reason: MissExplanation.Reason =
                if let other = same.first {
                    .otherInputCount(other.id, other.record.inputs.count)
                } else {
                    onSameInputs(wanted)
                }
            return MissExplanation(digest: digest, reason: reason)
        }
        let differences = comparable.map { (entry: $0, inputs: compare($0.record, wanted)) }
        let nearest = differences.min { left, right in
            let (leftDistance, rightDistance) = (distance(left.inputs), distance(right.inputs))
            if leftDistance != rightDistance { return leftDistance < rightDistance }
            return newest(right.entry.record).isBefore(newest(left.entry.record))
        }
        return nearest.map { MissExplanation(digest: digest, reason: .otherInputs($0.entry.id, $0.inputs)) }
    }

    /// All records, each with its identifier.
    private var entries: [(id: RecordID, record: LayerGraph.Record)] {
        graph.records.indices.filter { graph.records[$0].mergedInto < 0 }.map {
            (graph.recordID(Int32($0)), graph.record(Int32($0)))
        }
    }

    /// How far a record is from what is wanted: another part of an input is nearer than another input.
    private func distance(_ differences: [MissExplanation.InputDifference]) -> Int {
        differences.reduce(0) { $0 + ($1.kind == .otherSelector ? 1 : 2) }
    }

    /// What the inputs of a record are otherwise than wanted.
    private func compare(
        _ record: LayerGraph.Record, _ wanted: [Set<Link>]
    ) -> [MissExplanation.InputDifference] {
        zip(record.inputs, wanted).enumerated().compactMap { number, pair in
            let (known, wanted) = pair
            guard wanted.isDisjoint(with: known) else { return nil }
            let kind: MissExplanation.InputDifference.Kind =
                if wanted.isEmpty {
                    .unknownInput
                } else if Set(wanted.map(\.record)).isDisjoint(with: known.map(\.record)) {
                    .otherRecord
                } else {
                    .otherSelector
                }
            return MissExplanation.InputDifference(input: number, kind: kind, known: known)
        }
    }

    /// Records of other keys that were built from these inputs.
    private func onSameInputs(_ wanted: [Set<Link>]) -> MissExplanation.Reason {
        guard !wanted.isEmpty else { return .unknown }
        let near = entries.filter { $0.record.inputs.count == wanted.count && compare($0.record, wanted).isEmpty }
        return near.isEmpty ? .unknown : .otherKey(near.map(\.id))
    }

    private func newest(_ record: LayerGraph.Record) -> Timestamp {
        record.results.map(\.createdAt).max { $0.isBefore($1) } ?? .zero
    }
}

extension MissExplanation {
    /// The explanation in one line.
    ///
    /// - Parameters:
    ///   - graph: The one that was asked.
    ///   - name: The name that people give a record, by its digest; default the digest's beginning. A record of another graph than `graph` is
    ///     called "an unknown record".
    public func text(
        in graph: LayerGraph, naming name: (Digest) -> String = { "sha256:\($0.hex.prefix(12))" }
    ) -> String {
        func called(_ record: RecordID) -> String { (try? graph[record].digest).map(name) ?? "an unknown record" }
        func called(_ links: [Link]) -> String {
            links.map { called($0.record) + ($0.selector.isEmpty ? "" : " \($0.selector.quoted)") }.joined(
                separator: " or ")
        }
        switch reason {
        case .noResult:
            return "the step is known, but no result of it is left: its layers are gone, or were never exported"
        case .otherInputCount(_, let count): return "the step is known with \(count) inputs only"
        case .unknown: return "nothing like it is known: neither the step nor all of its inputs"
        case .otherKey(let near):
            return
                "the step is another one: on the same inputs the cache has \(near.map(called).joined(separator: ", "))"
        case .otherInputs(_, let differences):
            return differences.map { difference in
                switch difference.kind {
                case .unknownInput:
                    "input \(difference.input) missed itself; the nearest was built from \(called(difference.known))"
                case .otherRecord:
                    "input \(difference.input) is another one; the nearest was built from \(called(difference.known))"
                case .otherSelector:
                    "another part of input \(difference.input) is used; the nearest used \(called(difference.known))"
                }
            }.joined(separator: "; ")
        }
    }
}
