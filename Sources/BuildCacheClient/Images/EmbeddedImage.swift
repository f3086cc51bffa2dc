public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheOCI

/// An image with a cache in its config, for the caller to store where the image goes: first the layers, then config and manifest.
public struct EmbeddedImage: Sendable {
    /// The manifest, which names the changed config and layers.
    public var manifest: RawDocument
    /// The config with the cache inside; unchanged if no cache was to be had.
    public var config: RawDocument
    /// The layers that were converted and so are new, lowest first; none if the compression options left them as they were.
    public var convertedLayers: [Descriptor]
    /// Where ``convertedLayers`` can be read.
    public var blobs: any BlobSource

    /// Makes an image of its parts.
    public init(manifest: RawDocument, config: RawDocument, convertedLayers: [Descriptor], blobs: any BlobSource) {
        self.manifest = manifest
        self.config = config
        self.convertedLayers = convertedLayers
        self.blobs = blobs
    }
}
