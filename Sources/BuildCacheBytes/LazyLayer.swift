public import BuildCacheCore
import BuildCacheJSON
import NIOCore

/// The files of an eStargz layer, each of which can be read without fetching the rest of the layer.
///
/// Opening it fetches the table of contents alone, a few hundred bytes per file; reading a file fetches the gzip members
/// that hold it, with one ranged read. Nothing is stored.
///
/// The table of contents is verified against its digest in the layer's annotations, and each 4 MiB of a file against their
/// digest in the table before they are handed out: whoever trusts the descriptor can trust the files, without the layer's
/// own digest ever being computed.
///
///     let layer = try await LazyLayer.open(descriptor, in: blobs)
///     for try await chunk in try await layer.read("etc/os-release") { … }
///
/// - Source: `spec/compression.md` §5; stargz-snapshotter `docs/estargz.md`.
public struct LazyLayer: Sendable {
    /// What the table of contents says of something in the layer.
    public struct Entry: Hashable, Sendable {
        /// What it is.
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
    // By bytes: strings that only differ in how they spell an accent are equal, files are not.
    private let index: [[UInt8]: Int]
    // Where members begin that hold data, and where the table of contents does.
    private let boundaries: [Int64]

    /// Fetches and verifies the table of contents of the layer that `descriptor` names.
    ///
    /// - Throws: `CacheError` `.unsupported` if the layer is no eStargz or its annotations do not say the digest of its
    ///   table of contents, `.corrupted` if that is wrong or the table makes no sense, `.limitExceeded` if it has more than
    ///   256 MiB, 2²⁰ entries or 64 MiB in a chunk; what `source` throws.
    public static func open(_ descriptor: Descriptor, in source: any BlobSource) async throws -> LazyLayer {
        do {
            guard let annotation = descriptor.annotations[Annotation.estargzTOCDigest] else {
                throw CacheError(
                    .unsupported, "the layer's annotations have no digest of a table of contents (\(noTOC))")
            }
            guard let (offset, json) = try await EStargz.contents(of: descriptor, in: source) else {
                throw CacheError(.unsupported, "the layer is no eStargz (\(noTOC))")
            }
            let digest = Digest(of: json)
            guard try digest == Digest(annotation) else {
                throw CacheError(
                    .corrupted, "the digest of the table of contents is \(digest), its descriptor says \(annotation)")
            }
            let entries = try json.withUnsafeBytes { bytes throws(CacheError) in try TOCReader.entries(bytes) }
            return try LazyLayer(descriptor, source, entries, tocOffset: offset)
        } catch let error as CacheError {
            throw error.adding(operation: "open", subject: "\(descriptor.digest)")
        }
    }

    private static let noTOC = "convert it with compression=estargz,force-compression=true"

    private init(
        _ descriptor: Descriptor, _ source: any BlobSource, _ entries: [Entry], tocOffset: Int64
    ) throws(CacheError) {
        self.descriptor = descriptor
        self.source = source
        var last: [[UInt8]: Int] = [:]
        for (position, entry) in entries.enumerated() { last[Array(entry.path.utf8)] = position }
        self.entries = last.values.sorted().map { entries[$0] }
        index = Dictionary(uniqueKeysWithValues: self.entries.enumerated().map { (Array($1.path.utf8), $0) })
        let members = Set(entries.flatMap { $0.chunks.map(\.member) }).sorted()
        guard members.last.map({ $0 < tocOffset }) ?? true else {
            throw CacheError(.corrupted, "the table of contents names data that lies behind the layer's files")
        }
        boundaries = members + [tocOffset]
    }

    /// What the layer has at `path`, or `nil`.
    ///
    /// Slashes at either end, `.` and `..` change nothing. Links are not followed.
    public subscript(path: String) -> Entry? { index[LazyLayer.key(path)].map { entries[$0] } }

    private static func key(_ path: String) -> [UInt8] { Array(EStargz.path(path).utf8) }

    /// Reads a file, or the bytes `range` of it; hard links are followed, symbolic links are not.
    ///
    /// Fetches only the gzip members that hold these bytes, 4 MiB of the file each. A chunk is handed out once all of it
    /// proved right.
    ///
    /// - Throws: `CacheError` `.notFound` if there is no such path, `.unsupported` if there is no file; `.corrupted` if
    ///   `range` leaves the file, and while reading if bytes are not those that the table of contents promises.
    public func read(_ path: String, range: Range<Int64>? = nil) async throws -> BlobStream {
        let entry = try file(at: path)
        let range = range ?? 0..<entry.size
        guard range.lowerBound >= 0, range.upperBound <= entry.size else {
            throw error(.corrupted, "the file has \(entry.size) bytes: there are no bytes \(range)", path)
        }
        let chunks = entry.chunks.filter {
            $0.offsetInFile < range.upperBound && range.lowerBound < $0.offsetInFile + $0.size
        }
        guard let first = chunks.first, let last = chunks.last, let end = boundaries.first(where: { $0 > last.member })
        else { return BlobStream(ByteBuffer()) }
        let members = try await source.open(descriptor, range: first.member..<end)
        let data = try LayerDecoder().decode(members, mediaType: .layer(.gzip))
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
            let entry = entries[position]
            switch entry.kind {
            case .file: return entry
            case .hardLink: wanted = LazyLayer.key(entry.linkTarget)
            default: throw error(.unsupported, "it is no file but a \(entry.kind.rawValue)", path)
            }
        }
        throw error(.corrupted, "its hard links lead to no file", path)
    }

    private func error(_ code: CacheError.Code, _ problem: String, _ path: String) -> CacheError {
        CacheError(
            code, "\(path.prefix(256).debugDescription): \(problem)",
            context: .init(operation: "read", subject: "\(descriptor.digest)"))
    }
}
