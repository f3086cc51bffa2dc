public import BuildCacheCore
import BuildCacheJSON

/// The manifest around a cache config: which blob is the config, and which are its layers.
///
/// - Source: `spec/cache-format.md` §5; BuildKit `cache/remotecache/export.go`.
public struct CacheManifest: Hashable, Sendable {
    /// The cache config.
    public var config: Descriptor
    /// One descriptor per row of the config's layer table, in its order, duplicates included.
    public var layers: [Descriptor]
    /// How it is written.
    public var layout: ManifestLayout

    /// Makes a manifest.
    public init(config: Descriptor, layers: [Descriptor], layout: ManifestLayout) {
        self.config = config
        self.layers = layers
        self.layout = layout
    }

    /// The manifest byte for byte as BuildKit writes it, the layers under the names that the layout asks for.
    public func encode() -> RawDocument {
        let layers = layers.map { layer in
            var layer = layer
            layer.mediaType = layer.mediaType.asLayer(docker: layout.usesDockerTypes)
            return layer
        }
        let mediaType: MediaType =
            switch layout {
            case .imageManifest: .ociManifest
            case .ociIndex: .ociIndex
            case .dockerList: .dockerManifestList
            }
        var writer = JSONWriter(reservingCapacity: 400 * (layers.count + 1))
        writer.beginObject()
        writer.key("schemaVersion" as StaticString)
        writer.integer(2)
        writer.key("mediaType" as StaticString)
        writer.string(mediaType.text)
        if layout == .imageManifest {
            writer.key("config" as StaticString)
            writer.descriptor(config)
            writer.key("layers" as StaticString)
        } else {
            writer.key("manifests" as StaticString)
        }
        writer.beginArray()
        for layer in layers { writer.descriptor(layer) }
        if layout != .imageManifest { writer.descriptor(config) }
        writer.endArray()
        writer.endObject()
        return RawDocument(mediaType: mediaType, bytes: writer.bytes)
    }
}
