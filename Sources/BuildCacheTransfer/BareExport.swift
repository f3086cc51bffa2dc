public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
public import BuildCacheOCI
public import BuildCacheSpec

/// An export to a store without manifests: s3, gha and azblob keep the cache config alone, which describes its layers itself, and so may
/// a backend of your own.
///
/// The layers are selected, converted and stored when this is made. What is left to the backend is to write ``config`` under its names, and
/// to say so with ``published(as:leadingTo:_:)``. What was written is read with ``ImportedCache/init(configs:layers:limits:)``.
///
/// - Source: `spec/cache-format.md` §5.2.
public struct BareExport: Sendable {
    /// What was done, without the names that were not written yet.
    public private(set) var receipt: ExportReceipt
    /// What each name should lead to; `nil` if no layer is left: then nothing is written, and a good cache stays.
    public let config: RawDocument?
    private let graph: LayerGraph
    private let limits: CacheConfigLimits

    /// Selects and converts layers, stores them, and encodes the config.
    ///
    /// No reader could import a layer without a diffID, so it is read to compute one; a layer that its source has lost by now takes the
    /// results above it along.
    ///
    /// - Parameters:
    ///   - graph: What was built.
    ///   - source: The layers.
    ///   - options: What to take and how to compress it; the layout does not count.
    ///   - scratch: Where layers are converted.
    ///   - limits: What the config will be read with.
    ///   - limit: Layers that are converted and stored at once.
    ///   - progress: Told of each layer.
    ///   - put: Stores one layer that has its final form, unless it is there.
    /// - Throws: `CacheError` `.limitExceeded` for a config past `limits`, `.storageFull` of the scratch store; `.notFound`, `.corrupted` or
    ///   `.limitExceeded` if the build has results and none of them has all its layers; what `put` throws; `CancellationError`.
    public init(
        _ graph: LayerGraph, from source: LayerSource, options: ExportOptions, scratch: ScratchStore,
        limits: CacheConfigLimits, limit: Int, progress: ProgressSink,
        put: @escaping @Sendable (Descriptor, any BlobSource) async throws -> PutOutcome
    ) async throws {
        let layers = try await LayerExport(
            graph, from: source, mode: options.mode, compression: options.compression, scratch: scratch,
            requiresDiffIDs: true, limit: limit, progress: progress, put: put)
        receipt = layers.receipt
        self.graph = layers.graph
        self.limits = limits
        guard layers.hasLayers else {
            config = nil
            return
        }
        config = RawDocument(
            mediaType: .cacheConfig, bytes: try layers.graph.encodeConfig(.annotated, within: limits).bytes)
    }

    /// ``config`` and all that the cache under a name holds: what to write in its place with `WritePolicy.merge`.
    ///
    /// Write it only if the cache still is `current`, and else begin again with what it is then.
    ///
    /// - Parameters:
    ///   - current: What is under the name.
    ///   - others: Caches that should be in there, too, and may not be.
    ///   - isNewer: Whether that is newer than this export: of a record that both have, its results count then. Else two writers that have
    ///     different ones would take turns for ever.
    /// - Returns: `current` itself if it holds everything already; `nil` without ``config``. A cache that cannot be read has nothing to keep.
    /// - Throws: `CacheError` `.limitExceeded` if the merged config, or the one that is there, is past the limits; `CancellationError`.
    public func config(
        mergedWith current: [UInt8]?, and others: [[UInt8]] = [], isNewer: Bool = false
    ) throws -> RawDocument? {
        guard config != nil else { return nil }
        var wanted = graph
        for other in others {
            if let known = try decoded(other) { try wanted.merge(known, onlyMissingResults: true) }
        }
        if let current, let known = try decoded(current) {
            guard let merged = try isNewer ? known.adding(wanted) : wanted.merged(over: known) else {
                return RawDocument(mediaType: .cacheConfig, bytes: current)
            }
            wanted = merged
        }
        return RawDocument(mediaType: .cacheConfig, bytes: try wanted.encodeConfig(.annotated, within: limits).bytes)
    }

    /// The graph of a config that another export wrote; `nil` for bytes that are not a cache config.
    private func decoded(_ config: [UInt8]) throws(CacheError) -> LayerGraph? {
        do throws(CacheError) {
            return try LayerGraph(decodingConfig: config, layers: .annotated, limits: limits)
        } catch {
            guard error.code == .corrupted else { throw error }
            return nil
        }
    }

    /// Notes that a name leads to a config now.
    ///
    /// - Parameters:
    ///   - name: What readers ask for.
    ///   - document: What was written; `nil` for ``config``.
    ///   - progress: Told of the name.
    public mutating func published(
        as name: String, leadingTo document: RawDocument? = nil, _ progress: ProgressSink
    ) {
        guard let document = document ?? config else { return }
        receipt.published[name] = document.descriptor
        progress(.published(name: name, document.digest))
    }
}

extension LayerGraph {
    /// The layers of an export that go as they are, so that a store can be asked for all of them beforehand.
    ///
    /// One that may be converted is looked for when its new digest is known.
    package func unconverted(_ options: ExportOptions) -> [Descriptor] {
        let wanted = options.compression
        return selected(options.mode).descriptors.values.filter {
            !wanted.force || (wanted.type != .estargz && $0.mediaType.layer?.compression == wanted.type)
        }
    }
}
