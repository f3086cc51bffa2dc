import BuildCacheCore
import NIOCore

/// Writes the table of contents of an eStargz layer, byte for byte as BuildKit does.
///
/// - Source: `Documentation/Spec/compression.md` §5.3; stargz-snapshotter `estargz/types.go: TOCEntry`.
struct TOCWriter {
    /// Where a chunk of a file is stored.
    struct Chunk {
        /// The offset of its gzip member in the blob.
        var member: Int64
        /// The offset in the file.
        var offset: Int64
        /// How many bytes it has, 0 if the file ends with it before it is full.
        var size: Int64
        var digest: Digest
    }

    // What was not moved to the tar yet.
    private var json = JSONWriter(indented: true)
    // The tar that holds the table, without its end: first room for the header, then the JSON.
    private var tar = ByteBuffer(repeating: 0, count: TarBlock.size)
    private var count = 0
    // The name last written for each number; only other names are written again.
    private var userNames: [Int64: [UInt8]] = [:]
    private var groupNames: [Int64: [UInt8]] = [:]

    init() {
        json.beginObject()
        json.key("version")
        json.integer(1)
        json.key("entries")
    }

    /// Adds an entry, with `digest` if it is a file, and its first chunk if it is not empty.
    ///
    /// - Parameter stored: How many bytes of the layer come before the entry's data.
    /// - Throws: `CacheError` `.limitExceeded` past ``ContentLimit``.
    mutating func add(
        _ entry: TarEntry, digest: Digest? = nil, chunk: Chunk? = nil, stored: Int64
    ) throws(CacheError) {
        let type =
            switch entry.kind {
            case .file: "reg"
            case .hardLink: "hardlink"
            case .symbolicLink: "symlink"
            case .characterDevice: "char"
            case .blockDevice: "block"
            case .directory: "dir"
            case .fifo: "fifo"
            }
        let isLink = entry.kind == .hardLink || entry.kind == .symbolicLink
        let isDevice = entry.kind == .characterDevice || entry.kind == .blockDevice
        try begin(entry.name, type)
        number("size", entry.size)
        if entry.modified != 0, let time = Timestamp(seconds: entry.modified) {
            json.key("modtime")
            json.timestamp(time)
        }
        text("linkName", isLink ? entry.linkName : [])
        number("mode", entry.mode)
        number("uid", entry.userID)
        number("gid", entry.groupID)
        text("userName", TOCWriter.ifChanged(&userNames, entry.userID, entry.userName))
        text("groupName", TOCWriter.ifChanged(&groupNames, entry.groupID, entry.groupName))
        number("offset", chunk?.member ?? 0)
        number("devMajor", isDevice ? entry.deviceMajor : 0)
        number("devMinor", isDevice ? entry.deviceMinor : 0)
        if !entry.attributes.isEmpty { add(entry.attributes) }
        if let digest {
            json.key("digest")
            json.digest(digest)
        }
        if let chunk { end(chunk) }
        json.endObject()
        try flush(stored: stored)
    }

    /// Adds a chunk of a file other than its first.
    ///
    /// - Throws: As ``add(_:digest:chunk:stored:)``.
    mutating func addChunk(of name: [UInt8], _ chunk: Chunk, stored: Int64) throws(CacheError) {
        try begin(name, "chunk")
        number("offset", chunk.member)
        end(chunk)
        json.endObject()
        try flush(stored: stored)
    }

    /// The tar that holds the table of contents, and where in it the JSON stands.
    ///
    /// - Throws: As ``add(_:digest:chunk:stored:)``.
    mutating func finish(stored: Int64) throws(CacheError) -> (tar: ByteBuffer, json: Range<Int>) {
        // A list that nothing was appended to is null in Go.
        if count == 0 { json.null() } else { json.endArray() }
        json.endObject()
        try flush(stored: stored)
        let json = TarBlock.size..<tar.writerIndex
        tar.setBuffer(TarBlock.header(ofFile: EStargz.tocName, size: Int64(json.count)), at: 0)
        // The padding, and the two blocks that end a tar.
        tar.writeRepeatingByte(0, count: TarBlock.padding(behind: Int64(json.count)) + 2 * TarBlock.size)
        return (tar, json)
    }

    // MARK: Pieces

    /// Moves what was written to the tar.
    private mutating func flush(stored: Int64) throws(CacheError) {
        let limit = ContentLimit.tocBytes(stored: stored)
        tar.writeBytes(json.takeBytes())
        guard tar.writerIndex - TarBlock.size <= limit else {
            throw CacheError(
                .limitExceeded,
                "the table of contents has more than \(limit) bytes for \(stored) bytes of the layer; use gzip or zstd")
        }
    }

    private mutating func begin(_ name: [UInt8], _ type: String) throws(CacheError) {
        guard count < ContentLimit.entries else {
            throw CacheError(
                .limitExceeded, "the table of contents has more than \(ContentLimit.entries) entries; use gzip or zstd")
        }
        if count == 0 { json.beginArray() }
        count += 1
        json.beginObject()
        json.key("name")
        json.string(utf8: name)
        json.key("type")
        json.string(type)
    }

    private mutating func end(_ chunk: Chunk) {
        number("chunkOffset", chunk.offset)
        number("chunkSize", chunk.size)
        json.key("chunkDigest")
        json.digest(chunk.digest)
    }

    private mutating func number(_ key: StaticString, _ value: Int64) {
        guard value != 0 else { return }
        json.key(key)
        json.integer(value)
    }

    private mutating func text(_ key: StaticString, _ value: [UInt8]) {
        guard !value.isEmpty else { return }
        json.key(key)
        json.string(utf8: value)
    }

    private mutating func add(_ attributes: [[UInt8]: [UInt8]]) {
        json.key("xattrs")
        json.beginObject()
        // Go sorts the keys of a map.
        for (name, value) in attributes.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            json.key(String(decoding: name, as: UTF8.self))
            json.verbatim([UInt8(ascii: "\"")] + Base64.encode(value) + [UInt8(ascii: "\"")])
        }
        json.endObject()
    }

    private static func ifChanged(_ names: inout [Int64: [UInt8]], _ id: Int64, _ name: [UInt8]) -> [UInt8] {
        guard !name.isEmpty, names[id] != name else { return [] }
        names[id] = name
        return name
    }
}
