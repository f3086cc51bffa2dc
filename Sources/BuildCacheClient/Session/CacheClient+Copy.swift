import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph

/// The outcome of a copy of caches.
public struct CopyReport: Sendable {
    /// The outcome of reading the sources.
    public var imported: ImportReport
    /// The outcome of writing the destinations.
    public var exported: ExportReport

    /// The problems of both.
    public var problems: [CacheProblem] { imported.problems + exported.problems }
}

extension CopyReport: CustomStringConvertible {
    /// One line.
    public var description: String { "read \(imported); wrote \(exported)" }
}

extension CacheClient {
    /// Copies the caches of all ``sources``, as one, to all ``destinations``.
    ///
    /// Layers keep their digests unless a destination asks for another compression. Each destination gets what it lacks and nothing else, so
    /// a copy that broke off goes on where it was when it is done again: layers that have arrived stay, though no name leads to them yet.
    /// Bytes go from source to destination as they are read; nothing is kept but what is converted.
    ///
    /// - Parameter progress: Called with the name of a source or destination and what happened there.
    /// - Throws: `CacheError` of the first source that cannot be read, `.notFound` for one that has no cache: half of what was asked for is
    ///   no copy. `CancellationError`. What fails at a destination is in the report.
    public func copyCaches(
        progress: @escaping @Sendable (_ name: String, ProgressEvent) -> Void = { _, _ in }
    ) async throws -> CopyReport {
        let imported = try await importCaches(progress: progress)
        defer { imported.close() }
        for outcome in imported.outcomes where try outcome.result.get() == nil {
            throw CacheError(
                .notFound, "the source has no cache to copy yet",
                context: .init(operation: "copy", subject: outcome.source))
        }
        let exported = try await exportCaches(
            imported.graph, from: LayerSource(blobs: imported.blobs), progress: progress)
        return CopyReport(imported: imported, exported: exported)
    }
}
