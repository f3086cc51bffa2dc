public import BuildCacheCore
import BuildCacheJSON

/// What a manifest turned out to be, by its content.
public enum ManifestDocument: Hashable, Sendable {
    /// A cache of its own.
    case cache(CacheManifest)
    /// An ordinary image, whose config may hold an inline cache.
    case image(ImageManifest)
    /// An ordinary index; its entries lead to images and other indexes.
    case index([Descriptor])

    /// The most bytes of a manifest or config that are read unless the caller says otherwise: 64 MiB.
    public static let defaultSizeLimit = 64 << 20

    /// Tells what a document is.
    ///
    /// The content decides, as in BuildKit: `config` or `layers` make a manifest, anything else an index or list. A known `mediaType`
    /// that contradicts the content is an error; a missing or unknown one is not.
    ///
    /// - Throws: ``/BuildCacheCore/CacheError`` `.corrupted` for what is neither, `.limitExceeded` past `sizeLimit` bytes.
    /// - Source: `spec/cache-format.md` §6.1; BuildKit `util/imageutil/config.go: DetectManifestBlobMediaType`.
    public init(decoding bytes: [UInt8], sizeLimit: Int = defaultSizeLimit) throws(CacheError) {
        guard bytes.count <= sizeLimit else {
            throw CacheError(
                .limitExceeded, "the manifest has \(bytes.count) bytes, more than the limit of \(sizeLimit)")
        }
        let result = bytes.withUnsafeBytes { buffer in
            Result { () throws(CacheError) in try ManifestDocument(reading: buffer) }
        }
        self = try result.get()
    }

    private init(reading bytes: UnsafeRawBufferPointer) throws(CacheError) {
        var reader = JSONReader(bytes, document: "the manifest")
        var mediaType: MediaType?
        var config: Descriptor?
        var layers: [Descriptor]?
        var manifests: [Descriptor]?
        guard try reader.beginObject() else { throw reader.invalid("it is null") }
        while let key = try reader.nextKey() {
            switch key {
            case "mediaType": mediaType = try reader.string().map { MediaType($0) }
            case "config": config = reader.peek() == UInt8(ascii: "n") ? try reader.skipNull() : try reader.descriptor()
            case "layers": layers = try reader.descriptors()
            case "manifests": manifests = try reader.descriptors()
            default: try reader.skipValue()
            }
        }
        try reader.finish()

        let isManifest = config != nil || layers?.isEmpty == false
        guard !(isManifest && manifests?.isEmpty == false) else {
            throw CacheError(
                .corrupted, "the manifest has both layers and manifests, so it is neither an image nor an index")
        }
        try ManifestDocument.check(mediaType, isManifest: isManifest)
        if isManifest {
            if let config, config.mediaType == .cacheConfig {
                self = .cache(CacheManifest(config: config, layers: layers ?? [], layout: .imageManifest))
            } else {
                self = .image(ImageManifest(config: config, layers: layers ?? []))
            }
        } else {
            let entries = manifests ?? []
            // The last cache config counts, as for BuildKit; everything else is a layer.
            if let config = entries.last(where: { $0.mediaType == .cacheConfig }) {
                let layers = entries.filter { $0.mediaType != .cacheConfig }
                let layout: ManifestLayout = mediaType == .dockerManifestList ? .dockerList : .ociIndex
                self = .cache(CacheManifest(config: config, layers: layers, layout: layout))
            } else {
                self = .index(entries)
            }
        }
    }

    private static func check(_ mediaType: MediaType?, isManifest: Bool) throws(CacheError) {
        let contradicts =
            switch mediaType {
            case .some(.ociManifest), .some(.dockerManifest): !isManifest
            case .some(.ociIndex), .some(.dockerManifestList): isManifest
            default: false
            }
        guard contradicts, let mediaType else { return }
        throw CacheError(
            .corrupted,
            "the manifest says it is \(mediaType.text) but has the content of \(isManifest ? "a manifest" : "an index")"
        )
    }
}

/// An ordinary image: a config and layers.
public struct ImageManifest: Hashable, Sendable {
    /// The image config, `nil` when the manifest has none.
    public var config: Descriptor?
    /// The layers, bottom first.
    public var layers: [Descriptor]

    /// Makes a manifest.
    public init(config: Descriptor?, layers: [Descriptor]) {
        self.config = config
        self.layers = layers
    }
}

extension JSONReader {
    /// Passes over `null`.
    fileprivate mutating func skipNull() throws(CacheError) -> Descriptor? {
        try skipValue()
        return nil
    }
}
