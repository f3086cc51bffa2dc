public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph

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
/// - Source: `Documentation/Spec/backends.md` §2; `Documentation/Spec/spec-syntax.md` §4, local.
public struct LocalCache: StoredCache, PrunableBackend {
    /// The place and the name of the cache.
    public let options: LocalOptions
    /// The options of an export.
    public let export: ExportOptions
    /// Limits for a cache config, read or written.
    public let limits: CacheConfigLimits
    /// The store in which layers are converted.
    public let scratch: ScratchStore
    private let layout: OCILayout

    /// Makes a cache in the directory that `options` name: `dest` to export, `src` to import.
    ///
    /// Touches nothing yet.
    ///
    /// - Parameters:
    ///   - options: Where and under which name.
    ///   - export: What an export takes and how it is written.
    ///   - scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    ///   - limits: Limits for a cache config, read or written.
    /// - Throws: `CacheError` `.invalidSpec` if `options` name no directory.
    public init(
        _ options: LocalOptions, export: ExportOptions = ExportOptions(), scratch: ScratchStore,
        limits: CacheConfigLimits = CacheConfigLimits()
    ) throws(CacheError) {
        guard let path = options.dest ?? options.src, !path.isEmpty else {
            throw CacheError(
                .invalidSpec, "no directory is named: set dest to export or src to import",
                context: .init(backend: "local"))
        }
        self.init(options, export: export, scratch: scratch, limits: limits, layout: OCILayout(path: path))
    }

    /// Works on a layout of the caller's, which may have a faulty file system.
    package init(
        _ options: LocalOptions, export: ExportOptions, scratch: ScratchStore,
        limits: CacheConfigLimits = CacheConfigLimits(), layout: OCILayout
    ) {
        self.options = options
        self.export = export
        self.scratch = scratch
        self.limits = limits
        self.layout = layout
    }

    /// Four layers at once, as BuildKit.
    public var traits: BackendTraits { BackendTraits(name: "local", transfersInFlight: 4) }

    /// Opens the directory; an export makes it.
    ///
    /// An import reads the manifest, or the image, that the digest names, or else the tag. It changes nothing in the directory, and until the
    /// cache is closed, no reset or prune removes what the manifest leads to.
    ///
    /// A prune sees all tags. A removal keeps exports out, and imports while they look for their manifest: they wait, and so does this, up to
    /// ten seconds. Manifests that an imported cache still reads stay, with their tags. BuildKit waits for no lock, and does not refresh blobs
    /// that it finds present: while it exports to the directory, nothing can be removed.
    ///
    /// - Throws: `CacheError` `.busy` if others keep the directory locked for more than ten seconds; `.denied`, `.storageFull`, `.corrupted`
    ///   for a symbolic link inside the layout, `.unavailable`; for a prune also `.notFound` if the directory does not exist.
    public func openStore(for use: StoreUse) async throws -> some PrunableStore {
        try await LocalStore(layout, options, layout: export.layout, for: use)
    }
}
