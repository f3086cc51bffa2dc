public import BuildCacheCore

/// The document that names a build cache in a registry or a directory: its cache config and its layers.
///
/// - Source: `Documentation/Spec/cache-format.md` §5 and §6.1; BuildKit cache/remotecache/export.go.
public struct CacheManifest: Hashable, Sendable {
    /// The cache config: records, links and the table of layers.
    public var config: Descriptor
    /// The layers, as a cache that BuildKit wrote has them: one for one those of the cache config, duplicates included.
    public var layers: [Descriptor]
    /// The form the document has.
    public var layout: ManifestLayout

    /// Makes a manifest of its parts.
    public init(config: Descriptor, layers: [Descriptor], layout: ManifestLayout) {
        self.config = config
        self.layers = layers
        self.layout = layout
    }

    /// The manifest in exactly the bytes BuildKit writes.
    ///
    /// Layers get OCI's or Docker's media types, as `layout` says. They are made distributable, as BuildKit does, and what
    /// was foreign loses its URLs with that. A blob listed twice stays twice: the positions are those of the cache config.
    public func encode() -> RawDocument {
        let layers = layers.map { layer in
            var layer = layer
            if layer.mediaType.layer?.isForeign == true { layer.urls = [] }
            layer.mediaType = layer.mediaType.asLayer(docker: layout.usesDockerTypes)
            return layer
        }
        return switch layout {
        case .imageManifest: ImageManifest(config: config, layers: layers).encode()
        // BuildKit puts the config last; readers find it by its media type.
        case .ociIndex: ImageIndex(manifests: layers + [config]).encode()
        case .dockerList: ImageIndex(mediaType: .dockerManifestList, manifests: layers + [config]).encode()
        }
    }
}
