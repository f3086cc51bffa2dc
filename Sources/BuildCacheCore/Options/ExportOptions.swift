/// The options of every exporter.
///
/// - Source: `Documentation/Spec/spec-syntax.md` §3.
public struct ExportOptions: Hashable, Sendable {
    /// `mode`: which layers to take.
    ///
    /// Default `min`. Without effect on `inline`, which takes the image's.
    public var mode: CacheMode
    /// `ignore-error`: a failed export does not fail the build.
    ///
    /// Default `false`. Without effect on `inline`.
    public var ignoreError: Bool
    /// `compression`, `compression-level`, `force-compression`.
    ///
    /// BuildKit knows them on `registry` and `local` only, we on all.
    public var compression: CompressionOptions
    /// `oci-mediatypes` and `image-manifest`.
    ///
    /// Default an OCI image manifest. On `registry` and `local` only.
    public var layout: ManifestLayout
    /// Whether the cache that is there is replaced or merged with.
    ///
    /// Default ``WritePolicy/replace``. BuildKit has no such option, so the text of a spec has none either.
    public var writePolicy: WritePolicy
    /// Whether an export replaces an image, or anything else that is not a cache, where its name leads to one.
    ///
    /// Default `false`: such an export fails with `.occupied`. BuildKit replaces it, and so does a spec that is parsed leniently.
    public var replacesOtherContent: Bool

    /// Creates options; without arguments, BuildKit's defaults.
    public init(
        mode: CacheMode = .min, ignoreError: Bool = false, compression: CompressionOptions = CompressionOptions(),
        layout: ManifestLayout = .imageManifest, writePolicy: WritePolicy = .replace, replacesOtherContent: Bool = false
    ) {
        self.mode = mode
        self.ignoreError = ignoreError
        self.compression = compression
        self.layout = layout
        self.writePolicy = writePolicy
        self.replacesOtherContent = replacesOtherContent
    }
}

/// The treatment of the cache that is under the name of an export already.
@nonexhaustive
public enum WritePolicy: Hashable, Sendable, CaseIterable {
    /// The name leads to what was exported and to nothing else, as with BuildKit; of several exports at once the later wins whole.
    case replace
    /// The name leads to what was there and what was exported: parallel jobs that export to one name lose nothing.
    ///
    /// Records that are the same are one, and of those that both have, the result of the export counts, whose layers are known to be stored.
    /// Written by compare and swap, and again from the beginning if another writer was faster. The cache grows until it is pruned.
    case merge
}

/// Which layers an export takes: `mode=`.
///
/// - Source: `Documentation/Spec/layer-selection.md`.
public enum CacheMode: String, Hashable, Sendable, CaseIterable {
    /// The layers of the build's results and of every step whose layers are stored already. The default.
    case min
    /// The layers of every step; those that were never stored are made now.
    case max
}

/// The form of a cache's manifest: `oci-mediatypes` and `image-manifest`.
///
/// - Source: `Documentation/Spec/cache-format.md` §5.
@nonexhaustive
public enum ManifestLayout: Hashable, Sendable, CaseIterable {
    /// An OCI image manifest whose config is the cache config. The default.
    case imageManifest
    /// An OCI image index that lists the layers and, last, the cache config.
    case ociIndex
    /// A Docker manifest list of the same shape, with Docker's names for the layers.
    case dockerList

    /// Whether layers carry Docker's media types.
    public var usesDockerTypes: Bool { self == .dockerList }
}
