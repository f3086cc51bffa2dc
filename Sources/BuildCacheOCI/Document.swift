public import BuildCacheCore

/// What the document under a cache's name turns out to be.
///
/// Its content decides, not what a registry or an index says of it: an ordinary image and a cache can have one media type.
///
/// - Source: `Documentation/Spec/cache-format.md` §6.1; BuildKit util/imageutil/config.go and cache/remotecache/import.go.
@nonexhaustive
public enum Document: Hashable, Sendable {
    /// A build cache; ``CacheManifest/layout`` says in which of the three forms.
    case cache(CacheManifest)
    /// An image, which may have a cache in its config.
    case image(ImageManifest)
    /// An index of images, each of which may have a cache in its config.
    case index(ImageIndex)

    /// The default for the most bytes a document may have, 64 MiB.
    public static let defaultLimit = 64 << 20

    /// The most bytes of a cache's manifest, and of its cache config, that BuildKit imports from a registry or a directory.
    ///
    /// BuildKit exports larger ones without a word.
    public static let buildKitDocumentLimit = 1_048_576

    /// Tells what `bytes` are and decodes them.
    ///
    /// A document with `config` or `layers` is a manifest, any other an index. It is a cache if its config, or an entry of
    /// the index, is a cache config; of several entries the last one counts.
    ///
    /// - Parameters:
    ///   - bytes: The JSON.
    ///   - limit: The most bytes to accept.
    /// - Throws: `CacheError` `.limitExceeded`; `.corrupted` if `bytes` are no JSON of such a document, if a known
    ///   `mediaType` contradicts the content, or if the content is that of a manifest and of an index;
    ///   `.unsupported` if a digest is not SHA-256.
    public init(decoding bytes: [UInt8], limit: Int = defaultLimit) throws(CacheError) {
        let fields = try ManifestFields(bytes, limit: limit)
        for unusable in [fields.unusableEntries, fields.unusableSubject] {
            if let error = unusable.errors.first { throw error }
        }
        try self.init(fields)
    }

    /// Tells what `bytes` are and decodes what can be used of them: all but some entries of its list, and perhaps its subject.
    ///
    /// An index, and a cache's list of layers, are good without some entries. The layers of an image are not, but they still are what it
    /// leads to.
    ///
    /// - Parameters:
    ///   - bytes: The JSON.
    ///   - limit: The most bytes to accept.
    ///   - unusable: Notes the entries that the document returned is without.
    /// - Throws: `CacheError` as ``init(decoding:limit:)``, not for single entries.
    package init(
        decoding bytes: [UInt8], limit: Int = defaultLimit, leavingOut unusable: inout UnusableEntries
    ) throws(CacheError) {
        let fields = try ManifestFields(bytes, limit: limit)
        try self.init(fields)
        unusable.note(fields.unusableEntries)
    }

    private init(_ fields: ManifestFields) throws(CacheError) {
        self = try fields.isManifest ? Document.manifest(fields) : Document.index(fields)
    }

    /// What the document needs to be whole: layers and config, or the manifests of an index.
    ///
    /// The ``ImageManifest/subject`` is not among them.
    public var references: [Descriptor] {
        switch self {
        case .cache(let cache): cache.layers + [cache.config]
        case .image(let image): image.layers + (image.config.map { [$0] } ?? [])
        case .index(let index): index.manifests
        }
    }

    private static func manifest(_ fields: ManifestFields) throws(CacheError) -> Document {
        // Two readers that disagree about such a document could be shown two different images.
        guard !fields.hasManifests else {
            throw CacheError(
                .corrupted, "manifest has the content of an image manifest and of an index: refusing to choose")
        }
        guard fields.mediaType != .ociIndex, fields.mediaType != .dockerManifestList else {
            throw fields.contradiction("an image manifest")
        }
        if let config = fields.config, config.mediaType == .cacheConfig {
            return .cache(CacheManifest(config: config, layers: fields.layers, layout: .imageManifest))
        }
        return .image(
            ImageManifest(
                mediaType: fields.mediaType, artifactType: fields.artifactType, config: fields.config,
                layers: fields.layers, subject: fields.subject, annotations: fields.annotations))
    }

    private static func index(_ fields: ManifestFields) throws(CacheError) -> Document {
        guard fields.mediaType != .ociManifest, fields.mediaType != .dockerManifest else {
            throw fields.contradiction("an index")
        }
        if let config = fields.manifests.last(where: { $0.mediaType == .cacheConfig }) {
            let layers = fields.manifests.filter { $0.mediaType != .cacheConfig }
            // BuildKit takes an index without media type for Docker's. The names of the layers tell more.
            let isDocker =
                switch fields.mediaType {
                case .dockerManifestList?: true
                case .ociIndex?: false
                default: layers.contains { $0.mediaType.layer?.isDocker == true }
                }
            return .cache(CacheManifest(config: config, layers: layers, layout: isDocker ? .dockerList : .ociIndex))
        }
        return .index(
            ImageIndex(
                mediaType: fields.mediaType, artifactType: fields.artifactType, manifests: fields.manifests,
                subject: fields.subject, annotations: fields.annotations))
    }
}

/// Every field of manifests and indexes, before it is decided which of the two the document is.
private struct ManifestFields {
    var mediaType: MediaType?
    var artifactType: String?
    var config: Descriptor?
    var layers: [Descriptor] = []
    var manifests: [Descriptor] = []
    var subject: Descriptor?
    var annotations: [String: String] = [:]
    // Whether the key is there at all, be it with null: this is what BuildKit goes by.
    var isManifest = false
    var hasManifests = false
    // Of `layers` and `manifests`.
    var unusableEntries = UnusableEntries()
    var unusableSubject = UnusableEntries()

    init(_ bytes: [UInt8], limit: Int) throws(CacheError) {
        self = try readDocument(bytes, "manifest", limit: limit) { (reader) throws(CacheError) in
            try ManifestFields(&reader)
        }
    }

    private init(_ reader: inout JSONReader) throws(CacheError) {
        guard try reader.beginObject() else { throw reader.invalid("a manifest cannot be null") }
        while let key = try reader.nextKey() {
            switch key {
            case "schemaVersion": _ = try reader.integer()
            case "mediaType": mediaType = try reader.nonEmptyString().map { MediaType($0) }
            case "artifactType": artifactType = try reader.nonEmptyString()
            case "config":
                config = try reader.descriptor()
                isManifest = true
            case "layers":
                layers = try reader.descriptors(leavingOut: &unusableEntries)
                isManifest = true
            case "manifests":
                manifests = try reader.descriptors(leavingOut: &unusableEntries)
                hasManifests = true
            case "subject":
                subject =
                    try reader.value(notedIn: &unusableSubject) { (reader) throws(CacheError) in
                        try reader.descriptor()
                    } ?? nil
            case "annotations": annotations = try reader.stringsByKey()
            default: try reader.skipValue()
            }
        }
    }

    func contradiction(_ content: StaticString) -> CacheError {
        CacheError(.corrupted, "manifest says it is \(mediaType?.text ?? ""), but has the content of \(content)")
    }
}
