import BuildCacheBytes
import BuildCacheCore
import BuildCacheOCI

/// An image whose documents were read, so that they can be changed.
struct BuiltImage {
    let manifest: ImageManifest
    let config: ImageConfig
    private let documents: ImageDocuments
    /// The layers, each with its diffID.
    let layers: [Descriptor]

    /// - Throws: `CacheError` `.corrupted` if manifest and config are not those of one image.
    init(_ documents: ImageDocuments) throws(CacheError) {
        guard case .image(let manifest) = try Document(decoding: documents.manifest), let descriptor = manifest.config
        else { throw BuiltImage.invalid("the manifest is not that of an image; for an index give each of its images") }
        guard Digest(of: documents.config) == descriptor.digest else {
            throw BuiltImage.invalid("the manifest names the config \(descriptor.digest), and another one was given")
        }
        config = try ImageConfig(decoding: documents.config)
        guard let layers = config.cacheLayers(of: manifest) else {
            throw BuiltImage.invalid(
                "the manifest has \(manifest.layers.count) layers, the config \(config.diffIDs.count)")
        }
        self.manifest = manifest
        self.documents = documents
        self.layers = layers
    }

    private static func invalid(_ message: String) -> CacheError {
        CacheError(.corrupted, message)
    }

    /// The image with `records` inside and its layers as they are stored now.
    func embedding(_ records: [UInt8]?, _ stored: [StoredLayer]) throws(CacheError) -> EmbeddedImage {
        var manifest = manifest
        var diffIDs = config.diffIDs
        var converted: [Descriptor] = []
        var sources: [Digest: any BlobSource] = [:]
        for (place, layer) in stored.enumerated() where layer.descriptor.digest != layers[place].digest {
            var descriptor = layer.descriptor
            descriptor = descriptor.inImage(docker: manifest.mediaType == .dockerManifest)
            for note in Annotation.ofCaches {
                descriptor.annotations[note] = manifest.layers[place].annotations[note]
            }
            diffIDs[place] = layer.descriptor.diffID ?? diffIDs[place]
            manifest.layers[place] = descriptor
            converted.append(descriptor)
            sources[descriptor.digest] = layer.source
        }

        var bytes = documents.config
        if records != nil || config.inlineCache != nil || diffIDs != config.diffIDs {
            bytes = try ImageConfig.settingInlineCache(
                records, diffIDs: diffIDs == config.diffIDs ? nil : diffIDs, in: documents.config)
        }
        let mediaType = manifest.config?.mediaType ?? .ociConfig
        let newConfig = RawDocument(mediaType: mediaType, bytes: bytes)
        var newManifest = RawDocument(mediaType: manifest.mediaType ?? .ociManifest, bytes: documents.manifest)
        if newConfig.digest != manifest.config?.digest || !converted.isEmpty {
            manifest.config?.digest = newConfig.digest
            manifest.config?.size = Int64(bytes.count)
            newManifest = manifest.encode()
        }
        return EmbeddedImage(
            manifest: newManifest, config: newConfig, convertedLayers: converted,
            blobs: ConvertedLayers(sources: sources))
    }
}

/// The layers of an image that are new.
private struct ConvertedLayers: BlobSource {
    let sources: [Digest: any BlobSource]

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        guard let source = sources[descriptor.digest] else {
            throw CacheError(
                .notFound, "this layer was not converted; it is where it was",
                context: .init(backend: "inline", subject: descriptor.digest.description))
        }
        return try await source.open(descriptor, range: range)
    }
}
