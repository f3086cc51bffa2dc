import BuildCacheCore
import BuildCacheJSON

/// Reads the table of contents of an eStargz layer, whoever wrote it.
///
/// - Source: `spec/compression.md` §5.3; stargz-snapshotter `estargz/types.go: TOCEntry`.
enum TOCReader {
    // Larger chunks cannot be verified without holding them.
    private static let maximumChunkSize: Int64 = 64 << 20
    // Ten times what the largest images hold; what an entry takes in memory is more than the JSON that makes it.
    private static let maximumCount = 1 << 20

    /// The entries in `json`, in its order, each file with its chunks.
    ///
    /// - Throws: `CacheError` `.corrupted` for what is no table of contents, `.limitExceeded` for chunks above 64 MiB or
    ///   more than 2²⁰ entries and chunks.
    static func entries(_ json: UnsafeRawBufferPointer) throws(CacheError) -> [LazyLayer.Entry] {
        var reader = JSONReader(json, document: "table of contents")
        var entries: [LazyLayer.Entry] = []
        var count = 0
        guard try reader.beginObject() else { throw reader.invalid("it is null") }
        while let key = try reader.nextKey() {
            switch key {
            case "version":
                guard try reader.integer() == 1 else { throw reader.invalid("its version is not 1") }
            case "entries":
                guard try reader.beginArray() else { continue }
                while try reader.nextElement() {
                    count += 1
                    guard count <= maximumCount else {
                        throw CacheError(.limitExceeded, "the table of contents has more than \(maximumCount) entries")
                    }
                    try add(try row(&reader), to: &entries, reader)
                }
            default: try reader.skipValue()
            }
        }
        try reader.finish()
        for index in entries.indices { try complete(&entries[index], reader) }
        return entries
    }

    /// An element of `entries`.
    private struct Row {
        var name = ""
        var type = ""
        var linkName = ""
        var size: Int64 = 0
        var mode: Int64 = 0
        var digest: Digest?
        var offset: Int64 = 0
        var innerOffset: Int64 = 0
        var chunkOffset: Int64 = 0
        var chunkSize: Int64 = 0
        var chunkDigest: Digest?
    }

    private static func row(_ reader: inout JSONReader) throws(CacheError) -> Row {
        var row = Row()
        guard try reader.beginObject() else { throw reader.invalid("an entry is null") }
        while let key = try reader.nextKey() {
            switch key {
            case "name": row.name = try reader.string() ?? ""
            case "type": row.type = try reader.string() ?? ""
            case "linkName": row.linkName = try reader.string() ?? ""
            case "size": row.size = try reader.integer()
            case "mode": row.mode = try reader.integer()
            case "digest": row.digest = try digest(&reader)
            case "offset": row.offset = try reader.integer()
            case "innerOffset": row.innerOffset = try reader.integer()
            case "chunkOffset": row.chunkOffset = try reader.integer()
            case "chunkSize": row.chunkSize = try reader.integer()
            case "chunkDigest": row.chunkDigest = try digest(&reader)
            default: try reader.skipValue()
            }
        }
        return row
    }

    private static func digest(_ reader: inout JSONReader) throws(CacheError) -> Digest? {
        let text = try reader.string() ?? ""
        return text.isEmpty ? nil : try Digest(text)
    }

    private static func add(
        _ row: Row, to entries: inout [LazyLayer.Entry], _ reader: JSONReader
    ) throws(CacheError) {
        let path = EStargz.path(row.name)
        if row.type != "chunk" {
            guard row.size >= 0 else { throw reader.invalid("a file has a negative size") }
            guard let kind = LazyLayer.Entry.Kind(rawValue: row.type) else {
                throw reader.invalid("\(row.type.prefix(64).debugDescription) is no type of an entry")
            }
            entries.append(
                LazyLayer.Entry(
                    path: path, kind: kind, size: kind == .file ? row.size : 0, mode: row.mode,
                    linkTarget: row.linkName,
                    digest: row.digest))
            guard kind == .file, row.size > 0 else { return }
        }
        guard let last = entries.indices.last, entries[last].path == path, entries[last].kind == .file else {
            throw reader.invalid("a chunk does not follow its file")
        }
        // Files of one chunk written by old versions have the digest of the file only.
        guard let digest = row.chunkDigest ?? row.digest, row.offset >= 0, row.innerOffset >= 0, row.chunkOffset >= 0,
            row.chunkSize >= 0
        else { throw reader.invalid("a chunk has no digest, or a negative offset") }
        entries[last].chunks.append(
            LazyLayer.Chunk(
                member: row.offset, offsetInMember: row.innerOffset, offsetInFile: row.chunkOffset,
                size: row.chunkSize, digest: digest))
    }

    /// Finds the sizes of chunks that have none, and checks that the chunks are the file, one after the other, in the blob too.
    private static func complete(_ entry: inout LazyLayer.Entry, _ reader: JSONReader) throws(CacheError) {
        var end: Int64 = 0
        var member: Int64 = 0
        for index in entry.chunks.indices {
            let isLast = index == entry.chunks.indices.last
            let next = isLast ? entry.size : entry.chunks[index + 1].offsetInFile
            let size = next - end
            guard entry.chunks[index].offsetInFile == end, size > 0, next <= entry.size,
                entry.chunks[index].member >= member,
                [0, size].contains(entry.chunks[index].size)
            else { throw reader.invalid("the chunks of \(entry.path.prefix(256).debugDescription) are not the file") }
            guard size <= maximumChunkSize else {
                throw CacheError(.limitExceeded, "a chunk of \(entry.path.prefix(256).debugDescription) is too large")
            }
            entry.chunks[index].size = size
            end = next
            member = entry.chunks[index].member
        }
        guard end == entry.size else {
            throw reader.invalid("the chunks of \(entry.path.prefix(256).debugDescription) are not the file")
        }
    }
}
