public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI
public import BuildCacheSpec
@_exported public import BuildCacheTransfer

/// A cache in a directory: `type=local`.
///
/// The directory is an OCI image layout, as BuildKit, skopeo, umoci and crane read and write it. Any number of tags share its blobs.
///
/// - **Permissions**: to read, the directory must be readable; to write, it or its nearest parent must be writable. Blobs are 0444.
/// - **Limits**: none on layers. BuildKit reads manifests and configs up to 1 MiB; an export of larger ones says so.
/// - **Concurrency**: readers and writers in any number of processes. Writers to different tags all succeed; of writers to one tag the
///   later wins whole, or with `WritePolicy.merge` none loses anything. A reader sees a cache from before or after,
///   never between.
/// - **Faults**: a crash, a kill or a full disk at any moment leaves what was there before; the next export clears what is left over.
///
/// - Source: `spec/backends.md` §2; `spec/spec-syntax.md` §4, local.
public struct LocalCache: CacheBackend {
    /// Where and under which name.
    public let options: LocalOptions
    /// What an export takes and how it is written.
    public let export: ExportOptions
    /// How much a cache config may hold, read or written.
    ///
    /// Default as `CacheConfigLimits.init(maximumBytes:maximumEntries:)`.
    public var limits = CacheConfigLimits()
    let layout: OCILayout
    private let scratch: ScratchStore

    /// Makes a cache in the directory that `options` name: `dest` to export, `src` to import.
    ///
    /// Touches nothing yet.
    ///
    /// - Parameters:
    ///   - options: Where and under which name.
    ///   - export: What an export takes and how it is written.
    ///   - scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    /// - Throws: `CacheError` `.invalidSpec` if `options` name no directory.
    public init(_ options: LocalOptions, export: ExportOptions = ExportOptions(), scratch: ScratchStore)
        throws(CacheError)
    {
        guard let path = options.dest ?? options.src, !path.isEmpty else {
            throw CacheError(
                .invalidSpec, "no directory is named: set dest to export or src to import",
                context: .init(backend: "local"))
        }
        self.init(options, export: export, scratch: scratch, layout: OCILayout(path: path))
    }

    /// Works on a layout of the caller's, which may have a faulty file system.
    package init(_ options: LocalOptions, export: ExportOptions, scratch: ScratchStore, layout: OCILayout) {
        self.options = options
        self.export = export
        self.scratch = scratch
        self.layout = layout
    }

    /// Four layers at once, as BuildKit; a manifest of its own.
    public var traits: BackendTraits { BackendTraits(name: "local", transfersInFlight: 4, envelope: .ociManifest) }

    // MARK: Exporting

    /// Writes the layers, then the config and the manifest, then the tag.
    ///
    /// See `CacheBackend.exportCache(_:from:progress:)`.
    ///
    /// - Throws: `CacheError` `.storageFull`, `.denied`, `.busy` if others keep the directory locked for more than ten
    ///   seconds, `.occupied` if the tag leads to an image, `.corrupted` for a symbolic link inside the layout, `.unavailable`.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        // From here to the end no reset removes a blob that we found present.
        let lease = try await layout.prepare()
        defer { lease.end() }
        // Asked before layers are converted, so that an export that will be refused fails at once.
        _ = try await current()

        let layers = try await LayerExport(
            graph, from: source, mode: export.mode, compression: export.compression, scratch: scratch,
            requiresDiffIDs: false, limit: traits.transfersInFlight, progress: progress
        ) { [layout] descriptor, blob in try await layout.put(descriptor, from: blob) }
        var receipt = layers.receipt
        guard layers.hasLayers else { return receipt }

        let published = try await publish(layers.graph)
        receipt.transfers.merge(published.transfers) { _, new in new }
        for problem in published.problems { receipt.add(problem, progress) }
        receipt.published[options.tag] = published.manifest
        progress(.published(name: options.tag, published.manifest.digest))

        // Blobs of the tags in an unreadable index look unused.
        if options.reset, published.aside == nil {
            lease.end()
            if let problem = try await reset() { receipt.add(problem, progress) }
        }
        return receipt
    }

    /// The documents of an export.
    private struct Published {
        var manifest: Descriptor
        var transfers: [Digest: PutOutcome] = [:]
        var problems: [CacheProblem] = []
        /// The copy of an index that could not be read.
        var aside: String?
    }

    /// Stores the documents and moves the tag; with `.merge` over the cache that it names, as often as that changes meanwhile.
    private func publish(_ graph: LayerGraph) async throws -> Published {
        try await SwapLoop(clock: layout.clock).run(options.tag) {
            var wanted = graph
            let current = try await current()
            // An unreadable index is replaced by one without tags.
            let state = TagState.naming(current?.digest)
            if export.writePolicy == .merge, let current,
                let known = try await LayerGraph.known(current, in: layout, limits: limits)
            {
                guard let merged = try graph.merged(over: known) else {
                    let manifest = Descriptor(
                        mediaType: current.mediaType, digest: current.digest, size: current.size)
                    return Published(manifest: manifest, transfers: [current.digest: .alreadyPresent])
                }
                wanted = merged
            }
            let documents = try CacheDocuments(wanted, layout: export.layout, limits: limits)
            var done = Published(manifest: documents.manifest.descriptor, problems: documents.problems)
            for document in [documents.config, documents.manifest] {
                done.transfers[document.digest] = try await layout.put(document)
            }
            // The last moment: with nothing to copy, cancellation may not have been looked at before.
            try Task.checkCancellation()
            do {
                done.aside = try await layout.setTag(options.tag, to: done.manifest, if: state)
            } catch is TagMoved {
                return nil
            }
            if let aside = done.aside {
                done.problems.append(
                    CacheProblem(
                        .notice,
                        "index.json was unreadable, so its other tags are lost; a copy is \(layout.path)/\(aside), and their blobs stay",
                        subject: aside, code: .corrupted))
            }
            return done
        }
    }

    /// The manifest that the tag names, unless it is missing or damaged.
    ///
    /// - Throws: `CacheError` `.occupied` if it is an image, or anything else that is not a cache.
    private func current() async throws -> Descriptor? {
        let found: Descriptor?
        do {
            found = try await layout.manifest(.tag(options.tag))
        } catch let error as CacheError where error.code == .corrupted {
            // The index, or the entry: the export replaces it.
            return nil
        } catch let error as CacheError where error.code == .unsupported {
            // An entry that other tools understand.
            guard export.replacesOtherContent else { throw CacheError.occupied(options.tag) }
            return nil
        }
        guard let found, !export.replacesOtherContent else { return found }
        do {
            let document = try await layout.document(found, limit: Document.defaultLimit)
            try CacheDocuments.checkReplaceable(document, options.tag)
        } catch let error as CacheError where error.code == .notFound || error.code == .corrupted {
            // A tag without its manifest leads nowhere.
        }
        return found
    }

    /// Removes what no tag needs.
    ///
    /// A reset that cannot be done now is worth a warning, not the export.
    private func reset() async throws -> CacheProblem? {
        do {
            try await layout.sweep { index in
                var needed: [Digest: Int64] = [:]
                for entry in index.entries {
                    guard let descriptor = try entry.root() else { continue }
                    try await layout.collect(descriptor, into: &needed, passingDamaged: true)
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

    // MARK: Importing

    /// Reads the manifest, or the image, that the tag or digest names, and the cache in it.
    ///
    /// See `CacheBackend.importCache(progress:)`. Results with a layer whose file is missing or has the wrong size
    /// are left out, with a problem for each layer. Changes nothing in the directory. Until the cache is closed, no reset or prune
    /// removes what the manifest leads to.
    ///
    /// - Returns: `nil` if the directory, the tag or the digest is not there.
    /// - Throws: `CacheError` `.corrupted`, `.limitExceeded`, `.denied`, `.unavailable`, `.busy`.
    public func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        guard let looking = try await layout.lease() else { return nil }
        defer { looking.end() }
        guard let manifest = try await layout.manifest(options.digest.map { .digest($0) } ?? .tag(options.tag)) else {
            return nil
        }
        let lease = try await layout.lease(on: manifest.digest)
        var cache = try await ImportedCache(
            manifest: manifest, from: layout, layers: LeasedSource(layout: layout, lease: lease), limits: limits)
        cache.onClose = { lease?.end() }
        try await cache.removeMissing(from: layout)
        for problem in cache.problems { progress(.problem(problem)) }
        return cache
    }
}

/// A layout whose blobs stay while an imported cache may read them; damage is noted for the next export.
private struct LeasedSource: BlobSource {
    let layout: OCILayout
    let lease: Lease?

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let stream = try await layout.open(descriptor, range: range)
        guard range == nil else { return stream }
        return stream.verified(as: descriptor).noticingDamage { await layout.noteDamage(of: descriptor.digest) }
    }
}
