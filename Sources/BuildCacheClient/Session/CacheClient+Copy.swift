import BuildCacheBytes
public import BuildCacheCore
import BuildCacheGraph
import BuildCacheSigning

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
    /// A source with a verification policy is verified first, and a destination that signs states the origin of the copy.
    ///
    /// - Parameter progress: Called with the name of a source or destination and what happened there.
    /// - Throws: `CacheError` of the first source that cannot be read, `.notFound` for one that has no cache, `.untrusted` for one whose
    ///   policy refuses it: a copy has all sources or none. `CancellationError`. Errors of destinations are in the report.
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
        for problem in imported.problems where problem.kind == .refusedCache {
            throw CacheError(
                .untrusted, problem.message, context: .init(operation: "copy", subject: problem.endpoint))
        }
        // One document keeps its history; of several that are merged none is the origin.
        let caches = imported.outcomes.compactMap { try? $0.result.get() }
        let signatures = caches.count == 1 ? caches.flatMap(\.signatures) : []
        let documents = Set(signatures.map(\.document))
        let copied =
            documents.count == 1 ? documents.first.map { CopiedDocument(digest: $0, signatures: signatures) } : nil
        let exported = try await exportCaches(
            imported.graph, from: LayerSource(blobs: imported.blobs), copying: copied, progress: progress)
        return CopyReport(imported: imported, exported: exported)
    }
}

extension CacheClient {
    /// Signs the documents of destinations again, without moving any layer.
    ///
    /// For new keys, and for signatures that would be too old soon; see ``SigningExporter/resign(trust:progress:)``.
    ///
    /// - Parameters:
    ///   - names: The names of destinations; empty for all.
    ///   - progress: Called with the name of a destination and what happened there.
    /// - Returns: The documents that were signed, by the names that lead to them.
    /// - Throws: `CacheError` `.invalidSpec` for a name that is not a destination, `.untrusted` for a cache that the policy refuses,
    ///   `.unsupported` for a backend without signatures, `.notFound` without a cache; what signers and stores throw.
    public func resign(
        _ names: [String] = [],
        progress: @escaping @Sendable (_ name: String, ProgressEvent) -> Void = { _, _ in }
    ) async throws -> [String: Digest] {
        for name in names where !destinations.contains(where: { $0.name.isExactly(name) }) {
            throw CacheError(
                .invalidSpec, "unknown destination \(name.quoted): expected the name of one of this client")
        }
        let chosen = destinations.filter { destination in
            names.isEmpty || names.contains { $0.isExactly(destination.name) }
        }
        var signed: [String: Digest] = [:]
        for destination in chosen {
            do {
                let documents = try await destination.signingExporter().resign(
                    trust: destination.trust, progress: ProgressSink { progress(destination.name, $0) })
                signed.merge(documents) { first, _ in first }
            } catch let error where !(error is CancellationError) {
                throw CacheError.wrapping(error, of: destination.exporter.traits, .sign)
            }
        }
        return signed
    }
}
