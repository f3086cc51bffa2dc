public import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
import BuildCacheHTTP
import BuildCacheOCI
public import BuildCacheSpec
@_exported public import BuildCacheTransfer
import Synchronization

/// A cache in a container of Azure's Blob Storage: `type=azblob`.
///
/// The cache is a blob with its config, under each of the names; its layers are blobs beside it, which caches of one container and prefix
/// share.
///
/// - **Permissions**: to read, `Storage Blob Data Reader` or a signature with `r`; to write, `Storage Blob Data Contributor` or `rcw`. A
///   container that is missing is made by an export, which needs the right to. Credentials are the account's key, a signature in
///   `account_url`, or those of ``AzureClient``.
/// - **Limits**: none on layers, and none on how long a transfer takes while bytes move. A layer goes in blocks of 4 MiB from 8 MiB on.
/// - **Concurrency**: of writers to one name the later wins whole, or with `WritePolicy.merge` none loses anything; each
///   write names the version it replaces, so a request that was sent again never undoes a later write. A reader sees a cache from before
///   or after, never between.
/// - **Faults**: a connection that breaks costs the blocks under way. Names are written last, so a failure leaves what was there.
/// - **Costs**: blobs that no cache needs any more stay until a prune or a lifecycle rule removes them. What is removed and was needed is a
///   miss, and the next export brings it back.
///
/// - Source: `spec/backends.md` §6; `spec/spec-syntax.md` §4, azblob.
public struct AzureBlobCache: CacheBackend {
    /// Where.
    public let options: AzureBlobOptions
    /// What an export takes and how it is written.
    public let export: ExportOptions
    /// How much a cache config may hold, read or written.
    ///
    /// Default as `CacheConfigLimits.init(maximumBytes:maximumEntries:)`.
    public var limits = CacheConfigLimits()
    private let scratch: ScratchStore
    let client: AzureClient

    /// Existence checks at once: they are small and mostly waiting.
    fileprivate static let checksInFlight = 16

    /// Makes a cache in the container of `options`.
    ///
    /// Contacts nobody yet.
    ///
    /// - Parameters:
    ///   - options: Where.
    ///   - export: What an export takes and how it is written.
    ///   - scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    ///   - client: Connections and credentials; share one.
    public init(
        _ options: AzureBlobOptions, export: ExportOptions = ExportOptions(), scratch: ScratchStore,
        client: AzureClient = .shared
    ) {
        self.options = options
        self.export = export
        self.scratch = scratch
        self.client = client
    }

    /// Four layers at once; a config that describes its layers itself.
    public var traits: BackendTraits { BackendTraits(name: "azblob", transfersInFlight: 4, envelope: .bareConfig) }

    // MARK: Exporting

    /// Writes the layers, then the config under each name.
    ///
    /// See `CacheBackend.exportCache(_:from:progress:)`. Layers that are older than a day are renewed.
    ///
    /// - Throws: `CacheError` `.denied`, `.unavailable`, `.busy` if others write the same name all the time.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        try await running("export", at: "azblob", progress: progress) {
            let container = try client.container(options)
            let present = try await container.kept(graph.unconverted(export))
            var bare = try await BareExport(
                graph, from: source, options: export, scratch: scratch, limits: limits, limit: traits.transfersInFlight,
                progress: progress
            ) { descriptor, blob in
                if let outcome = present[descriptor.digest] { return outcome }
                return try await container.put(descriptor, from: blob)
            }
            guard let config = bare.config else { return bare.receipt }
            for name in options.names {
                let written = try await container.publish(
                    as: name, limit: limits.maximumBytes, replacesArchived: export.replacesOtherContent
                ) { current in
                    if !export.replacesOtherContent {
                        try CacheDocuments.checkReplaceable(config: current ?? [], name)
                    }
                    return export.writePolicy == .merge ? try bare.config(mergedWith: current) ?? config : config
                }
                bare.published(as: name, leadingTo: written, progress)
            }
            return bare.receipt
        }
    }

    // MARK: Importing

    /// Reads the configs under all names and unites what they hold.
    ///
    /// See `CacheBackend.importCache(progress:)`. Results with a layer that is not there are left out with a warning.
    /// Layers are read when somebody wants them, large ones in several ranges at once.
    ///
    /// - Returns: `nil` if the container is not there, or none of the names.
    /// - Throws: `CacheError` `.corrupted`, `.limitExceeded`, `.denied`, `.unavailable`.
    public func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        try await running("import", at: "azblob", progress: progress) {
            let container = try client.container(options)
            let limit = limits.maximumBytes
            let found = try await options.names.mapConcurrently(limit: AzureBlobCache.checksInFlight) {
                name -> (name: String, bytes: [UInt8])? in
                let config = try await container.config(name, limit: limit)
                // A blob without bytes is the placeholder of a folder.
                return config.flatMap { $0.bytes.isEmpty ? nil : (name: name, bytes: $0.bytes) }
            }
            let configs = found.compactMap { $0 }
            guard !configs.isEmpty else { return nil }
            var cache = try ImportedCache(
                configs: configs, layers: DamageNotingSource(container) { container.noteDamage($0) },
                limits: limits)
            let archived = Mutex<Set<Digest>>([])
            try await cache.removeMissing(archived: { digest in
                archived.withLock { $0.contains(digest) } ? BlobProperties.archived : nil
            }) { layers in
                try await container.whole(layers) { digest in archived.withLock { _ = $0.insert(digest) } }
            }
            for problem in cache.problems { progress(.problem(problem)) }
            return cache
        }
    }
}

extension AzureContainer {
    /// What became of those of the layers that are there and have the right size: old ones are renewed.
    fileprivate func kept(_ layers: [Descriptor]) async throws -> [Digest: PutOutcome] {
        let outcomes = try await layers.mapConcurrently(limit: AzureBlobCache.checksInFlight) {
            layer -> (Digest, PutOutcome)? in
            guard let stat = try await stat(layer.digest), stat.size == layer.size else { return nil }
            return try await keep(layer.digest, stat).map { (layer.digest, $0) }
        }
        return Dictionary(outcomes.compactMap { $0 }) { first, _ in first }
    }

    /// Those of the layers that are there, have the right size and can be read.
    ///
    /// - Parameter noteArchived: Called with layers that are archived.
    fileprivate func whole(
        _ layers: [Descriptor], _ noteArchived: @escaping @Sendable (Digest) -> Void
    ) async throws -> Set<Digest> {
        let found = try await layers.mapConcurrently(limit: AzureBlobCache.checksInFlight) { layer -> Digest? in
            guard let properties = try await properties(layer.digest) else { return nil }
            if properties.isArchived { noteArchived(layer.digest) }
            let isWhole = properties.size == layer.size && !properties.isArchived && !isDamaged(layer.digest)
            return isWhole ? layer.digest : nil
        }
        return Set(found.compactMap { $0 })
    }

    /// The config under a name and the version it is of, `nil` if there is none.
    fileprivate func config(_ name: String, limit: Int) async throws -> (bytes: [UInt8], etag: String?)? {
        try await blob(named: names.manifest(name)).document(limit: limit, retries: requests.transport.retries())
    }

    /// Writes under a name what `make` makes of the version that is there, in its place and no other's.
    ///
    /// The condition makes a request that was sent again, because its answer got lost, harmless: it cannot undo what somebody wrote
    /// meanwhile.
    ///
    /// - Parameter replacesArchived: Whether a config in the archive tier, which may be something else, is removed.
    fileprivate func publish(
        as name: String, limit: Int, replacesArchived: Bool, _ make: (_ current: [UInt8]?) throws -> RawDocument
    ) async throws -> RawDocument {
        let blob = try blob(named: names.manifest(name))
        return try await SwapLoop(clock: requests.transport.clock).run(name) {
            let old: (bytes: [UInt8], etag: String?)?
            do { old = try await config(name, limit: limit) } catch let error as CacheError
                where error.cause is ArchivedBlob
            {
                guard replacesArchived else { throw CacheError.unreadable(name, BlobProperties.archived) }
                let etag = try await blob.properties(retries: requests.transport.retries())?.etag
                if let etag { _ = try await blob.remove(ifUnchanged: etag, retries: requests.transport.retries()) }
                return nil
            }
            let made = try make(old?.bytes)
            if made.bytes == old?.bytes { return made }
            let condition: BlockBlob.Condition =
                if let old { old.etag.map { .unchanged(etag: $0) } ?? .none } else { .absent }
            let written = try await makingContainer {
                try await blob.put(made.bytes, condition, retries: requests.transport.retries())
            }
            return written == .written ? made : nil
        }
    }
}
