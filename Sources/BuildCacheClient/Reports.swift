public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
public import BuildCacheTransfer

/// What reading several caches gave.
public struct ImportReport: Sendable {
    /// One source and what it gave: `nil` for no cache yet.
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

    init(_ outcomes: [Outcome]) {
        var united = LayerGraph()
        var sources: [CombinedSource.Part] = []
        self.outcomes = outcomes.map { outcome in
            guard case .success(let cache?) = outcome.result else { return outcome }
            do throws(CacheError) {
                try united.merge(cache.graph)
                sources.append(CombinedSource.Part(digests: Set(cache.graph.descriptors.keys), source: cache.blobs))
                return outcome
            } catch {
                return Outcome(source: outcome.source, result: .failure(error))
            }
        }
        graph = united
        blobs = CombinedSource { [sources] in sources }
    }
}

/// What writing several caches gave.
public struct ExportReport: Sendable {
    /// One destination and what became of it.
    public struct Outcome: Sendable {
        /// The name of the endpoint.
        public var destination: String
        /// Whether its failure does not count.
        public var isIgnored: Bool
        /// What was written, or why not.
        public var result: Result<ExportReceipt, CacheError>
    }

    /// One outcome per destination, in their order.
    public let outcomes: [Outcome]

    /// Every failure that counts.
    public var failures: [CacheError] {
        outcomes.compactMap { outcome in
            guard case .failure(let error) = outcome.result, !outcome.isIgnored else { return nil }
            return error
        }
    }

    /// Throws the first failure that counts; a second one and more are named in its message.
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
