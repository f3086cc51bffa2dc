public import BuildCacheCore
import NIOCore

/// The files of an eStargz layer, each of which can be read without fetching the rest of the layer.
///
/// Opening it fetches the table of contents alone, a few hundred bytes per file; reading a file fetches the gzip members
/// that hold it, with one ranged read. Nothing is stored.
///
/// The table of contents is verified against its digest in the layer's annotations, and each 4 MiB of a file against their
/// digest in the table before they are handed out: files are as trustworthy as the descriptor, without the layer's own digest ever
/// being computed.
///
///     let layer = try await LazyLayer.open(descriptor, in: blobs)
///     for try await chunk in try await layer.read("etc/os-release") { … }
///
/// - Source: `Documentation/Spec/compression.md` §5; stargz-snapshotter `docs/estargz.md`.
public struct LazyLayer: Sendable {
    /// What the table of contents says of something in the layer.
    public struct Entry: Hashable, Sendable {
        /// What it is.
        @nonexhaustive
        public enum Kind: String, Hashable, Sendable {
            case file = "reg"
            case directory = "dir"
            case symbolicLink = "symlink"
            case hardLink = "hardlink"
            case characterDevice = "char"
            case blockDevice = "block"
            case fifo
        }

        /// Its path in the layer, without slashes at either end; whiteouts are files named `.wh.…`.
        public var path: String
        /// What it is.
        public var kind: Kind
        /// Bytes of a file, 0 for everything else.
        public var size: Int64
        /// Permissions, with the bits for set-user-ID, set-group-ID and sticky.
        public var mode: Int64
        /// Where a link points to.
        public var linkTarget: String
        /// Of a file, the digest of all of it.
        public var digest: Digest?
        var chunks: [Chunk] = []
    }

    /// A part of a file.
    struct Chunk: Hashable, Sendable {
        // Of the gzip member in the blob, and of the chunk in what the member holds.
        var member: Int64
        var offsetInMember: Int64
        var offsetInFile: Int64
        var size: Int64
        var digest: Digest
    }

    /// All entries, in the order of the layer; a path that is in it twice stands here for its last entry only.
    public let entries: [Entry]

    private let descriptor: Descriptor
    private let source: any BlobSource
    private let limit: DecompressionLimit
    // By bytes: strings that only differ in how they spell an accent are equal, files are not.
    private let index: [ExactText: Int32]
    // Where members begin that hold data, and where the table of contents does; in order, each once.
    private let boundaries: [Int64]

    /// Fetches and verifies the table of contents of the layer that `descriptor` names.
    ///
    /// - Parameters:
    ///   - descriptor: The layer, with the digest of its table of contents in an annotation.
    ///   - source: Where the layer is; only parts of it are read.
    ///   - limit: The most bytes to decompress of the layer, for the table of contents and for each read.
    /// - Throws: `CacheError` `.unsupported` if the layer is not eStargz or its annotations do not say the digest of its
    ///   table of contents, `.corrupted` if that is wrong or the table makes no sense, `.limitExceeded` if the table has more than
    ///   16 times the layer's stored bytes (32 MiB are always allowed, 256 MiB never exceeded), 2²⁰ entries and chunks, 32 KiB
    ///   in a name or 64 MiB in a chunk, or past `limit`; what `source` throws.
    public static func open(
        _ descriptor: Descriptor, in source: any BlobSource, limit: DecompressionLimit = DecompressionLimit()
    ) async throws -> LazyLayer {
        do {
            guard let annotation = descriptor.annotations[Annotation.estargzTOCDigest] else {
                throw CacheError(
                    .unsupported, "the layer's annotations have no digest of a table of contents (\(noTOC))")
            }
            guard let (offset, json) = try await EStargz.contents(of: descriptor, in: source, limit: limit) else {
                throw CacheError(.unsupported, "the layer is not eStargz (\(noTOC))")
            }
            let digest = json.withUnsafeReadableBytes { Digest(of: $0) }
            guard try digest == Digest(annotation) else {
                throw CacheError(
                    .corrupted, "the digest of the table of contents is \(digest), its descriptor says \(annotation)")
            }
            let entries = try json.withUnsafeReadableBytes { try TOCReader.entries($0) }
            return try LazyLayer(descriptor, source, limit, entries, tocOffset: offset)
        } catch let error as CacheError {
            throw error.adding(operation: "open", subject: "\(descriptor.digest)")
        }
    }

    private static let noTOC = "convert it with compression=estargz,force-compression=true"

    private init(
        _ descriptor: Descriptor, _ source: any BlobSource, _ limit: DecompressionLimit, _ entries: [Entry],
        tocOffset: Int64
    ) throws(CacheError) {
        self.descriptor = descriptor
        self.source = source
        self.limit = limit
        boundaries = try LazyLayer.boundaries(entries, tocOffset)
        let last = LazyLayer.index(entries)
        if last.count == entries.count {
            (self.entries, index) = (entries, last)
        } else {
            self.entries = entries.enumerated().filter { last[ExactText($1.path)] == Int32($0) }.map(\.element)
            index = LazyLayer.index(self.entries)
        }
    }

    /// The last place of each path.
    private static func index(_ entries: [Entry]) -> [ExactText: Int32] {
        var index: [ExactText: Int32] = [:]
        index.reserveCapacity(entries.count)
        for (place, entry) in entries.enumerated() { index[ExactText(entry.path)] = Int32(place) }
        return index
    }

    private static func boundaries(_ entries: [Entry], _ tocOffset: Int64) throws(CacheError) -> [Int64] {
        var members: [Int64] = []
        for entry in entries {
            for chunk in entry.chunks where chunk.member != members.last { members.append(chunk.member) }
        }
        members.sort()
        guard members.last.map({ $0 < tocOffset }) ?? true else {
            throw CacheError(.corrupted, "the table of contents names data that lies behind the layer's files")
        }
        var boundaries: [Int64] = []
        boundaries.reserveCapacity(members.count + 1)
        for member in members + [tocOffset] where member != boundaries.last { boundaries.append(member) }
        return boundaries
    }

    /// The offset of the next gzip member with data behind `member`, or of the table of contents.
    private func end(ofMember member: Int64) -> Int64? {
        var (low, high) = (0, boundaries.count)
        while low < high {
            let middle = low + (high - low) / 2
            if boundaries[middle] > member { high = middle } else { low = middle + 1 }
        }
        return low < boundaries.count ? boundaries[low] : nil
    }

    /// What the layer has at `path`, or `nil`.
    ///
    /// Slashes at either end, `.` and `..` change nothing. Links are not followed.
    public subscript(path: String) -> Entry? { index[LazyLayer.key(path)].map { entries[Int($0)] } }

    private static func key(_ path: String) -> ExactText { ExactText(EStargz.path(path)) }

    /// Reads a file, or the bytes `range` of it; hard links are followed, symbolic links are not.
    ///
    /// Fetches only the gzip members that hold these bytes, 4 MiB of the file each. A chunk is handed out once all of it
    /// proved right.
    ///
    /// - Throws: `CacheError` `.notFound` if the layer has no such path, `.unsupported` if the path is not a file; `.corrupted` if
    ///   `range` leaves the file, and while reading if bytes are not those that the table of contents promises, `.limitExceeded`
    ///   past the limit that the layer was opened with.
    public func read(_ path: String, range: Range<Int64>? = nil) async throws -> BlobStream {
        let entry = try file(at: path)
        let range = range ?? 0..<entry.size
        guard range.lowerBound >= 0, range.upperBound <= entry.size else {
            throw error(.corrupted, "the file has \(entry.size) bytes: there are no bytes \(range)", path)
        }
        let chunks = entry.chunks.filter {
            $0.offsetInFile < range.upperBound && range.lowerBound < $0.offsetInFile + $0.size
        }
        guard let first = chunks.first, let last = chunks.last, let end = end(ofMember: last.member) else {
            return BlobStream(ByteBuffer())
        }
        let members = try await source.open(descriptor, range: first.member..<end)
        let data = try LayerDecoder(limit, stored: descriptor.size).decode(members, mediaType: .layer(.gzip))
        return BlobStream(length: Int64(range.count)) {
            var pieces = PieceReader(data)
            var rest = chunks[...]
            var skipped = false
            return {
                guard let chunk = rest.popFirst() else { return nil }
                if !skipped, first.offsetInMember > 0 { try await pieces.skip(Int(first.offsetInMember)) }
                skipped = true
                let piece = try await pieces.next(Int(chunk.size)) ?? ByteBuffer()
                let digest = StreamDigest()
                await digest.update(piece)
                guard digest.finish() == StreamDigest.Value(digest: chunk.digest, size: chunk.size) else {
                    rest = []
                    throw error(.corrupted, "the bytes from \(chunk.offsetInFile) on are not those of the file", path)
                }
                let wanted = range.clamped(to: chunk.offsetInFile..<chunk.offsetInFile + chunk.size)
                return piece.getSlice(
                    at: piece.readerIndex + Int(wanted.lowerBound - chunk.offsetInFile), length: wanted.count)
            }
        }
    }

    private func file(at path: String) throws(CacheError) -> Entry {
        var wanted = LazyLayer.key(path)
        // Hard links to hard links are rare, and a circle of them is nonsense.
        for _ in 0..<16 {
            guard let position = index[wanted] else { throw error(.notFound, "the layer has no such file", path) }
            let entry = entries[Int(position)]
            switch entry.kind {
            case .file: return entry
            case .hardLink: wanted = LazyLayer.key(entry.linkTarget)
            default: throw error(.unsupported, "it is a \(entry.kind.rawValue), not a file", path)
            }
        }
        throw error(.corrupted, "its hard links do not lead to a file", path)
    }

    private func error(_ code: CacheError.Code, _ problem: String, _ path: String) -> CacheError {
        CacheError(
            code, "\(path.quoted): \(problem)",
            context: .init(operation: "read", subject: "\(descriptor.digest)"))
    }
}
