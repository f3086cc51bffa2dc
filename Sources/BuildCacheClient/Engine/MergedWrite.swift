import BuildCacheCore
package import BuildCacheGraph

extension LayerGraph {
    /// This graph, which was just exported, and all that another cache holds beside it: `WritePolicy.merge`.
    ///
    /// Of records that both have, the results here count, whose layers are known to be stored.
    ///
    /// - Returns: `nil` if the other cache holds all of it already, so that there is nothing to write.
    /// - Throws: As `LayerGraph.merge(_:onlyMissingResults:)`.
    package func merged(over other: LayerGraph) throws -> LayerGraph? {
        var merged = self
        try merged.merge(other, onlyMissingResults: true)
        return merged.news(for: other)
    }

    /// This graph, which is stored, and what another holds beside it; of records that both have, the results here count.
    ///
    /// - Returns: `nil` if this one holds all of it already, so that there is nothing to write.
    /// - Throws: As `LayerGraph.merge(_:onlyMissingResults:)`.
    package func adding(_ other: LayerGraph) throws -> LayerGraph? {
        var merged = self
        try merged.merge(other, onlyMissingResults: true)
        return merged.news(for: self)
    }

    /// This graph as it would be written, unless another holds all of it.
    ///
    /// Layers of results that were not taken are not written, so they are not news: two writers with different results of one record would
    /// write for ever.
    private func news(for other: LayerGraph) -> LayerGraph? {
        let written = asWritten()
        return written.difference(from: other).isEmpty ? nil : written
    }
}

/// Writes by compare and swap, as often as another writer was faster.
///
/// Each try that fails means that somebody else's succeeded, so all get through; the pauses between them, random and doubling up to a quarter
/// of a second, only save requests.
package struct SwapLoop: Sendable {
    private let clock: any Clock<Duration>
    /// The most tries before the writer gives up.
    private static let attempts = 1000

    package init(clock: any Clock<Duration> = ContinuousClock()) { self.clock = clock }

    /// Calls `attempt` until it returns a value.
    ///
    /// - Parameter attempt: Reads what is there, and writes what it should be unless that has changed meanwhile: then it returns `nil`.
    /// - Throws: `CacheError` `.busy` after a thousand tries; what `attempt` throws; `CancellationError`.
    package func run<Value>(_ name: String, _ attempt: () async throws -> Value?) async throws -> Value {
        for number in 0..<SwapLoop.attempts {
            try Task.checkCancellation()
            if let value = try await attempt() { return value }
            let longest = Duration.milliseconds(4 << min(number, 6))
            try await clock.sleep(for: longest * Double.random(in: 0...1))
        }
        throw CacheError(
            .busy,
            "other writers were faster \(SwapLoop.attempts) times; try again when fewer jobs export to this name",
            context: .init(subject: name), retry: .worthwhile)
    }
}
