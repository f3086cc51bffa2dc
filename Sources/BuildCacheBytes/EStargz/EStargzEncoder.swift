import BuildCacheCore
package import NIOCore

/// Compresses the tar of a layer to eStargz, as BuildKit does: nothing in the tar is changed, moved or left out.
///
/// Every 4 MiB of a file's data, and its rest, begin a gzip member, which also holds the padding and the headers up to the
/// next data. Behind the tar stand a table of contents, itself a tar in a member of its own, and the footer. Headers of
/// more than 1 MiB between two files are cut into several members: readers do not notice, and memory stays flat.
///
/// Members are compressed in parallel, small ones many at a time.
///
/// - Source: `Documentation/Spec/compression.md` §5.
package struct EStargzEncoder: Sendable {
    private let parallelism: Int
    private let compressor: any MemberCompressor

    /// Makes an encoder that compresses up to `parallelism` pieces of up to 6 MiB at once.
    package init(parallelism: Int, compressor: any MemberCompressor) {
        self.parallelism = parallelism
        self.compressor = compressor
    }

    /// Compresses `tar` and gives the stored bytes, in order, to `write`.
    ///
    /// - Throws: What `tar` and `write` throw; `CacheError` `.corrupted` for bytes that are not a tar, `.unsupported` for a tar with
    ///   sparse files or other entries that the table of contents cannot hold, `.limitExceeded` past ``ContentLimit``;
    ///   `CancellationError`.
    package func encode(
        _ tar: BlobStream, to write: (ByteBuffer) async throws -> Void
    ) async throws -> EncodedLayer {
        let uncompressed = StreamDigest()
        let stored = StreamDigest()
        let file = StreamDigest()
        var cutter = TarCutter(tar)
        var contents = EStargzContents()
        let compressor = compressor
        try await transformInOrder(limit: parallelism + 2) {
            guard let batch = try await cutter.next() else { return nil }
            return await Workers.processors.run {
                uncompressed.updateNow(batch.bytes)
                return batch.hashingFiles(with: file)
            }
        } transform: { batch throws(CacheError) in
            try CompressedBatch(batch, compressor)
        } deliver: { (batch: CompressedBatch) in
            try contents.add(batch)
            await stored.update(batch.bytes)
            try await write(batch.bytes)
        }
        let original = uncompressed.value
        let offset = stored.size
        let (toc, json) = try contents.finish()
        await uncompressed.update(toc)
        let (member, tocDigest) = try await Workers.processors.run { () throws(CacheError) in
            let digest = toc.withUnsafeReadableBytes { Digest(of: UnsafeRawBufferPointer(rebasing: $0[json])) }
            return (try compressor.compress([toc]).members, digest)
        }
        var end = member
        end.writeImmutableBuffer(EStargz.footer(tocOffset: offset))
        await stored.update(end)
        try await write(end)
        return EncodedLayer(
            stored: stored.finish(), uncompressed: uncompressed.finish(), tar: original, tocDigest: tocDigest)
    }
}

/// A part of a tar that becomes one or more gzip members.
private struct TarBatch: Sendable {
    struct Member {
        /// How many bytes of the batch it has.
        var size = 0
        /// The data it begins with, if any.
        var chunk: Chunk?
        /// Entries without data whose headers stand behind that.
        var entries: [TarEntry] = []
    }
    struct Chunk {
        var file: TarEntry
        /// The offset in the file.
        var offset: Int64
        var size: Int64
        var isFirst: Bool { offset == 0 }
        var isLast: Bool { offset + size == file.size }
        /// In the last of several chunks, the digest of the whole file.
        var fileDigest: Digest?
    }

    /// All members, one after the other.
    var bytes = ByteBuffer()
    var members: [Member] = []

    /// The members with their bytes.
    var pieces: [ByteBuffer] {
        var rest = bytes
        return members.map { rest.readSlice(length: $0.size) ?? ByteBuffer() }
    }

    /// The same batch, with the digests of files that end in it and have several chunks.
    ///
    /// - Parameter digest: Has taken the chunks in batches before this one.
    func hashingFiles(with digest: StreamDigest) -> TarBatch {
        var batch = self
        for (index, piece) in pieces.enumerated() {
            guard let chunk = members[index].chunk, !(chunk.isFirst && chunk.isLast) else { continue }
            digest.updateNow(piece.getSlice(at: piece.readerIndex, length: Int(chunk.size)) ?? piece)
            if chunk.isLast { batch.members[index].chunk?.fileDigest = digest.finish().digest }
        }
        return batch
    }
}

/// Reads a tar and cuts it where gzip members begin.
private struct TarCutter {
    private static let batchSize = 1 << 20
    private static let maximumHeaderSize = 1 << 20

    private enum Position {
        case headers
        case data(of: TarEntry, offset: Int64)
        // Behind the blocks that end a tar; all is preserved, whatever it is.
        case remainder
        case end
    }

    private var pieces: PieceReader
    private var headers = TarHeaders()
    private var position = Position.headers
    private var isAtEnd: Bool { if case .end = position { true } else { false } }

    init(_ tar: BlobStream) { pieces = PieceReader(tar) }

    /// The next 1 to 6 MiB of the tar, less only at its end, or `nil` behind that.
    mutating func next() async throws -> TarBatch? {
        var batch = TarBatch()
        while !isAtEnd, batch.bytes.readableBytes < TarCutter.batchSize {
            let start = batch.bytes.readableBytes
            var member = TarBatch.Member()
            if case .data(let file, let offset) = position {
                member.chunk = try await readChunk(of: file, at: offset, to: &batch.bytes)
            }
            let end = batch.bytes.readableBytes
            while batch.bytes.readableBytes - end < TarCutter.maximumHeaderSize {
                if case .headers = position {
                    guard let entry = try await readHeaders(to: &batch.bytes) else { continue }
                    if entry.size > 0 { position = .data(of: entry, offset: 0) } else { member.entries.append(entry) }
                } else if case .remainder = position {
                    if try await !copy(1 << 20, to: &batch.bytes, mayEnd: true) { position = .end }
                } else {
                    break
                }
            }
            member.size = batch.bytes.readableBytes - start
            if member.size > 0 { batch.members.append(member) }
        }
        return batch.members.isEmpty ? nil : batch
    }

    private mutating func readChunk(
        of file: TarEntry, at offset: Int64, to bytes: inout ByteBuffer
    ) async throws -> TarBatch.Chunk {
        let chunk = TarBatch.Chunk(file: file, offset: offset, size: min(EStargz.chunkSize, file.size - offset))
        bytes.reserveCapacity(minimumWritableBytes: Int(chunk.size) + 2 * TarBlock.size)
        try await copy(Int(chunk.size), to: &bytes)
        if chunk.isLast {
            try await copy(TarBlock.padding(behind: file.size), to: &bytes)
            position = .headers
        } else {
            position = .data(of: file, offset: offset + chunk.size)
        }
        return chunk
    }

    /// Reads one more header; returns the entry if it was its last.
    private mutating func readHeaders(to bytes: inout ByteBuffer) async throws -> TarEntry? {
        guard let block = try await pieces.next(TarBlock.size) else {
            // Some writers leave the blocks out that end a tar.
            guard !headers.isInsideEntry else { throw TarCutter.cutOff }
            position = .end
            return nil
        }
        guard block.readableBytes == TarBlock.size else { throw TarCutter.cutOff }
        bytes.writeImmutableBuffer(block)
        switch try headers.take(block) {
        case .block: return nil
        case .end:
            position = .remainder
            return nil
        case .extension(let size):
            let start = bytes.writerIndex
            try await copy(size, to: &bytes)
            try headers.takeExtension(bytes.getSlice(at: start, length: size) ?? ByteBuffer())
            return nil
        case .entry(let entry):
            guard !EStargz.isTOC(entry.name) else {
                throw CacheError(
                    .unsupported, "the layer holds a file \(EStargz.tocName), the name of eStargz's table of contents")
            }
            return entry
        }
    }

    /// Copies bytes of the tar; `false` if it ended before all of them, which is an error unless it `mayEnd`.
    @discardableResult
    private mutating func copy(_ count: Int, to bytes: inout ByteBuffer, mayEnd: Bool = false) async throws -> Bool {
        var rest = count
        while rest > 0 {
            guard var piece = try await pieces.some(upTo: rest) else {
                guard mayEnd else { throw TarCutter.cutOff }
                return false
            }
            rest -= piece.readableBytes
            bytes.writeBuffer(&piece)
        }
        return true
    }

    private static let cutOff = CacheError(.corrupted, "the tar ends inside an entry")
}

/// The gzip members that a part of a tar became.
private struct CompressedBatch: Sendable {
    struct Member {
        var size: Int
        var chunk: (TarBatch.Chunk, digest: Digest)?
        var entries: [TarEntry]
    }

    let bytes: ByteBuffer
    let members: [Member]

    init(_ batch: TarBatch, _ compressor: any MemberCompressor) throws(CacheError) {
        let pieces = batch.pieces
        let (bytes, sizes) = try compressor.compress(pieces)
        self.bytes = bytes
        members = zip(zip(batch.members, pieces), sizes).map { member, size in
            let (member, piece) = member
            let chunk = member.chunk.map { chunk in
                let data = piece.withUnsafeReadableBytes {
                    Digest(of: UnsafeRawBufferPointer(rebasing: $0.prefix(Int(chunk.size))))
                }
                return (chunk, digest: data)
            }
            return Member(size: size, chunk: chunk, entries: member.entries)
        }
    }
}

/// The table of contents while the members are written.
private struct EStargzContents {
    private static let emptyDigest = Digest(of: [])

    private var toc = TOCWriter()
    private var offset: Int64 = 0
    // Of the file whose end is still to come: its digest stands in front of them.
    private var chunks: [TOCWriter.Chunk] = []

    /// Adds what the next members hold.
    mutating func add(_ batch: CompressedBatch) throws(CacheError) {
        for member in batch.members {
            if let (chunk, digest) = member.chunk { try add(chunk, digest) }
            for entry in member.entries {
                try toc.add(
                    entry, digest: entry.kind == .file ? EStargzContents.emptyDigest : nil, stored: offset)
            }
            offset += Int64(member.size)
        }
    }

    private mutating func add(_ chunk: TarBatch.Chunk, _ digest: Digest) throws(CacheError) {
        // Only a chunk that is full says its size.
        let size = chunk.size == EStargz.chunkSize ? chunk.size : 0
        chunks.append(TOCWriter.Chunk(member: offset, offset: chunk.offset, size: size, digest: digest))
        guard chunk.isLast else { return }
        try toc.add(chunk.file, digest: chunk.fileDigest ?? digest, chunk: chunks.first, stored: offset)
        for further in chunks.dropFirst() { try toc.addChunk(of: chunk.file.name, further, stored: offset) }
        chunks = []
    }

    /// The tar that holds the table of contents, and where in it the JSON stands.
    mutating func finish() throws(CacheError) -> (tar: ByteBuffer, json: Range<Int>) { try toc.finish(stored: offset) }
}
