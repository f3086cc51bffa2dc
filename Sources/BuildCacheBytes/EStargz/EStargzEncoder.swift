import BuildCacheCore
package import NIOCore

/// Compresses the tar of a layer to eStargz, as BuildKit does: nothing in the tar is changed, moved or left out.
///
/// Sparse files are the exception: the table of contents cannot hold them, so that they become files with their zeros.
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
    ///   entries that the table of contents cannot hold, `.limitExceeded` past ``ContentLimit``; `CancellationError`.
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
                uncompressed.updateNow(batch.bytes, source: batch.source)
                return batch.hashingFiles(with: file)
            }
        } transform: { batch throws(CacheError) in
            try CompressedBatch(batch, compressor)
        } deliver: { (batch: CompressedBatch) in
            try contents.add(batch)
            await stored.update(batch.bytes)
            try await write(batch.bytes)
        }
        let original = uncompressed.sourceValue
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
struct TarBatch: Sendable {
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
    /// The bytes of the tar that these were made of; `nil` for the same.
    var source: ByteBuffer?
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
