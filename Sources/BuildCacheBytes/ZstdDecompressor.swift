import BuildCacheCore
import CZstd
import NIOCore

/// Decompresses zstd: all frames, one after the other, as one stream; skippable frames hold nothing.
///
/// A frame may ask for a window of up to 128 MiB, as much as the `zstd` tool allows by itself; BuildKit never asks for
/// more than 8 MiB.
final class ZstdDecompressor: Decompressor {
    private static let maximumWindowLog: Int32 = 27

    private let context: OpaquePointer
    private var isInFrame = false
    // The last call filled the room it had, so there may be more without more input.
    private var mayHaveMore = false
    private var offset: Int64 = 0

    init() throws(CacheError) {
        guard let context = ZSTD_createDCtx() else {
            throw CacheError(.unavailable, "libzstd cannot start: memory has run out", retry: .worthwhile)
        }
        self.context = context
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, ZstdDecompressor.maximumWindowLog)
    }

    deinit { ZSTD_freeDCtx(context) }

    func decompress(_ input: inout ByteBuffer, into output: inout ByteBuffer) throws(CacheError) {
        while output.writableBytes > 0, input.readableBytes > 0 || mayHaveMore {
            var result = 0
            var isFull = false
            input.move(to: &output) { bytes, room in
                var source = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
                var target = ZSTD_outBuffer(dst: room.baseAddress, size: room.count, pos: 0)
                result = ZSTD_decompressStream(context, &target, &source)
                isFull = target.pos == target.size
                offset += Int64(source.pos)
                return (source.pos, target.pos)
            }
            guard ZSTD_isError(result) == 0 else {
                let reason = String(cString: ZSTD_getErrorName(result)).lowercased()
                throw CacheError(.corrupted, "the zstd data is damaged near byte \(offset): \(reason)")
            }
            isInFrame = result != 0
            mayHaveMore = isInFrame && isFull
        }
    }

    func finish() throws(CacheError) {
        guard !isInFrame else { throw CacheError(.corrupted, "the zstd data ends inside a frame, at byte \(offset)") }
    }
}
