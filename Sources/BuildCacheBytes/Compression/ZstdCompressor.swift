import BuildCacheCore
import CZstd
import NIOCore

/// Compresses a stream to one zstd frame, with libzstd's own threads.
///
/// The bytes depend on data, level and libzstd's version, not on the number of threads: at least one worker is always
/// used, because libzstd without workers cuts the data differently, and jobs have a fixed size.
final class ZstdCompressor {
    /// What compresses, with its version: other versions may give other bytes.
    static var encoderName: String { "zstd \(String(cString: ZSTD_versionString()))" }

    // Each worker holds about two of these and its tables. With 8 MiB a layer grew by 0.4 %.
    private static let jobSize: Int32 = 12 << 20
    private static let chunkSize = 1 << 20

    private let context: OpaquePointer

    /// The level libzstd will use: `nil` and 0 are 3; above 22 is 22, and below libzstd's least level is that one.
    static func effectiveLevel(_ level: Int?) -> Int {
        let level = level ?? 0
        return level == 0 ? 3 : min(max(level, Int(ZSTD_minCLevel())), Int(ZSTD_maxCLevel()))
    }

    init(level: Int, threads: Int) throws(CacheError) {
        guard let context = ZSTD_createCCtx() else {
            throw CacheError(.unavailable, "libzstd cannot start: memory has run out", retry: .worthwhile)
        }
        self.context = context
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Int32(level))
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
        // As wide as BuildKit's encoder makes it, and no wider at high levels: every reader has that much memory.
        ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, level < 3 ? 22 : 23)
        // A libzstd built without threads refuses this and compresses alone, correctly but with other bytes.
        ZSTD_CCtx_setParameter(context, ZSTD_c_nbWorkers, Int32(max(1, threads)))
        ZSTD_CCtx_setParameter(context, ZSTD_c_jobSize, ZstdCompressor.jobSize)
    }

    deinit { ZSTD_freeCCtx(context) }

    /// Takes all of `data` and returns what is ready of the frame.
    func compress(_ data: ByteBuffer) throws(CacheError) -> [ByteBuffer] {
        var data = data
        return try run(&data, ZSTD_e_continue) { input, _ in input.readableBytes == 0 }
    }

    /// Returns the rest of the frame.
    func finish() throws(CacheError) -> [ByteBuffer] {
        var nothing = ByteBuffer()
        return try run(&nothing, ZSTD_e_end) { _, remaining in remaining == 0 }
    }

    private func run(
        _ input: inout ByteBuffer, _ operation: ZSTD_EndDirective, until isDone: (ByteBuffer, Int) -> Bool
    ) throws(CacheError) -> [ByteBuffer] {
        var chunks: [ByteBuffer] = []
        var output = ByteBuffer()
        var remaining = 0
        repeat {
            if output.writableBytes == 0 {
                if output.readableBytes > 0 { chunks.append(output) }
                output = ByteBufferAllocator().buffer(capacity: ZstdCompressor.chunkSize)
            }
            input.move(to: &output) { bytes, room in
                var source = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
                var target = ZSTD_outBuffer(dst: room.baseAddress, size: room.count, pos: 0)
                remaining = ZSTD_compressStream2(context, &target, &source, operation)
                return (source.pos, target.pos)
            }
            guard ZSTD_isError(remaining) == 0 else {
                let reason = String(cString: ZSTD_getErrorName(remaining)).lowercased()
                throw CacheError(.unavailable, "libzstd cannot compress: \(reason)", retry: .worthwhile)
            }
        } while !isDone(input, remaining)
        if output.readableBytes > 0 { chunks.append(output) }
        return chunks
    }
}
