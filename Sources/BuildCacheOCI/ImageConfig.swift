public import BuildCacheCore

/// What a build cache needs of an image's config, and the cache it may carry itself.
///
/// - Source: `Documentation/Spec/cache-format.md` §6.2; OCI image-spec, config.md.
public struct ImageConfig: Hashable, Sendable {
    /// A step of the image's making.
    public struct History: Hashable, Sendable {
        /// When the step was made.
        public var created: Timestamp?
        /// What the step did, for people.
        public var createdBy: String
        /// Whether the step left the files alone, so that no layer belongs to it.
        public var isEmptyLayer: Bool

        /// Makes a step.
        public init(created: Timestamp? = nil, createdBy: String = "", isEmptyLayer: Bool = false) {
            self.created = created
            self.createdBy = createdBy
            self.isEmptyLayer = isEmptyLayer
        }
    }

    /// What the image runs on.
    public var platform: Platform
    /// The layers' uncompressed digests, lowest first.
    public var diffIDs: [DiffID]
    /// The steps, first to last.
    public var history: [History]
    /// When the image was made.
    public var created: Timestamp?
    /// The inline cache: a JSON array of records, still to be decoded.
    ///
    /// `nil` if the image has none.
    public var inlineCache: [UInt8]?
    /// The bytes that this was decoded from, with all that is not read here.
    var original: [UInt8]?

    /// The key of the inline cache, a base64 string.
    static let inlineCacheKey: StaticString = "moby.buildkit.cache.v0"

    /// The members that are read here.
    static let memberNames: [StaticString] = [
        "architecture", "created", "history", "os", "os.features", "os.version", "rootfs", "variant",
    ]

    /// Decodes an image config; ``encode()`` keeps members that are not listed here.
    ///
    /// - Parameters:
    ///   - bytes: The JSON.
    ///   - limit: The most bytes to accept.
    /// - Throws: `CacheError` `.limitExceeded`; `.corrupted` for other JSON, a time or base64 that is none; `.unsupported`
    ///   if a digest is not SHA-256.
    public init(decoding bytes: [UInt8], limit: Int = Document.defaultLimit) throws(CacheError) {
        self = try readDocument(bytes, "image config", limit: limit) { (reader) throws(CacheError) in
            try ImageConfig(&reader)
        }
        original = bytes
    }

    private init(_ reader: inout JSONReader) throws(CacheError) {
        platform = Platform(os: "", architecture: "")
        diffIDs = []
        history = []
        guard try reader.beginObject() else { throw reader.invalid("an image config cannot be null") }
        while let key = try reader.nextKey() {
            switch key {
            case "rootfs": diffIDs = try ImageConfig.diffIDs(&reader)
            case "created":
                guard let text = try reader.string() else { continue }
                created = try? Timestamp(text)
            case "history":
                history = try reader.list { (reader) throws(CacheError) in try History(&reader) }
            case ImageConfig.inlineCacheKey: inlineCache = try ImageConfig.inlineCache(&reader)
            default:
                if try !reader.readMember(key, of: &platform) { try reader.skipValue() }
            }
        }
    }

    private static func diffIDs(_ reader: inout JSONReader) throws(CacheError) -> [DiffID] {
        var diffIDs: [DiffID] = []
        guard try reader.beginObject() else { return diffIDs }
        while let key = try reader.nextKey() {
            switch key {
            case "diff_ids":
                diffIDs = try reader.list { (reader) throws(CacheError) in try DiffID(reader.string() ?? "") }
            default: try reader.skipValue()
            }
        }
        return diffIDs
    }

    private static func inlineCache(_ reader: inout JSONReader) throws(CacheError) -> [UInt8]? {
        if reader.peek() == UInt8(ascii: "n") {
            try reader.skipValue()
            return nil
        }
        guard let bytes = try reader.string({ Base64.decode($0) }) else {
            throw reader.invalid("the inline cache is not base64")
        }
        return bytes
    }
}

extension ImageConfig.History {
    fileprivate init(_ reader: inout JSONReader) throws(CacheError) {
        self.init()
        guard try reader.beginObject() else { return }
        while let key = try reader.nextKey() {
            switch key {
            case "created":
                guard let text = try reader.string() else { continue }
                created = try Timestamp(text)
            case "created_by": createdBy = try reader.string() ?? ""
            case "empty_layer": isEmptyLayer = try reader.bool()
            default: try reader.skipValue()
            }
        }
    }
}

// MARK: Inline cache

extension ImageConfig {
    /// The layers of `manifest`, whose config this is, as an inline cache refers to them: by position, and with the
    /// annotations that a cache's manifest would give them.
    ///
    /// A blob that occurs twice has the time of its own step each time; BuildKit gives both the last one's.
    ///
    /// - Returns: `nil` if the manifest has another number of layers than this config, as that of an attestation: such an
    ///   image has no usable cache. A history that is too short only leaves annotations out.
    public func cacheLayers(of manifest: ImageManifest) -> [Descriptor]? {
        guard manifest.layers.count == diffIDs.count else { return nil }
        let steps = history.filter { !$0.isEmptyLayer }
        return manifest.layers.indices.map { index in
            var layer = manifest.layers[index]
            layer.annotations[Annotation.uncompressed] = diffIDs[index].description
            // BuildKit crashes where steps are missing.
            guard index < steps.count else { return layer }
            if let created = steps[index].created { layer.annotations[Annotation.createdAt] = created.description }
            if !steps[index].createdBy.isEmpty { layer.annotations[Annotation.description] = steps[index].createdBy }
            return layer
        }
    }

    /// The image config `bytes` with `records` as its inline cache, or without one.
    ///
    /// Every other member keeps its value as it stands, without the space between tokens. Members are sorted by key, as
    /// BuildKit leaves them: it reads the config into a Go map and writes that. Of equal keys the last one stays; of the members that
    /// are read here also if they differ in upper and lower case, which are equal to readers.
    ///
    /// An image with a cache gets a history entry with a time for each of its layers, as BuildKit's own exporter writes it: a BuildKit that
    /// reads the cache crashes where an entry is missing, and drops the result where a time is.
    ///
    /// - Parameters:
    ///   - records: The JSON array of records; `nil` removes the cache.
    ///   - diffIDs: What the image's layers are now, if they were converted to eStargz or from it; `nil` leaves them.
    ///   - bytes: The config to change.
    ///   - limit: The most bytes of config to accept.
    /// - Throws: `CacheError` `.limitExceeded`, or `.corrupted` if `bytes` are no JSON object.
    /// - Source: BuildKit exporter/containerimage/writer.go `patchImageConfig`.
    public static func settingInlineCache(
        _ records: [UInt8]?, diffIDs: [DiffID]? = nil, in bytes: [UInt8], limit: Int = Document.defaultLimit
    ) throws(CacheError) -> [UInt8] {
        var members = try members(of: bytes, limit: limit)
        for name in memberNames { members.removeOverridden(name) }
        if let diffIDs, let place = members.place(of: "rootfs") {
            members[place].json = try replacingDiffIDs(in: members[place].json, with: diffIDs)
        }
        members.removeAll { $0.isNamed(inlineCacheKey) }
        if let records {
            let quote = [UInt8(ascii: "\"")]
            members.append(JSONMember(key: "\(inlineCacheKey)", json: quote + Base64.encode(records) + quote))
            let config = try ImageConfig(decoding: bytes, limit: limit)
            if !config.hasHistoryOfAllLayers {
                let history = members.last { $0.isNamed("history") }?.json
                members.removeAll { $0.isNamed("history") }
                members.append(JSONMember(key: "history", json: try config.completing(history: history, limit: limit)))
            }
        }

        var writer = JSONWriter(reservingCapacity: bytes.count + (records?.count ?? 0) * 4 / 3)
        writer.beginObject()
        for member in members.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
            writer.key(member.key)
            writer.compact(member.json)
        }
        writer.endObject()
        return writer.bytes
    }

    private var hasHistoryOfAllLayers: Bool {
        let steps = history.filter { !$0.isEmptyLayer }
        return steps.count >= diffIDs.count && steps.allSatisfy { $0.created != nil }
    }

    /// The history with a time for each step that made a layer, and with a step for each layer.
    private func completing(history old: [UInt8]?, limit: Int) throws(CacheError) -> [UInt8] {
        var entries: [[UInt8]] = []
        if let old {
            entries = try readDocument(old, "history of the image config", limit: limit) {
                (reader) throws(CacheError) in
                try reader.list { (reader) throws(CacheError) in Array(try reader.skipValue()) }
            }
        }
        let time = created ?? history.last { $0.created != nil }?.created ?? Timestamp(seconds: 0) ?? .zero
        var writer = JSONWriter()
        writer.beginArray()
        for (step, json) in zip(history, entries) {
            guard !step.isEmptyLayer, step.created == nil else {
                writer.compact(json)
                continue
            }
            writer.beginObject()
            writer.key("created")
            writer.timestamp(time)
            // An entry may be null.
            let members = json.first == UInt8(ascii: "{") ? try ImageConfig.members(of: json, limit: limit) : []
            for member in members where !member.isNamed("created") {
                writer.key(member.key)
                writer.compact(member.json)
            }
            writer.endObject()
        }
        let missing = diffIDs.count - history.count { !$0.isEmptyLayer }
        for _ in 0..<max(0, missing) {
            writer.beginObject()
            writer.key("created")
            writer.timestamp(time)
            writer.key("created_by")
            writer.string("unknown")
            writer.key("comment")
            writer.string("added by swift-build-cache, because the image had no history of this layer")
            writer.endObject()
        }
        writer.endArray()
        return writer.bytes
    }

    static func replacingDiffIDs(in rootfs: [UInt8], with diffIDs: [DiffID]) throws(CacheError) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        for member in try members(of: rootfs, limit: .max) where !member.isNamed("diff_ids") {
            writer.key(member.key)
            writer.compact(member.json)
        }
        writer.key("diff_ids")
        writer.strings(diffIDs.map(\.description))
        writer.endObject()
        return writer.bytes
    }

    static func members(of bytes: [UInt8], limit: Int) throws(CacheError) -> [JSONMember] {
        try readDocument(bytes, "image config", limit: limit) { (reader) throws(CacheError) in
            guard let members = try reader.members() else { throw reader.invalid("it cannot be null") }
            return members
        }
    }
}
