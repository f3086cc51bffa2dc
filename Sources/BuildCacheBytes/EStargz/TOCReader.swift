import BuildCacheCore

/// Reads the table of contents of an eStargz layer.
///
/// - Source: `Documentation/Spec/compression.md` §5.3; stargz-snapshotter `estargz/types.go: TOCEntry`.
enum TOCReader {
    /// The entries in `json`, in its order, each file with its chunks.
    ///
    /// - Throws: `CacheError` `.corrupted` for bytes that are not a table of contents, `.limitExceeded` past ``ContentLimit``.
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
                    guard count <= ContentLimit.entries else {
                        throw CacheError(
                            .limitExceeded, "the table of contents has more than \(ContentLimit.entries) entries")
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
            case "name": row.name = try name(&reader)
            case "type": row.type = try reader.string() ?? ""
            case "linkName": row.linkName = try name(&reader)
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

    private static func name(_ reader: inout JSONReader) throws(CacheError) -> String {
        let name = try reader.string() ?? ""
        guard name.utf8.count <= ContentLimit.nameBytes else {
            throw CacheError(
                .limitExceeded,
                "the table of contents has a name of \(name.utf8.count) bytes: expected at most \(ContentLimit.nameBytes)"
            )
        }
        return name
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
                throw reader.invalid("an entry has the unknown type \(row.type.quoted)")
            }
            entries.append(
                LazyLayer.Entry(
                    path: path, kind: kind, size: kind == .file ? row.size : 0, mode: row.mode,
                    linkTarget: row.linkName,
                    digest: row.digest))
            guard kind == .file, row.size > 0 else { return }
        }
        guard let last = entries.indices.last, entries[last].path.utf8.elementsEqual(path.utf8),
            entries[last].kind == .file
        else {
            throw reader.invalid("a chunk does not follow its file")
        }
        // Files of one chunk written by old versions have the digest of the file only.
        guard let digest = row.chunkDigest ?? row.digest, row.offset >= 0, row.innerOffset >= 0, row.chunkOffset >= 0,
            row.chunkSize >= 0
        else { throw reader.invalid("a chunk has no digest, or a negative offset") }
        guard row.innerOffset <= ContentLimit.chunkBytes else {
            throw CacheError(
                .limitExceeded,
                "a chunk of \(path.quoted) lies \(row.innerOffset) bytes into its gzip member: "
                    + "expected at most \(ContentLimit.chunkBytes)")
        }
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
            else { throw reader.invalid("the chunks of \(entry.path.quoted) are not the file") }
            guard size <= ContentLimit.chunkBytes else {
                throw CacheError(
                    .limitExceeded,
                    "a chunk of \(entry.path.quoted) has \(size) bytes: expected at most \(ContentLimit.chunkBytes)")
            }
            entry.chunks[index].size = size
            end = next
            member = entry.chunks[index].member
        }
        guard end == entry.size else {
            throw reader.invalid("the chunks of \(entry.path.quoted) are not the file")
        }
    }
}
