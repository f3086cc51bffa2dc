package import BuildCacheCore
package import NIOCore
import Synchronization

/// Compresses the tar of a layer.
///
/// The bytes depend on the tar, the options, and the version of the compression library; not on the machine, the
/// number of threads, or how the tar is cut into chunks. Other encoders write other bytes for the same tar: only diffIDs
/// compare between them.
///
/// | type | what is written | levels |
/// |---|---|---|
/// | uncompressed | the tar | – |
/// | gzip | members of 1 MiB uncompressed, made in parallel | -2 to 9, default 6; -2 Huffman codes only, -1 default, 0 stores |
/// | estargz | see ``EStargzEncoder`` | as gzip |
/// | zstd | one frame with checksum, window 8 MiB, below level 3 4 MiB | libzstd's, up to 22, default 3; 0 is 3, beyond is the nearest |
///
/// - Source: `Documentation/Spec/compression.md` §1.
package struct LayerEncoder: Sendable {
    // More cores than this do not help one layer: hashing and reading it are a single stream each.
    private static let maximumParallelism = 16
    // Small enough to be done at once on many cores, large enough that starting afresh costs under 1 % in size.
    private static let gzipMemberSize = 1 << 20

    /// The options with the level that they come to; equal for equal encoders.
    package let options: CompressionOptions
    private let method: Method
    private let parallelism: Int

    private enum Method {
        case store
        case gzip(GzipMember)
        case estargz(GzipMember)
        case zstd(level: Int)
    }

    /// Makes an encoder for `type` and `level` of `options`.
    ///
    /// - Parameter parallelism: How many pieces are compressed at once; `nil` is one per core. Changes no byte.
    /// - Throws: `CacheError` `.invalidSpec` for a level that gzip does not have.
    package init(_ options: CompressionOptions, parallelism: Int? = nil) throws(CacheError) {
        self.parallelism = min(parallelism ?? Workers.processors.threads, LayerEncoder.maximumParallelism)
        let level: Int?
        switch options.type {
        case .uncompressed:
            method = .store
            level = nil
        case .gzip:
            let gzip = try GzipMember(level: options.level)
            method = .gzip(gzip)
            level = gzip.level
        case .estargz:
            let gzip = try GzipMember(level: options.level)
            method = .estargz(gzip)
            level = gzip.level
        case .zstd:
            let zstd = ZstdCompressor.effectiveLevel(options.level)
            method = .zstd(level: zstd)
            level = zstd
        }
        self.options = CompressionOptions(type: options.type, level: level, force: options.force)
    }

    /// What compresses, its version and its level: encoders of one name write the same bytes for the same tar.
    package var name: String {
        switch method {
        case .store: "tar"
        case .gzip(let gzip), .estargz(let gzip): "\(options.type) 1 \(GzipMember.encoderName) level \(gzip.level)"
        case .zstd(let level): "zstd 1 \(ZstdCompressor.encoderName) level \(level)"
        }
    }

    /// Compresses `tar` and gives the stored bytes, in order, to `write`.
    ///
    /// Memory stays flat: about two pieces per core are in flight, and nothing is compressed that `write` is not ready for.
    ///
    /// - Throws: What `tar` and `write` throw; `CancellationError` within one piece of the cancellation.
    package func encode(
        _ tar: BlobStream, to write: (ByteBuffer) async throws -> Void
    ) async throws -> EncodedLayer {
        let uncompressed = StreamDigest()
        let stored = StreamDigest()
        func emit(_ chunk: ByteBuffer) async throws {
            await stored.update(chunk)
            try await write(chunk)
        }
        switch method {
        case .store:
            for try await chunk in tar {
                try Task.checkCancellation()
                await uncompressed.update(chunk)
                try await write(chunk)
            }
            let value = uncompressed.finish()
            return EncodedLayer(stored: value, uncompressed: value, tar: value)
        case .gzip(let member):
            var pieces = PieceReader(tar)
            var isFirst = true
            try await transformInOrder(limit: parallelism + 2) {
                let piece = try await pieces.next(LayerEncoder.gzipMemberSize)
                defer { isFirst = false }
                guard let piece else { return isFirst ? ByteBuffer() : nil }  // a gzip file has at least one member
                await uncompressed.update(piece)
                return piece
            } transform: { piece throws(CacheError) in
                try member.compress(piece)
            } deliver: { compressed in
                try await emit(compressed)
            }
        case .estargz(let member):
            return try await EStargzEncoder(parallelism: parallelism, compressor: member).encode(tar, to: write)
        case .zstd(let level):
            let compressor = Mutex(try ZstdCompressor(level: level, threads: min(parallelism, 8)))
            for try await chunk in tar {
                try Task.checkCancellation()
                await uncompressed.update(chunk)
                for chunk in try await Workers.processors.run({ () throws(CacheError) in
                    try compressor.withLock { compressor throws(CacheError) in try compressor.compress(chunk) }
                }) {
                    try await emit(chunk)
                }
            }
            try Task.checkCancellation()
            for chunk in try await Workers.processors.run({ () throws(CacheError) in
                try compressor.withLock { compressor throws(CacheError) in try compressor.finish() }
            }) {
                try await emit(chunk)
            }
        }
        let value = uncompressed.finish()
        return EncodedLayer(stored: stored.finish(), uncompressed: value, tar: value)
    }
}

/// What an encoder wrote.
package struct EncodedLayer: Hashable, Sendable {
    /// The bytes as stored.
    package var stored: StreamDigest.Value
    /// The bytes that the stored ones decompress to, table of contents included; their digest is the diffID.
    package var uncompressed: StreamDigest.Value
    /// The tar that went in.
    package var tar: StreamDigest.Value
    /// Of an eStargz layer, the digest of its table of contents.
    package var tocDigest: Digest?
}
