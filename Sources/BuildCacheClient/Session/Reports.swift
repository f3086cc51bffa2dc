public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph

/// The outcome of reading several caches.
public struct ImportReport: Sendable {
    /// One source and its outcome: `nil` for no cache yet.
    public struct Outcome: Sendable {
        /// The name of the endpoint.
        public var source: String
        /// The cache, `nil` if there is none yet, or why it could not be read.
        public var result: Result<ImportedCache?, CacheError>
    }

    /// One outcome per source, in their order.
    public let outcomes: [Outcome]
    /// All caches in one graph.
    public let graph: LayerGraph
    /// The layers of all caches, each read from the first source that has it.
    public let blobs: any BlobSource

    /// - Throws: `CancellationError`.
    init(_ outcomes: [Outcome]) throws {
        var merged = LayerGraph()
        var sources: [CombinedSource.Part] = []
        self.outcomes = try outcomes.map { outcome in
            guard case .success(let cache?) = outcome.result else { return outcome }
            do {
                // A copy: a cache that cannot be merged must leave nothing behind.
                var candidate = merged
                try candidate.merge(cache.graph)
                merged = candidate
                sources.append(CombinedSource.Part(digests: Set(cache.graph.descriptors.keys), source: cache.blobs))
                return outcome
            } catch let error as CacheError {
                return Outcome(source: outcome.source, result: .failure(error))
            }
        }
        graph = merged
        blobs = CombinedSource { [sources] in sources }
    }

    /// Sources that could not be read, and the problems of those that could.
    public var problems: [CacheProblem] {
        outcomes.flatMap { outcome -> [CacheProblem] in
            switch outcome.result {
            case .success(let cache): cache?.problems.map { $0.adding(endpoint: outcome.source) } ?? []
            case .failure(let error): [.failedSource(outcome.source, error)]
            }
        }
    }

    /// Lets the stores remove what was imported, see ``ImportedCache/close()``.
    public func close() {
        for case .success(let cache?) in outcomes.map(\.result) { cache.close() }
    }
}

extension ImportReport: CustomStringConvertible {
    /// One line: the caches, the records, and the problems.
    public var description: String {
        let count = outcomes.count { if case .success(.some) = $0.result { true } else { false } }
        return "\(count) of \(outcomes.count) caches, \(graph.recordCount) records" + problems.inOneLine
    }
}

/// The outcome of writing several caches.
public struct ExportReport: Sendable {
    /// One destination and its outcome.
    public struct Outcome: Sendable {
        /// The name of the endpoint.
        public var destination: String
        /// Whether its failure does not count.
        public var isIgnored: Bool
        /// The receipt, or why nothing was written.
        public var result: Result<ExportReceipt, CacheError>
    }

    /// One outcome per destination, in their order.
    public let outcomes: [Outcome]
    /// Problems of the export as a whole.
    package var ownProblems: [CacheProblem] = []

    package init(outcomes: [Outcome]) { self.outcomes = outcomes }

    /// Every failure that counts.
    public var failures: [CacheError] {
        outcomes.compactMap { outcome in
            guard case .failure(let error) = outcome.result, !outcome.isIgnored else { return nil }
            return error
        }
    }

    /// Destinations that could not be written, ignored ones included, and the problems of those that could.
    public var problems: [CacheProblem] {
        ownProblems
            + outcomes.flatMap { outcome -> [CacheProblem] in
                switch outcome.result {
                case .success(let receipt): receipt.problems.map { $0.adding(endpoint: outcome.destination) }
                case .failure(let error):
                    [
                        CacheProblem(
                            .failedExport, "the cache was not written", because: error, endpoint: outcome.destination)
                    ]
                }
            }
    }

    /// Throws the first failure that counts; the others are named in its message.
    ///
    /// - Throws: `CacheError` of the destination.
    public func check() throws(CacheError) {
        let failures = failures
        guard var first = failures.first else { return }
        if failures.count > 1 {
            first.message +=
                " (and \(failures.count - 1) more: \(failures.dropFirst().map(\.description).joined(separator: "; ")))"
        }
        throw first
    }
}

extension ExportReport: CustomStringConvertible {
    /// One line: the destinations, the bytes, and the problems.
    public var description: String {
        let receipts = outcomes.compactMap { try? $0.result.get() }
        let written = receipts.reduce(Int64(0)) { $0.saturatingAdding($1.bytesWritten) }
        let saved = receipts.reduce(Int64(0)) { $0.saturatingAdding($1.bytesSaved) }
        return "\(receipts.count) of \(outcomes.count) caches, \(written) bytes written, \(saved) bytes saved"
            + problems.inOneLine
    }
}

extension CacheProblem {
    static func failedSource(_ name: String, _ error: CacheError) -> CacheProblem {
        CacheProblem(.unreadableCache, "the cache counts as one without hits", because: error, endpoint: name)
    }
}

extension [CacheProblem] {
    /// The end of a report's line: how many problems there are, and the first of them.
    var inOneLine: String {
        guard let first else { return "" }
        return "; \(count) \(count == 1 ? "problem" : "problems"): \(first)\(count > 1 ? ", …" : "")"
    }
}
