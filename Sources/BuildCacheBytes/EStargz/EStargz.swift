package import BuildCacheCore
import NIOCore

/// The form of an eStargz layer, and the marks that tell it from plain gzip.
///
/// An eStargz layer is gzip whose last members are a tar with a table of contents and an empty one, the footer, that says
/// where the table of contents begins.
///
/// - Source: `Documentation/Spec/compression.md` §5.
package enum EStargz {
    /// The name of the table of contents in its tar.
    static let tocName = "stargz.index.json"
    /// The data of a file begins a new gzip member after this many bytes.
    static let chunkSize: Int64 = 4 << 20
    static let footerSize = 51
    // What stargz wrote before it became eStargz, still read.
    private static let legacyFooterSize = 47
    private static let mark = "STARGZ"
    // More zeros than any writer puts behind a tar of one file.
    private static let maximumPadding = 1 << 20

    /// The offset in the stored bytes at which the table of contents begins, or `nil` if the blob is not an eStargz layer.
    ///
    /// Reads the last bytes of the blob and, if they look like a footer, the table of contents.
    ///
    /// - Throws: As ``contents(of:in:limit:)``.
    package static func tocOffset(
        of descriptor: Descriptor, in source: any BlobSource, limit: DecompressionLimit
    ) async throws -> Int64? {
        try await readTOC(of: descriptor, in: source, limit) { _ in }
    }

    /// The table of contents and where in the stored bytes it begins, or `nil` if the blob is not an eStargz layer.
    ///
    /// - Throws: `CacheError` `.limitExceeded` if it has more bytes than ``ContentLimit/tocBytes(stored:)`` or `limit` allow; what
    ///   `source` throws, other than `.corrupted`.
    static func contents(
        of descriptor: Descriptor, in source: any BlobSource, limit: DecompressionLimit
    ) async throws -> (offset: Int64, json: ByteBuffer)? {
        var json = ByteBuffer()
        let offset = try await readTOC(of: descriptor, in: source, limit) { json.writeImmutableBuffer($0) }
        return offset.map { ($0, json) }
    }

    private static func readTOC(
        of descriptor: Descriptor, in source: any BlobSource, _ limit: DecompressionLimit,
        _ body: (ByteBuffer) -> Void
    ) async throws -> Int64? {
        guard descriptor.size >= legacyFooterSize else { return nil }
        do {
            let tail = max(0, descriptor.size - Int64(footerSize))..<descriptor.size
            var end = PieceReader(try await source.open(descriptor, range: tail))
            guard let footer = try await end.next(footerSize),
                let (offset, size) = parse(footer: Array(footer.readableBytesView)),
                (0..<descriptor.size - Int64(size)).contains(offset)
            else { return nil }
            let toc = try await source.open(descriptor, range: offset..<descriptor.size - Int64(size))
            let most = min(
                Int64(ContentLimit.tocBytes(stored: descriptor.size)), limit.maximum(stored: descriptor.size))
            // A header and the zeros behind the table come on top.
            let decoder = LayerDecoder(
                DecompressionLimit(maximumBytes: most + 2 * Int64(maximumPadding), maximumRatio: 0),
                stored: descriptor.size)
            let tar = try decoder.decode(toc, mediaType: .layer(.gzip))
            return try await holdsOnlyTOC(tar, ofAtMost: most, body) ? offset : nil
        } catch let error as CacheError where error.code == .corrupted {
            return nil
        }
    }

    /// Whether a tar's entry has the name of the table of contents, however it is spelled.
    static func isTOC(_ name: [UInt8]) -> Bool {
        name.reversed().drop { $0 == UInt8(ascii: "/") }.starts(with: tocName.utf8.reversed())
            && path(name).elementsEqual(tocName.utf8)
    }

    /// A name in a tar or a table of contents without what changes nothing: slashes at either end, `//`, `.` and `..`.
    ///
    /// - Source: stargz-snapshotter `estargz/estargz.go: cleanEntryName`.
    static func path(_ name: String) -> String { String(decoding: path(Array(name.utf8)), as: UTF8.self) }

    // One pass that keeps no list of the parts: a name of many short ones would take many times its length.
    private static func path(_ name: [UInt8]) -> [UInt8] {
        let slash = UInt8(ascii: "/")
        var path: [UInt8] = []
        path.reserveCapacity(name.count)
        var start = 0
        while start < name.count {
            let end = name[start...].firstIndex(of: slash) ?? name.count
            let part = name[start..<end]
            start = end + 1
            if part.isEmpty || part.elementsEqual(".".utf8) { continue }
            if part.elementsEqual("..".utf8) {
                path.removeSubrange((path.lastIndex(of: slash) ?? 0)...)
            } else {
                if !path.isEmpty { path.append(slash) }
                path.append(contentsOf: part)
            }
        }
        return path
    }

    /// The footer of a blob whose table of contents begins at `offset`.
    static func footer(tocOffset offset: Int64) -> ByteBuffer {
        let digits = String(offset, radix: 16)
        var footer = ByteBuffer(bytes: [0x1F, 0x8B, 8, 4, 0, 0, 0, 0, 0, 0xFF, 26, 0])
        footer.writeString("SG")
        footer.writeInteger(22, endianness: .little, as: UInt16.self)
        footer.writeString(String(repeating: "0", count: 16 - digits.utf8.count) + digits + mark)
        // An empty stored block, CRC and length of nothing.
        footer.writeBytes([1, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0])
        return footer
    }

    /// The offset in a footer and the footer's length, given a blob's last 51 bytes, or fewer if it has no more.
    static func parse(footer bytes: [UInt8]) -> (offset: Int64, size: Int)? {
        for (size, extra, subfield) in [(footerSize, 26, Array("SG\u{16}\0".utf8)), (legacyFooterSize, 22, [])] {
            let footer = bytes.suffix(size)
            guard footer.count == size else { continue }
            let fields = footer.dropFirst(10)
            guard footer.starts(with: [0x1F, 0x8B, 8, 4]), fields.starts(with: [UInt8(extra), 0] + subfield) else {
                continue
            }
            let value = fields.dropFirst(2 + subfield.count).prefix(22)
            guard value.suffix(6).elementsEqual(mark.utf8) else { continue }
            let digits = String(decoding: value.prefix(16), as: UTF8.self)
            guard let offset = Int64(digits: digits, radix: 16, in: 0...Int64.max) else { continue }
            return (offset, size)
        }
        return nil
    }

    /// Whether a tar has the table of contents as its only entry; `body` gets what it holds.
    ///
    /// - Throws: `CacheError` `.limitExceeded` if it holds more than `most` bytes.
    private static func holdsOnlyTOC(
        _ tar: BlobStream, ofAtMost most: Int64, _ body: (ByteBuffer) -> Void
    ) async throws -> Bool {
        var pieces = PieceReader(tar)
        guard let header = try await pieces.next(TarBlock.size),
            let size = header.withUnsafeReadableBytes({ tocSize(header: $0) })
        else { return false }
        guard size <= most else {
            throw CacheError(
                .limitExceeded,
                "the layer's table of contents has \(size) bytes: expected at most \(most) in a layer of this size")
        }
        var rest = size
        while rest > 0, let piece = try await pieces.some(upTo: Int(min(rest, 1 << 20))) {
            rest -= Int64(piece.readableBytes)
            body(piece)
        }
        // Nothing but padding and the blocks that end a tar may follow.
        var padding = 0
        while let piece = try await pieces.some(upTo: 1 << 20) {
            padding += piece.readableBytes
            guard rest == 0, padding <= maximumPadding, piece.readableBytesView.allSatisfy({ $0 == 0 }) else {
                return false
            }
        }
        return rest == 0
    }

    private static func tocSize(header: UnsafeRawBufferPointer) -> Int64? {
        guard header.count == TarBlock.size, TarBlock.hasValidChecksum(header),
            header.prefix(tocName.utf8.count + 1).elementsEqual(Array(tocName.utf8) + [0]),
            header[156] == UInt8(ascii: "0") || header[156] == 0
        else { return nil }
        return TarBlock.octal(header[124..<136])
    }
}
