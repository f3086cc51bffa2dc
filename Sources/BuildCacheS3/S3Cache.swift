public import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI
public import BuildCacheSpec
@_exported public import BuildCacheTransfer
import Synchronization

/// A cache in a bucket: `type=s3`, at Amazon or at any service that speaks like it.
///
/// The cache is an object for each of its names, `<prefix><manifests_prefix><name>`, which describes the layers; each layer is an
/// object `<prefix><blobs_prefix>sha256:<hex>`. Caches with the same prefixes share layers.
///
/// - **Permissions**: `s3:GetObject` and `s3:ListBucket` to read; also `s3:PutObject` and `s3:AbortMultipartUpload` to write. With
///   `s3:ListBucketMultipartUploads` an export cleans up what others left behind.
/// - **Limits**: 48.8 TiB a layer, or what the service allows an object; none on the config.
/// - **Concurrency**: of writers to one name the later wins whole, or with `WritePolicy.merge` none loses anything: that
///   takes a service with conditional writes, as Amazon, MinIO, R2 and SeaweedFS have. A reader sees a cache from before or after, never
///   between.
/// - **Faults**: a connection that breaks costs the bytes under way. Names are written last, so a failure leaves what was there.
/// - **Costs**: layers stay until a prune or lifecycle rules of the bucket remove them; `touch_refresh` keeps those in use.
///
/// - Source: `spec/backends.md` §5; `spec/spec-syntax.md` §4, s3.
public struct S3Cache: CacheBackend {
    /// Where.
    public let options: S3Options
    /// What an export takes and how it is written.
    public let export: ExportOptions
    /// How much a cache config may hold, read or written.
    ///
    /// Default as `CacheConfigLimits.init(maximumBytes:maximumEntries:)`.
    public var limits = CacheConfigLimits()
    let client: S3Client
    private let scratch: ScratchStore

    /// Layers that are renewed at once.
    private static let refreshesInFlight = 8

    /// Makes a cache in the bucket of `options`.
    ///
    /// Contacts nobody yet.
    ///
    /// - Parameters:
    ///   - options: Where.
    ///   - export: What an export takes and how it is written.
    ///   - scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    ///   - client: Credentials, and what is known about services; share one.
    public init(
        _ options: S3Options, export: ExportOptions = ExportOptions(), scratch: ScratchStore,
        client: S3Client = .shared
    ) {
        self.options = options
        self.export = export
        self.scratch = scratch
        self.client = client
    }

    /// `upload_parallelism` layers at once; a config that describes its layers itself.
    public var traits: BackendTraits {
        BackendTraits(name: "s3", transfersInFlight: options.uploadParallelism, envelope: .bareConfig)
    }

    // MARK: Exporting

    /// Writes the layers, then the config under all its names.
    ///
    /// See `CacheBackend.exportCache(_:from:progress:)`. Layers that are older than `touch_refresh` are renewed.
    ///
    /// - Throws: `CacheError` `.denied` with the permission that is missing, `.notFound` without the bucket,
    ///   `.invalidSpec` for another region, `.unavailable`, `.storageFull`.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        try await progress.reportingPauses { try await export(graph, from: source, progress) }
    }

    private func export(
        _ graph: LayerGraph, from source: LayerSource, _ progress: ProgressSink
    ) async throws -> ExportReceipt {
        let bucket = try await S3Bucket(options, client: client)
        if !export.replacesOtherContent { try await checkReplaceable(in: bucket) }
        let layers = graph.unconverted(export)
        let found = try await bucket.find(layers.map(\.digest))
        let kept = try await keep(layers, found, in: bucket)
        let asked = Set(layers.map(\.digest))
        let sent = SentLayers()
        var outcome = try await BareExport(
            graph, from: source, options: export, scratch: scratch, limits: limits, limit: traits.transfersInFlight,
            progress: progress
        ) { descriptor, blob in
            let digest = descriptor.digest
            if let outcome = kept[digest] {
                // A prune that looked just before this was renewed may yet remove it: it is looked for again, as what was sent is.
                if outcome == .refreshed { sent.add(descriptor, blob) }
                return outcome
            }
            let outcome =
                asked.contains(digest)
                ? try await bucket.upload(descriptor, from: blob, replacing: found[digest] != nil)
                : try await bucket.put(descriptor, from: blob)
            sent.add(descriptor, blob)
            return outcome
        }
        guard let config = outcome.config else { return outcome.receipt }
        try await complete(sent, in: bucket)
        for name in options.names {
            let written = try await bucket.reporting("publish", name) {
                guard export.writePolicy == .merge else {
                    try await bucket.putObject(bucket.keys.manifest(name), config.bytes)
                    return config
                }
                return try await bucket.swapObject(bucket.keys.manifest(name), limit: limits.maximumBytes) {
                    try outcome.config(mergedWith: $0) ?? config
                }
            }
            outcome.published(as: name, leadingTo: written, progress)
        }
        return outcome.receipt
    }

    /// Checks that every name that leads anywhere leads to a cache; asked before anything is sent.
    ///
    /// - Throws: `CacheError` `.occupied`.
    private func checkReplaceable(in bucket: S3Bucket) async throws {
        for name in options.names {
            try await bucket.reporting("export", name) {
                let current: [UInt8]?
                do {
                    current = try await bucket.object(bucket.keys.manifest(name), limit: limits.maximumBytes)
                } catch let failure as S3Failure {
                    if let archived = failure.archived { throw CacheError.unreadable(name, archived) }
                    throw failure
                }
                try CacheDocuments.checkReplaceable(config: current ?? [], name)
            }
        }
    }

    /// Looks once more whether all that was sent is there, before a name leads to it, and sends what is not.
    ///
    /// A try that broke off may be noticed by the service only after the next one succeeded, and leave less than was there.
    private func complete(_ sent: SentLayers, in bucket: S3Bucket) async throws {
        guard !sent.layers.isEmpty else { return }
        let found = try await bucket.find(sent.layers.keys)
        let lost = sent.layers.values.filter { found[$0.descriptor.digest]?.size != $0.descriptor.size }
        _ = try await lost.mapConcurrently(limit: traits.transfersInFlight) {
            try await bucket.upload($0.descriptor, from: $0.source, replacing: true)
        }
        await bucket.abortLeftovers()
    }

    /// Renews the layers that are there, whole, and old.
    private func keep(
        _ layers: [Descriptor], _ found: [Digest: BlobStat], in bucket: S3Bucket
    ) async throws -> [Digest: PutOutcome] {
        let outcomes = try await layers.mapConcurrently(limit: S3Cache.refreshesInFlight) {
            descriptor -> (Digest, PutOutcome)? in
            guard let stat = found[descriptor.digest], stat.size == descriptor.size else { return nil }
            return try await bucket.keep(descriptor, stat).map { (descriptor.digest, $0) }
        }
        return Dictionary(outcomes.compactMap { $0 }) { first, _ in first }
    }

    // MARK: Importing

    /// Reads the caches under all names of the options; BuildKit reads the first alone.
    ///
    /// See `CacheBackend.importCache(progress:)`. Results with a layer that the bucket does not have are left out
    /// with a warning. Layers are read when somebody wants them, large ones in several ranges at once.
    ///
    /// - Returns: `nil` if none of the names is there.
    /// - Throws: `CacheError` `.corrupted`, `.limitExceeded`, `.denied`, `.unavailable`; `.notFound` without the bucket.
    public func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        try await progress.reportingPauses { try await imported(progress) }
    }

    private func imported(_ progress: ProgressSink) async throws -> ImportedCache? {
        let bucket = try await S3Bucket(options, client: client)
        let configs = try await options.names.mapConcurrently(limit: traits.transfersInFlight) {
            name -> (name: String, bytes: [UInt8])? in
            try await bucket.reporting("import", name) { () -> (name: String, bytes: [UInt8])? in
                let bytes = try await bucket.object(bucket.keys.manifest(name), limit: limits.maximumBytes)
                // An object without bytes is the placeholder of a folder.
                return bytes.flatMap { $0.isEmpty ? nil : (name: name, bytes: $0) }
            }
        }.compactMap { $0 }
        guard !configs.isEmpty else { return nil }
        var cache = try ImportedCache(
            configs: configs, layers: DamageNotingSource(bucket) { bucket.noteDamage($0) }, limits: limits)
        let archived = Mutex<[Digest: ArchivedBlob]>([:])
        try await cache.removeMissing(archived: { digest in archived.withLock { $0[digest] } }) { layers in
            // With credentials that may read the config and not list, a layer that is not there looks forbidden.
            let told = try await bucket.findAll(layers.map(\.digest), isLenient: true)
            archived.withLock { $0 = told.archived }
            return Set(layers.filter { told.found[$0.digest]?.size == $0.size }.map(\.digest))
        }
        for problem in cache.problems { progress(.problem(problem)) }
        return cache
    }
}

/// The layers that an export sent, to be looked for again.
private final class SentLayers: Sendable {
    private let sent = Mutex<[Digest: (descriptor: Descriptor, source: any BlobSource)]>([:])

    var layers: [Digest: (descriptor: Descriptor, source: any BlobSource)] { sent.withLock { $0 } }

    func add(_ descriptor: Descriptor, _ source: any BlobSource) {
        sent.withLock { $0[descriptor.digest] = (descriptor, source) }
    }
}
