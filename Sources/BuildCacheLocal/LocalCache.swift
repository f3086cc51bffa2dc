public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI
public import BuildCacheSpec
public import BuildCacheTransfer

/// A cache in a directory: `type=local`.
///
/// The directory is an OCI image layout, as BuildKit, skopeo, umoci and crane read and write it. Any number of tags share its blobs.
///
/// - **Permissions**: to read, the directory must be readable; to write, it or its nearest parent must be writable. Blobs are 0444.
/// - **Limits**: none on layers. BuildKit reads manifests and configs up to 1 MiB; an export of larger ones says so.
/// - **Concurrency**: readers and writers in any number of processes. Writers to different tags all succeed; of writers to one tag the
///   later wins whole. A reader sees a cache from before or after, never between.
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
    /// Default as ``/BuildCacheGraph/CacheConfigLimits/init(maximumBytes:maximumEntries:)``.
    public var limits = CacheConfigLimits()
    let layout: OCILayout
    private let scratch: ScratchStore

    /// Makes a cache in the directory that `options` name: `dest` to export, `src` to import.
    ///
    /// Touches nothing yet.
    ///
    /// - Parameter scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    /// - Throws: ``/BuildCacheCore/CacheError`` `.invalidSpec` if `options` name no directory.
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
    /// See ``/BuildCacheTransfer/CacheBackend/exportCache(_:from:progress:)``.
    ///
    /// - Throws: ``/BuildCacheCore/CacheError`` `.storageFull`, `.denied`, `.busy` if others keep the directory locked for more than ten
    ///   seconds, `.corrupted` for a symbolic link inside the layout, `.unavailable`.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        // From here to the end no reset removes a blob that we found present.
        let lease = try await layout.prepare()
        defer { lease.end() }

        let layers = try await LayerExport(
            graph, from: source, mode: export.mode, compression: export.compression, scratch: scratch,
            limit: traits.transfersInFlight, progress: progress
        ) { [layout] descriptor, blob in try await layout.put(descriptor, from: blob) }
        var receipt = ExportReceipt(transfers: layers.transfers, converted: layers.converted, warnings: layers.warnings)
        var mayReset = options.reset
        func warn(_ warning: String) {
            receipt.warnings.append(warning)
            progress(.warning(warning))
        }

        if layers.hasLayers {
            let config = try layers.graph.encodeConfig(within: limits)
            let manifest = CacheManifest(
                config: config.descriptor, layers: config.layers.compactMap { layers.graph.descriptors[$0] },
                layout: export.layout)
            let documents = [RawDocument(mediaType: .cacheConfig, bytes: config.bytes), manifest.encode()]
            for document in documents {
                receipt.transfers[document.digest] = try await layout.put(document)
                if let warning = document.buildKitLimitWarning { warn(warning) }
            }

            let published = documents[1].descriptor
            // The last moment: with nothing to copy, nobody may have looked before.
            try Task.checkCancellation()
            if let aside = try await layout.setTag(options.tag, to: published) {
                warn("index.json was unreadable, a copy is kept as \(aside); its other tags are lost, their blobs stay")
                mayReset = false
            }
            receipt.published[options.tag] = published
            progress(.published(name: options.tag, published.digest))
        } else {
            warn("the selection has no layers, so nothing is written and the cache stays as it was")
        }

        if mayReset {
            lease.end()
            if let problem = try await reset() { warn(problem) }
        }
        return receipt
    }

    /// Removes what no tag needs.
    ///
    /// A reset that cannot be done now is worth a warning, not the export.
    private func reset() async throws -> String? {
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
            return "unused blobs could not be removed: \(error)"
        } catch is CancellationError {
            // The tag has moved, so the export is done.
            return "unused blobs stay, because the export was cancelled while they were removed"
        }
    }

    // MARK: Importing

    /// Reads the manifest, or the image, that the tag or digest names, and the cache in it.
    ///
    /// See ``/BuildCacheTransfer/CacheBackend/importCache(progress:)``. Results with a layer whose file is missing or has the wrong size
    /// are left out with a warning. While the imported cache is alive, no reset removes its blobs.
    ///
    /// - Returns: `nil` if the directory, the tag or the digest is not there.
    /// - Throws: ``/BuildCacheCore/CacheError`` `.corrupted`, `.limitExceeded`, `.denied`, `.unavailable`, `.busy`.
    public func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        guard let lease = try await layout.lease() else { return nil }
        guard let manifest = try await layout.manifest(options.digest.map { .digest($0) } ?? .tag(options.tag)) else {
            return nil
        }
        let blobs = LeasedSource(layout: layout, lease: lease)
        var cache = try await ImportedCache(manifest: manifest, from: layout, layers: blobs, limits: limits)
        try await cache.removeMissing(from: layout)
        for warning in cache.warnings { progress(.warning(warning)) }
        return cache
    }
}

/// A layout whose blobs stay while somebody may still read them; damaged ones are found out and removed.
private struct LeasedSource: BlobSource {
    let layout: OCILayout
    let lease: Lease

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let stream = try await layout.open(descriptor, range: range)
        guard range == nil else { return stream }
        let verified = stream.verified(as: descriptor)
        var healing = BlobStream(length: stream.length) {
            var chunks = verified.makeAsyncIterator()
            return {
                do { return try await chunks.next() } catch let error as CacheError where error.code == .corrupted {
                    await layout.removeIfDamaged(descriptor)
                    throw error
                }
            }
        }
        healing.verified = verified.verified
        return healing
    }
}
