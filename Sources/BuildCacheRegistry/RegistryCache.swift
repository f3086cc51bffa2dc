public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
@_exported public import BuildCacheSpec
@_exported public import BuildCacheClient

/// A cache in a registry: `type=registry`.
///
/// The cache is a manifest in a repository, under a tag; its layers are blobs of that repository. Any number of tags share them. Reading
/// also takes any image with an inline cache, for one platform or several.
///
/// - **Permissions**: `pull` to read, `pull` and `push` to write. Credentials are Docker's, or come from ``RegistrySettings/credentials``.
/// - **Limits**: none on layers. BuildKit reads manifests and configs up to 1 MiB; an export of larger ones says so. Registries limit
///   manifests, too, most to 4 MiB.
/// - **Concurrency**: of writers to one tag the later wins whole, or with `WritePolicy.merge` none loses anything: they
///   tell each other of themselves by tags like `main.merge-…`, which are removed afterwards where the registry allows to delete. A reader
///   sees a cache from before or after, never between.
/// - **Faults**: a connection that breaks costs the bytes under way. The tag is moved last, so a failure leaves what was there.
/// - **Costs**: blobs that no tag needs any more stay until the registry collects them.
///
/// - Source: `Documentation/Spec/backends.md` §1; `Documentation/Spec/spec-syntax.md` §4, registry.
public struct RegistryCache: StoredCache, PrunableBackend {
    /// Where.
    public let options: RegistryOptions
    /// The options of an export.
    public let export: ExportOptions
    /// Limits for a cache config, read or written.
    public let limits: CacheConfigLimits
    /// The store in which layers are converted.
    public let scratch: ScratchStore
    let client: RegistryClient

    /// Makes a cache at the reference of `options`.
    ///
    /// Contacts nobody yet.
    ///
    /// - Parameters:
    ///   - options: Where.
    ///   - export: What an export takes and how it is written.
    ///   - scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    ///   - client: What is known about registries; share one.
    ///   - limits: Limits for a cache config, read or written.
    public init(
        _ options: RegistryOptions, export: ExportOptions = ExportOptions(), scratch: ScratchStore,
        client: RegistryClient = .shared, limits: CacheConfigLimits = CacheConfigLimits()
    ) {
        self.options = options
        self.export = export
        self.scratch = scratch
        self.client = client
        self.limits = limits
    }

    /// Four layers at once, as BuildKit.
    public var traits: BackendTraits { BackendTraits(name: "registry", transfersInFlight: 4) }

    /// Opens the repository of the reference.
    ///
    /// An export to a reference with a digest stores a manifest of another digest under that alone, with a problem: its tag stays.
    ///
    /// A prune sees all tags of the repository. A registry tells neither its blobs nor any age. So manifests of tags are removed, and the
    /// registry's own garbage collection frees blobs; the age of a tag is that of the newest result of its cache, which an export of old
    /// results does not change. A manifest is removed with all its tags, so it stays if one of them does. Only caches are removed, not images.
    /// A tag that is moved to the same manifest at the very moment when that is deleted is lost with it. A prune needs `pull` and `delete`.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if the settings of the registry cannot be used, `.unsupported` if the registry does not take the
    ///   layout of an export.
    public func openStore(for use: StoreUse) async throws -> some PrunableStore {
        let repository = try await RegistryRepository(options.ref, insecure: options.insecure, client: client)
        if use == .export { try repository.checkProfile(export) }
        return RegistryStore(
            repository: repository, ref: options.ref, layout: export.layout, limits: limits, use: use)
    }
}
