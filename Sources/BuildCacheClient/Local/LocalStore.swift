import BuildCacheBytes
import BuildCacheCore
import BuildCacheOCI
import Synchronization

/// A directory as the store of a cache, with the locks of one operation.
final class LocalStore: SwappingStore {
    let layout: OCILayout
    private let options: LocalOptions
    private let manifestLayout: ManifestLayout
    private let use: StoreUse
    private let state = Mutex(State())

    private struct State {
        /// Keeps prunes, or all others, out of the directory.
        var lease: Lease?
        /// Keeps the manifest, and all that it leads to, from being removed while an imported cache may read it.
        var reading: Lease?
        /// Whether an index that could not be read was replaced.
        var hasReplacedIndex = false
    }

    init(
        _ layout: OCILayout, _ options: LocalOptions, layout manifestLayout: ManifestLayout, for use: StoreUse
    ) async throws {
        self.layout = layout
        self.options = options
        self.manifestLayout = manifestLayout
        self.use = use
        let lease: Lease?
        switch use {
        // From here to the end no reset removes a blob that the export found present.
        case .export: lease = try await layout.prepare()
        case .import: lease = nil
        case .prune(let isReadOnly):
            lease = try await isReadOnly ? layout.lease() : layout.waitForSweep()
            guard lease != nil else {
                throw CacheError(
                    .notFound, "the directory does not exist, so no cache is in it; check the path",
                    context: .init(subject: layout.path))
            }
        }
        state.withLock { $0.lease = lease }
    }

    var form: CacheForm { .manifest(manifestLayout) }
    var cacheNames: [String] { [options.tag] }
    var clock: any Clock<Duration> { layout.clock }

    func close() {
        state.withLock { state in
            state.lease?.end()
            state.reading?.end()
        }
    }

    // MARK: Layers

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await layout.open(descriptor, range: range)
    }

    func stat(_ digest: Digest) async throws -> BlobStat? { try await layout.stat(digest) }

    func put(_ layer: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await layout.put(layer, from: source)
    }

    func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
        try await layout.presence(of: layers)
    }

    func noteDamage(of layer: Digest) async { await layout.noteDamage(of: layer) }

    // MARK: Documents

    func document(named tag: String, limit: Int) async throws -> NamedDocument? {
        do {
            guard let manifest = try await manifest(tag) else { return nil }
            let version = manifest.digest.description
            do {
                let bytes = try await layout.bytes(of: manifest, limit: limit)
                let document = RawDocument(mediaType: manifest.mediaType, bytes: bytes)
                return NamedDocument(name: tag, content: .document(document), version: version)
            } catch let error as CacheError where LocalStore.isUnreadable(error) {
                return NamedDocument(name: tag, content: .unreadable(error), version: version)
            }
        } catch let error as CacheError where LocalStore.isUnreadable(error) {
            // The index, or the entry in it.
            return NamedDocument(name: tag, content: .unreadable(error))
        }
    }

    private static func isUnreadable(_ error: CacheError) -> Bool {
        [.corrupted, .notFound, .unsupported, .limitExceeded].contains(error.code)
    }

    private func manifest(_ tag: String) async throws -> Descriptor? {
        guard use == .import else { return try await layout.manifest(.tag(tag)) }
        guard let looking = try await layout.lease() else { return nil }
        defer { looking.end() }
        guard let manifest = try await layout.manifest(options.digest.map { .digest($0) } ?? .tag(tag)) else {
            return nil
        }
        let lease = try await layout.lease(on: manifest.digest)
        state.withLock { $0.reading = lease }
        return manifest
    }

    func publish(_ draft: CacheDraft, as tag: String) async throws -> Publication {
        var done = try await swap(draft, as: tag)
        // Blobs of the tags in an unreadable index look unused.
        if options.reset, !state.withLock({ $0.hasReplacedIndex }) {
            state.withLock { $0.lease?.end() }
            if let problem = try await reset() { done.problems.append(problem) }
        }
        return done
    }

    func replace(
        _ current: NamedDocument?, named tag: String, with documents: CacheDocuments
    ) async throws -> Publication? {
        var done = Publication(name: tag, root: documents.root.descriptor, problems: documents.problems)
        for document in [documents.config, documents.root] {
            done.transfers[document.digest] = try await layout.put(document)
        }
        // The last moment: with nothing to copy, cancellation may not have been looked at before.
        try Task.checkCancellation()
        do {
            // An unreadable index is replaced by one without tags.
            let version = try current?.version.map { try Digest($0) }
            let copy = try await layout.setTag(tag, to: done.root, if: .naming(version))
            if let copy {
                state.withLock { $0.hasReplacedIndex = true }
                done.problems.append(
                    CacheProblem(
                        .notice,
                        "index.json was unreadable, so its other tags are lost; a copy is \(layout.path)/\(copy), and their blobs stay",
                        subject: copy, code: .corrupted))
            }
            return done
        } catch is TagMoved {
            return nil
        }
    }

    /// Removes the blobs that no tag needs.
    ///
    /// A reset that cannot be done now is worth a problem, not the export.
    private func reset() async throws -> CacheProblem? {
        do {
            try await layout.sweep { [layout] index in
                var (needed, documents) = ([Digest: Int64](), Set<Digest>())
                for entry in index.entries {
                    guard let descriptor = try entry.root() else { continue }
                    try await layout.collect(descriptor, into: &needed, documents: &documents, passingDamaged: true)
                }
                return Set(needed.keys)
            }
            return nil
        } catch let error as CacheError {
            return CacheProblem(.keptBlobs, "unused blobs were not removed", because: error)
        } catch is CancellationError {
            // The tag has moved, so the export is done.
            return CacheProblem(
                .keptBlobs, "unused blobs stay, because the export was cancelled while they were removed")
        }
    }
}
