public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheOCI

/// An image for one platform: its documents, and its layers on demand.
///
/// Read by ``ImageStore/image(_:platform:)``, extended by ``appending(_:createdBy:createdAt:)``, stored by
/// ``ImageStore/publish(_:as:progress:)``:
///
/// ```swift
/// let base = try await images.image("base")
/// let layer = try await scratch.layer { try await .file(at: "app.tar") }
/// try await images.publish(base.appending(layer, createdBy: "COPY app /"), as: "app")
/// ```
public struct Image: Sendable {
    /// The manifest.
    public let manifest: ImageManifest
    /// The config.
    public let config: ImageConfig
    /// The layers, lowest first, each with its diffID, time and description as a cache describes a layer.
    public let layers: [Descriptor]
    /// The source of the layers.
    public let blobs: any BlobSource
    /// The manifest and the config as they are stored.
    public let documents: ImageDocuments

    /// Decodes the documents of an image.
    ///
    /// - Parameters:
    ///   - documents: Manifest and config, byte for byte.
    ///   - blobs: The source of the layers.
    /// - Throws: `CacheError` `.corrupted` if manifest and config are not those of one image.
    public init(_ documents: ImageDocuments, blobs: any BlobSource) throws(CacheError) {
        let built = try BuiltImage(documents)
        self.init(manifest: built.manifest, config: built.config, layers: built.layers, blobs, documents)
    }

    private init(
        manifest: ImageManifest, config: ImageConfig, layers: [Descriptor], _ blobs: any BlobSource,
        _ documents: ImageDocuments
    ) {
        self.manifest = manifest
        self.config = config
        self.layers = layers
        self.blobs = blobs
        self.documents = documents
    }

    /// The descriptor of the manifest.
    public var descriptor: Descriptor { manifestDocument.descriptor }

    var manifestDocument: RawDocument {
        RawDocument(mediaType: manifest.mediaType ?? .ociManifest, bytes: documents.manifest)
    }
    var configDocument: RawDocument {
        RawDocument(mediaType: manifest.config?.mediaType ?? .ociConfig, bytes: documents.config)
    }

    /// The image with one more layer on top; nothing is stored yet.
    ///
    /// Whatever else the config says stays as it is. A history that lacks steps of earlier layers is completed: readers count steps to
    /// find the one of a layer.
    ///
    /// - Parameters:
    ///   - layer: The layer with its diffID, such as one of ``ScratchStore/layer(createdAt:compression:ofTar:)``.
    ///   - createdBy: The step that made it, for people.
    ///   - createdAt: The time at which it was made, also of the image. Default: the layer's, if its descriptor says.
    /// - Throws: `CacheError` `.invalidSpec` for a descriptor without a diffID, or of another type than a layer's.
    public func appending(
        _ layer: StoredLayer, createdBy: String = "", createdAt: Timestamp? = nil
    ) throws(CacheError) -> Image {
        guard let diffID = layer.descriptor.diffID, layer.descriptor.mediaType.layer != nil else {
            throw CacheError(
                .invalidSpec,
                "invalid layer for an image: expected a type of layers and the annotation \(Annotation.uncompressed)",
                context: .init(subject: "\(layer.descriptor.digest)"))
        }
        let time = createdAt ?? layer.descriptor.createdAt
        var config = config
        let missing = config.diffIDs.count - config.history.count { !$0.isEmptyLayer }
        let unknown = ImageConfig.History(created: config.created, createdBy: "unknown")
        config.history += Array(repeating: unknown, count: max(0, missing))
        config.history.append(ImageConfig.History(created: time, createdBy: createdBy))
        config.diffIDs.append(diffID)
        config.created = time ?? config.created
        let bytes = try config.encode()

        var manifest = manifest
        manifest.layers.append(layer.descriptor.inImage(docker: manifest.mediaType == .dockerManifest))
        manifest.config?.digest = Digest(of: bytes)
        manifest.config?.size = Int64(bytes.count)
        let documents = ImageDocuments(manifest: manifest.encode().bytes, config: bytes)
        return try Image(
            documents, blobs: AppendedSource(digest: layer.descriptor.digest, layer: layer.source, rest: blobs))
    }
}

extension Descriptor {
    /// This layer as an image's manifest names it: what a cache notes of it, an image says in its config.
    func inImage(docker: Bool) -> Descriptor {
        var layer = self
        for note in Annotation.ofCaches { layer.annotations[note] = nil }
        layer.mediaType = layer.mediaType.asLayer(docker: docker)
        return layer
    }
}

extension Annotation {
    /// The annotations that a cache gives a layer.
    static let ofCaches = [uncompressed, createdAt, description]
}

/// The layers of an image, and the one on top of them.
private struct AppendedSource: BlobSource {
    let digest: Digest
    let layer: any BlobSource
    let rest: any BlobSource

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await (descriptor.digest == digest ? layer : rest).open(descriptor, range: range)
    }
}
