public import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
public import BuildCacheSigning

/// The caches of one build: those it reads, and those it writes.
///
/// ```swift
/// let client = try CacheClient(
///     cacheFrom: ["type=local,src=cache"], cacheTo: ["type=local,dest=cache,mode=max"], scratch: scratch)
/// let known = try await client.importCaches()
/// let lookup = CacheLookup(known.graph)
/// …
/// try await client.exportCaches(graph, from: LayerSource(blobs: known.blobs)).check()
/// ```
///
/// Every cache has an outcome of its own: a source that is down or damaged is a cache without hits, and a destination that fails
/// does not keep the others from being written.
public struct CacheClient: Sendable {
    /// A cache that is read.
    public struct Source: Sendable {
        /// The name in reports, as in `type=local,src=cache`; never with secrets.
        public var name: String
        /// The cache.
        public var importer: any CacheImporter
        /// The rules by which its signatures are accepted.
        ///
        /// A refused cache is one without hits, with a problem in the report, unless the rules ask for an error.
        public var verification: VerificationPolicy

        /// Names a cache, which may be a backend of your own.
        public init(name: String, importer: any CacheImporter, verification: VerificationPolicy = .off) {
            self.name = name
            self.importer = importer
            self.verification = verification
        }

        /// Reads the cache by its rules.
        func importCache(progress: ProgressSink) async throws -> ImportedCache? {
            guard verification.mode != .off else { return try await importer.importCache(progress: progress) }
            guard let importer = importer as? any VerifyingImporter else {
                throw CacheError(
                    .unsupported, "this cache cannot verify signatures; leave the policy out, or use another backend")
            }
            return try await importer.importCache(verification: verification, progress: progress)
        }
    }

    /// A cache that is written.
    public struct Destination: Sendable {
        /// The name in reports, as in `type=local,dest=cache`; never with secrets.
        public var name: String
        /// The cache.
        public var exporter: any CacheExporter
        /// Whether a failed export is reported but not counted as one: `ignore-error=true`.
        public var ignoresErrors: Bool
        /// The signers of its exports, and the rules for the cache that they replace or merge with.
        public var trust: CacheTrust

        /// Names a cache, which may be a backend of your own.
        public init(
            name: String, exporter: any CacheExporter, ignoresErrors: Bool = false, trust: CacheTrust = CacheTrust()
        ) {
            self.name = name
            self.exporter = exporter
            self.ignoresErrors = ignoresErrors
            self.trust = trust
        }

        /// The exporter as one that signs.
        func signingExporter() throws(CacheError) -> any SigningExporter {
            guard let exporter = exporter as? any SigningExporter else {
                throw CacheError(
                    .unsupported, "this cache cannot be signed; leave the policy out, or use another backend")
            }
            return exporter
        }

        /// Writes the cache by its rules.
        func exportCache(
            _ graph: LayerGraph, from source: LayerSource, copying document: CopiedDocument?, progress: ProgressSink
        ) async throws -> ExportReceipt {
            guard !trust.isOff else { return try await exporter.exportCache(graph, from: source, progress: progress) }
            var trust = trust
            trust.copied = document
            return try await signingExporter().exportCache(graph, from: source, trust: trust, progress: progress)
        }
    }

    /// The caches to read.
    ///
    /// Of several results of one step the newest counts, and of equally new ones that of the first source.
    public var sources: [Source]
    /// The caches to write.
    public var destinations: [Destination]

    /// Creates a client of caches, any of which may be missing.
    public init(sources: [Source] = [], destinations: [Destination] = []) {
        self.sources = sources
        self.destinations = destinations
    }

    // MARK: Importing

    /// Reads all sources at once and merges them.
    ///
    /// Never fails because of a source: one that cannot be read is in the report with its error, and has no records.
    ///
    /// - Parameter progress: Called with the name of a source and what happened there.
    /// - Throws: `CancellationError` if cancelled, and nothing else.
    public func importCaches(
        progress: @escaping @Sendable (_ name: String, ProgressEvent) -> Void = { _, _ in }
    ) async throws -> ImportReport {
        let outcomes = try await sources.mapConcurrently(limit: sources.count) { source in
            let sink = ProgressSink { progress(source.name, $0) }
            do {
                return ImportReport.Outcome(
                    source: source.name, result: .success(try await source.importCache(progress: sink)))
            } catch let error where !(error is CancellationError) {
                return ImportReport.Outcome(
                    source: source.name, result: .failure(.wrapping(error, of: source.importer.traits, .import)))
            }
        }
        try Task.checkCancellation()
        return try ImportReport(outcomes)
    }

    // MARK: Exporting

    /// Writes the graph to all destinations at once.
    ///
    /// A failure of one cancels no other. Each layer is converted at most once for all of them.
    ///
    /// - Parameters:
    ///   - graph: The records, links and layers of the build.
    ///   - source: The layers; each destination reads what it lacks.
    ///   - progress: Called with the name of a destination and what happened there.
    /// - Returns: The outcome of each destination; ask ``ExportReport/check()`` to treat a failure as one.
    /// - Throws: `CancellationError` if cancelled; then no name was published that was not complete.
    public func exportCaches(
        _ graph: LayerGraph, from source: LayerSource,
        progress: @escaping @Sendable (_ name: String, ProgressEvent) -> Void = { _, _ in }
    ) async throws -> ExportReport {
        try await exportCaches(graph, from: source, copying: nil, progress: progress)
    }

    /// - Parameter document: The document that is copied, if it is one.
    func exportCaches(
        _ graph: LayerGraph, from source: LayerSource, copying document: CopiedDocument?,
        progress: @escaping @Sendable (_ name: String, ProgressEvent) -> Void
    ) async throws -> ExportReport {
        let outcomes = try await destinations.mapConcurrently(limit: destinations.count) { destination in
            let sink = ProgressSink { progress(destination.name, $0) }
            var outcome = ExportReport.Outcome(
                destination: destination.name, isIgnored: destination.ignoresErrors, result: .success(ExportReceipt()))
            do {
                outcome.result = .success(
                    try await destination.exportCache(graph, from: source, copying: document, progress: sink))
            } catch let error where !(error is CancellationError) {
                outcome.result = .failure(.wrapping(error, of: destination.exporter.traits, .export))
            }
            return outcome
        }
        try Task.checkCancellation()
        return ExportReport(outcomes: outcomes)
    }
}

extension CacheError {
    /// The error that a backend threw, with its place filled in.
    static func wrapping(
        _ error: any Error, of backend: BackendTraits, _ operation: CacheError.Operation
    ) -> CacheError {
        let known = error as? CacheError ?? CacheError(.unavailable, "\(error)", cause: error)
        return known.adding(backend: backend.name, operation: operation)
    }
}
