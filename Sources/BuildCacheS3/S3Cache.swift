public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
@_exported public import BuildCacheSpec
@_exported public import BuildCacheClient

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
/// - Source: `Documentation/Spec/backends.md` §5; `Documentation/Spec/spec-syntax.md` §4, s3.
public struct S3Cache: StoredCache, PrunableBackend {
    /// Where.
    public let options: S3Options
    /// The options of an export.
    public let export: ExportOptions
    /// Limits for a cache config, read or written.
    public let limits: CacheConfigLimits
    /// The store in which layers are converted.
    public let scratch: ScratchStore
    private let client: S3Client

    /// Makes a cache in the bucket of `options`.
    ///
    /// Contacts nobody yet.
    ///
    /// - Parameters:
    ///   - options: Where.
    ///   - export: What an export takes and how it is written.
    ///   - scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    ///   - client: Credentials, and what is known about services; share one.
    ///   - limits: Limits for a cache config, read or written.
    public init(
        _ options: S3Options, export: ExportOptions = ExportOptions(), scratch: ScratchStore,
        client: S3Client = .shared, limits: CacheConfigLimits = CacheConfigLimits()
    ) {
        self.options = options
        self.export = export
        self.scratch = scratch
        self.client = client
        self.limits = limits
    }

    /// `upload_parallelism` layers at once.
    public var traits: BackendTraits { BackendTraits(name: "s3", transfersInFlight: options.uploadParallelism) }

    /// Opens the bucket.
    ///
    /// An export refreshes layers that are older than `touch_refresh`. For a prune, all names under the manifests prefix and all layers under
    /// the blobs prefix count: caches that share the blobs prefix must share the manifests prefix, or their layers look unused. The grace
    /// period must be longer than `touch_refresh`, by the longest export. An object is looked at just before it is deleted, so one that is
    /// refreshed between these two requests is lost; exports look again, before they publish a name, for the layers that they refreshed. In a
    /// bucket with versions, a deleted object stays as an old version. A prune needs `s3:ListBucket`, `s3:GetObject` and `s3:DeleteObject`.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for options or a profile that cannot be used.
    public func openStore(for use: StoreUse) async throws -> some PrunableStore {
        S3Store(
            bucket: try await S3Bucket(options, client: client), cacheNames: options.names, limits: limits, use: use)
    }
}
