public import BuildCacheCore

/// An image manifest, OCI's or Docker's: a config and the layers, lowest first.
///
/// Read by ``Document/init(decoding:limit:)``.
///
/// - Source: OCI image-spec, manifest.md; field order of its specs-go/v1/manifest.go.
public struct ImageManifest: Hashable, Sendable {
    /// The `mediaType` it states; older ones state none.
    public var mediaType: MediaType?
    /// What it is, if it is no image.
    public var artifactType: String?
    /// The image config; a cache config if this is a cache.
    public var config: Descriptor?
    /// The layers, lowest first; a blob may occur more than once.
    public var layers: [Descriptor]
    /// The manifest that this one says something about.
    public var subject: Descriptor?
    /// Free notes by key.
    public var annotations: [String: String]

    /// Makes a manifest; of OCI's type if nothing else is said.
    public init(
        mediaType: MediaType? = .ociManifest, artifactType: String? = nil, config: Descriptor?, layers: [Descriptor],
        subject: Descriptor? = nil, annotations: [String: String] = [:]
    ) {
        self.mediaType = mediaType
        self.artifactType = artifactType
        self.config = config
        self.layers = layers
        self.subject = subject
        self.annotations = annotations
    }

    /// The manifest as compact JSON in Go's field order.
    public func encode() -> RawDocument {
        var writer = JSONWriter(reservingCapacity: 256 * (layers.count + 2))
        writer.beginManifest(mediaType: mediaType, artifactType: artifactType)
        if let config {
            writer.key("config")
            writer.descriptor(config)
        }
        writer.key("layers")
        writer.descriptors(layers)
        writer.endManifest(subject: subject, annotations: annotations)
        return RawDocument(mediaType: mediaType ?? .ociManifest, bytes: writer.bytes)
    }
}

/// An index of manifests, one per platform as a rule: OCI's image index or Docker's manifest list.
///
/// Read by ``Document/init(decoding:limit:)``.
///
/// - Source: OCI image-spec, image-index.md; field order of its specs-go/v1/index.go.
public struct ImageIndex: Hashable, Sendable {
    /// The `mediaType` it states; older ones state none.
    public var mediaType: MediaType?
    /// What it is, if it is no image.
    public var artifactType: String?
    /// The manifests, or indexes, it lists.
    public var manifests: [Descriptor]
    /// The manifest that this index says something about.
    public var subject: Descriptor?
    /// Free notes by key.
    public var annotations: [String: String]

    /// Makes an index; of OCI's type if nothing else is said.
    public init(
        mediaType: MediaType? = .ociIndex, artifactType: String? = nil, manifests: [Descriptor],
        subject: Descriptor? = nil, annotations: [String: String] = [:]
    ) {
        self.mediaType = mediaType
        self.artifactType = artifactType
        self.manifests = manifests
        self.subject = subject
        self.annotations = annotations
    }

    /// The index as compact JSON in Go's field order.
    public func encode() -> RawDocument {
        var writer = JSONWriter(reservingCapacity: 256 * (manifests.count + 1))
        writer.beginManifest(mediaType: mediaType, artifactType: artifactType)
        writer.key("manifests")
        writer.descriptors(manifests)
        writer.endManifest(subject: subject, annotations: annotations)
        return RawDocument(mediaType: mediaType ?? .ociIndex, bytes: writer.bytes)
    }
}

extension JSONWriter {
    /// What manifests and indexes begin with.
    fileprivate mutating func beginManifest(mediaType: MediaType?, artifactType: String?) {
        beginObject()
        key("schemaVersion")
        integer(2)
        if let mediaType {
            key("mediaType")
            string(mediaType.text)
        }
        if let artifactType {
            key("artifactType")
            string(artifactType)
        }
    }

    /// What manifests and indexes end with.
    fileprivate mutating func endManifest(subject: Descriptor?, annotations: [String: String]) {
        if let subject {
            key("subject")
            descriptor(subject)
        }
        if !annotations.isEmpty {
            key("annotations")
            stringsByKey(annotations)
        }
        endObject()
    }
}
