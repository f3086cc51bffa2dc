import BuildCacheCore
import CZstd
import NIOCore

/// Decompresses zstd: all frames, one after the other, as one stream; skippable frames hold nothing.
///
/// A frame says how large its window is: how much of what was decompressed must be kept in memory. Frames with a larger window than
/// allowed are whole all the same, so they exceed a limit and are not called damaged. Memory is used as the window fills, so a small frame
/// may have any window.
final class ZstdDecompressor: Decompressor {
    private let maximumWindowLog: Int32
    private let maximumMemory: Int64
    private let context: OpaquePointer
    private var isInFrame = false
    // The last call filled the room it had, so there may be more without more input.
    private var mayHaveMore = false
    private var offset: Int64 = 0
    // The first bytes of the frame, for errors about its window.
    private var header = ZstdFrameHeader()
    private var frameSize: Int64 = 0

    /// Makes a decompressor for windows of up to 2^`maximumWindowLog` bytes, of which up to `maximumMemory` may be filled.
    init(maximumWindowLog: Int32, maximumMemory: Int64) throws(CacheError) {
        self.maximumWindowLog = maximumWindowLog
        self.maximumMemory = maximumMemory
        guard let context = ZSTD_createDCtx() else {
            throw CacheError(.unavailable, "libzstd cannot start: memory has run out", retry: .worthwhile)
        }
        self.context = context
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, maximumWindowLog)
    }

    deinit { ZSTD_freeDCtx(context) }

    func decompress(_ input: inout ByteBuffer, into output: inout ByteBuffer) throws(CacheError) {
        while output.writableBytes > 0, input.readableBytes > 0 || mayHaveMore {
            var result = 0
            var isFull = false
            if !isInFrame {
                header = ZstdFrameHeader()
                frameSize = 0
            }
            input.move(to: &output) { bytes, room in
                header.append(bytes)
                var source = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
                var target = ZSTD_outBuffer(dst: room.baseAddress, size: room.count, pos: 0)
                result = ZSTD_decompressStream(context, &target, &source)
                isFull = target.pos == target.size
                offset += Int64(source.pos)
                frameSize += Int64(target.pos)
                return (source.pos, target.pos)
            }
            guard ZSTD_isError(result) == 0 else { throw error(result) }
            try checkMemory()
            isInFrame = result != 0
            mayHaveMore = isInFrame && isFull
        }
    }

    private func checkMemory() throws(CacheError) {
        guard frameSize > maximumMemory, let window = header.window, window > maximumMemory else { return }
        throw CacheError(
            .limitExceeded,
            "the zstd data needs a window of \(window) bytes: expected at most \(maximumMemory) in a layer of this size; "
                + "raise the ratio of the DecompressionLimit to read it")
    }

    private func error(_ result: Int) -> CacheError {
        let window = header.window.map { "a window of \($0) bytes" } ?? "a large window"
        switch ZSTD_getErrorCode(result) {
        case ZSTD_error_frameParameter_windowTooLarge:
            return CacheError(
                .limitExceeded,
                "the zstd data needs \(window): expected at most \(UInt64(1) << UInt64(maximumWindowLog)); "
                    + "raise the zstdWindow of the DecompressionLimit to read it")
        case ZSTD_error_memory_allocation:
            return CacheError(.unavailable, "no memory is left for \(window) of zstd data", retry: .worthwhile)
        default:
            let reason = String(cString: ZSTD_getErrorName(result)).lowercased()
            return CacheError(.corrupted, "the zstd data is damaged near byte \(offset): \(reason)")
        }
    }

    func finish() throws(CacheError) {
        guard !isInFrame else { throw CacheError(.corrupted, "the zstd data ends inside a frame, at byte \(offset)") }
    }
}

/// The first bytes of a zstd frame.
///
/// - Source: RFC 8878 §3.1.1.1.
private struct ZstdFrameHeader {
    private static let maximumSize = 18
    private var bytes: [UInt8] = []

    /// Takes what is missing of the frame's beginning; `next` begins behind what was taken before.
    mutating func append(_ next: UnsafeRawBufferPointer) {
        guard bytes.count < ZstdFrameHeader.maximumSize else { return }
        bytes.append(contentsOf: next.prefix(ZstdFrameHeader.maximumSize - bytes.count))
    }

    /// Bytes of the window that the frame asks for; `nil` if that cannot be told.
    var window: UInt64? {
        guard bytes.count > 5 else { return nil }
        let descriptor = bytes[4]
        guard descriptor & 0x20 != 0 else {
            let base = UInt64(1) << UInt64(10 + bytes[5] >> 3)
            return base + base / 8 * UInt64(bytes[5] & 7)
        }
        // Without a window of its own, the frame needs as much as its content has.
        let start = 5 + [0, 1, 2, 4][Int(descriptor & 3)]
        let count = [1, 2, 4, 8][Int(descriptor >> 6)]
        guard start + count <= bytes.count else { return nil }
        let size = bytes[start..<start + count].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return count == 2 ? size + 256 : size
    }
}
