public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
@_exported public import BuildCacheSpec
@_exported public import BuildCacheClient

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
/// - Source: `Documentation/Spec/backends.md` §6; `Documentation/Spec/spec-syntax.md` §4, azblob.
public struct AzureBlobCache: StoredCache, PrunableBackend {
    /// Where.
    public let options: AzureBlobOptions
    /// The options of an export.
    public let export: ExportOptions
    /// Limits for a cache config, read or written.
    public let limits: CacheConfigLimits
    /// The store in which layers are converted.
    public let scratch: ScratchStore
    private let client: AzureClient

    /// Makes a cache in the container of `options`.
    ///
    /// Contacts nobody yet.
    ///
    /// - Parameters:
    ///   - options: Where.
    ///   - export: What an export takes and how it is written.
    ///   - scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    ///   - client: Connections and credentials; share one.
    ///   - limits: Limits for a cache config, read or written.
    public init(
        _ options: AzureBlobOptions, export: ExportOptions = ExportOptions(), scratch: ScratchStore,
        client: AzureClient = .shared, limits: CacheConfigLimits = CacheConfigLimits()
    ) {
        self.options = options
        self.export = export
        self.scratch = scratch
        self.client = client
        self.limits = limits
    }

    /// Four layers at once.
    public var traits: BackendTraits { BackendTraits(name: "azblob", transfersInFlight: 4) }

    /// Opens the container.
    ///
    /// An export refreshes layers that are older than a day. For a prune, all names under the manifests prefix and all layers under the blobs
    /// prefix count: caches that share the blobs prefix must share the manifests prefix, or their layers look unused. A blob is removed as the
    /// version that was listed, or not at all. BuildKit's exports do not refresh layers: where these go on, let the grace period be longer
    /// than layers that are in use get old. A prune needs `Storage Blob Data Contributor`, or a signature with `rld`.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for options that cannot be used.
    public func openStore(for use: StoreUse) async throws -> some PrunableStore {
        AzureStore(
            container: try client.container(options), cacheNames: options.names, limits: limits)
    }
}
