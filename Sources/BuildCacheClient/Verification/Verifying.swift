import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph

/// The documents that are read at once.
private let readsInFlight = 8

extension CacheImporter {
    /// Checks the cache that an import would read, without progress; see ``verify(_:progress:)``.
    public func verify(_ depth: VerificationReport.Depth = .presence) async throws -> VerificationReport {
        try await verify(depth, progress: .discarded)
    }

    /// Imports the cache, and reads its layers through ``ImportedCache/blobs``.
    ///
    /// Enough for a backend that is not a ``StoredCache``. It changes as much as an import and a read do.
    public func verify(
        _ depth: VerificationReport.Depth, progress: ProgressSink
    ) async throws -> VerificationReport {
        try await running(.verify, at: traits.name, side: .source, progress: progress) {
            let report = VerificationReport(traits.name, depth)
            guard let cache = try await importCache(progress: progress) else { return report }
            defer { cache.close() }
            var verification = Verification(
                report, Verification.Access(imported: cache.blobs), limit: traits.transfersInFlight,
                decompression: DecompressionLimit(), progress: progress)
            verification.add(CacheContents(cache, named: traits.name))
            return try await verification.run()
        }
    }
}

extension StoredCache {
    /// Checks the cache that an import would read, or the one in the image under the name.
    ///
    /// See ``CacheImporter/verify(_:progress:)``. Without a cache the report has no names.
    public func verify(
        _ depth: VerificationReport.Depth, progress: ProgressSink
    ) async throws -> VerificationReport {
        try await running(.verify, at: traits.name, side: .source, progress: progress) {
            let store = try await openStore(for: .import)
            defer { store.close() }
            let found = try await store.cacheNames.mapConcurrently(limit: readsInFlight) { name in
                try await store.document(named: name, limit: limits.documentBytes)
            }
            var verification = verification(depth, in: store, progress)
            // An object without bytes is the placeholder of a folder.
            for document in found.compactMap({ $0 }) where document.document?.bytes.isEmpty != true {
                verification.add(try await CacheContents(document, in: store, limits: limits))
            }
            return try await verification.run()
        }
    }

    fileprivate func verification(
        _ depth: VerificationReport.Depth, in store: any CacheStore, _ progress: ProgressSink
    ) -> Verification {
        Verification(
            VerificationReport(traits.name, depth), Verification.Access(store), limit: traits.transfersInFlight,
            decompression: scratch.decompressionLimit, progress: progress)
    }
}

extension PrunableBackend {
    /// Checks all caches in the store that this backend shares with those of other names.
    ///
    /// As ``CacheImporter/verify(_:progress:)``, a layer that several caches need once. Images and other names that are not caches are not
    /// checked; a cache inside an image is checked by ``CacheImporter/verify(_:progress:)`` of that image. A name or layer that is removed
    /// meanwhile may look missing.
    ///
    /// - Parameters:
    ///   - depth: The extent.
    ///   - progress: Names as they are listed, layers as they are read and verified, and pauses.
    /// - Throws: As ``openForPruning(isReadOnly:)``, and what the store throws; `CancellationError`.
    public func verifyAll(
        _ depth: VerificationReport.Depth = .presence, progress: ProgressSink = .discarded
    ) async throws -> VerificationReport {
        try await running(.verify, at: traits.name, progress: progress) {
            let store = try await openForPruning(isReadOnly: true)
            defer { store.close() }
            // A backend of one's own may be prunable without being a stored cache.
            let stored = self as? any StoredCache
            let limits = stored?.limits ?? CacheConfigLimits()
            var verification =
                stored?.verification(depth, in: store, progress)
                ?? Verification(
                    VerificationReport(traits.name, depth), Verification.Access(store),
                    limit: traits.transfersInFlight, decompression: DecompressionLimit(), progress: progress)
            do {
                let names = try await store.names().sorted { ExactText($0.name) < ExactText($1.name) }
                progress(.listedNames(names.count))
                for name in names where name.isHidden { verification.add(CacheProblem(hidden: name)) }
                let contents = try await names.filter(\.isToVerify).mapConcurrently(limit: readsInFlight) { name in
                    try await CacheContents(name, in: store, limits: limits)
                }
                for contents in contents.compactMap({ $0 }) { verification.add(contents) }
            } catch let error as CacheError where error.code == .corrupted {
                // The list of names itself, such as the index of a directory.
                verification.add(CacheContents(error.context.subject ?? traits.name, unreadable: error.message))
            }
            return try await verification.run()
        }
    }
}

extension CacheContents {
    /// Reads the cache under a listed name, `nil` if the name is gone or the placeholder of a folder.
    fileprivate init?(_ name: StoredName, in store: any PrunableStore, limits: CacheConfigLimits) async throws {
        guard let document = try await store.document(of: name, limit: limits.documentBytes) else {
            guard name.blobs == nil || name.problem != nil else { return nil }
            self.init(name.name, unreadable: name.problem ?? "its documents cannot be read")
            return
        }
        guard document.document?.bytes.isEmpty != true else { return nil }
        try await self.init(document, in: store, limits: limits)
    }
}

extension StoredName {
    /// Whether the name is a cache, or may be one that cannot be read.
    fileprivate var isToVerify: Bool { !isHidden && (isCache || blobs == nil || problem != nil) }
}

extension CacheProblem {
    fileprivate init(hidden name: StoredName) {
        self.init(
            .notice, "\(name.name.quoted) is not checked: \(name.problem ?? "these credentials cannot read it")",
            subject: name.name)
    }
}
