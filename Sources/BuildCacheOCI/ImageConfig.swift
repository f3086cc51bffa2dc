public import BuildCacheCore
import BuildCacheJSON

/// What an inline import needs of an image config.
///
/// - Source: `spec/cache-format.md` §6.2; OCI image-spec, config.md.
public struct ImageConfig: Hashable, Sendable {
    /// The diffIDs of the layers, bottom first.
    public var diffIDs: [DiffID] = []
    /// What made each layer: only the steps that have one.
    public var history: [Step] = []
    /// The JSON of the records of an inline cache, from `moby.buildkit.cache.v0`; `nil` for an image without.
    public var cacheRecords: [UInt8]?

    /// A step of an image's history.
    public struct Step: Hashable, Sendable {
        /// When it ran, as written; not every builder writes a valid time.
        public var createdAt: String?
        /// The command.
        public var createdBy: String?
    }

    /// Reads an image config.
    ///
    /// - Throws: ``/BuildCacheCore/CacheError`` `.corrupted` for what is none and for cache records that are not Base64;
    ///   `.limitExceeded` past `sizeLimit` bytes.
    public init(decoding bytes: [UInt8], sizeLimit: Int = ManifestDocument.defaultSizeLimit) throws(CacheError) {
        guard bytes.count <= sizeLimit else {
            throw CacheError(
                .limitExceeded, "the image config has \(bytes.count) bytes, more than the limit of \(sizeLimit)")
        }
        let result = bytes.withUnsafeBytes { buffer in
            Result { () throws(CacheError) in try ImageConfig(reading: buffer) }
        }
        self = try result.get()
    }

    private init(reading bytes: UnsafeRawBufferPointer) throws(CacheError) {
        var reader = JSONReader(bytes, document: "the image config")
        guard try reader.beginObject() else { throw reader.invalid("it is null") }
        while let key = try reader.nextKey() {
            switch key {
            case "rootfs": try readRootFS(&reader)
            case "history": try readHistory(&reader)
            case "moby.buildkit.cache.v0":
                guard let text = try reader.string() else { continue }
                guard let records = Base64.decode(text) else {
                    throw reader.invalid("moby.buildkit.cache.v0 is not Base64")
                }
                cacheRecords = records
            default: try reader.skipValue()
            }
        }
        try reader.finish()
    }

    private mutating func readRootFS(_ reader: inout JSONReader) throws(CacheError) {
        guard try reader.beginObject() else { return }
        while let key = try reader.nextKey() {
            switch key {
            case "diff_ids":
                diffIDs = []
                guard try reader.beginArray() else { continue }
                while try reader.nextElement() { diffIDs.append(try DiffID(try reader.string() ?? "")) }
            default: try reader.skipValue()
            }
        }
    }

    private mutating func readHistory(_ reader: inout JSONReader) throws(CacheError) {
        history = []
        guard try reader.beginArray() else { return }
        while try reader.nextElement() {
            var step = Step()
            var isEmpty = false
            if try reader.beginObject() {
                while let key = try reader.nextKey() {
                    switch key {
                    case "created": step.createdAt = try reader.string()
                    case "created_by": step.createdBy = try reader.string()
                    case "empty_layer": isEmpty = try reader.bool()
                    default: try reader.skipValue()
                    }
                }
            }
            if !isEmpty { history.append(step) }
        }
    }
}
