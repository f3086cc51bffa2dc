import CZlib
import NIOCore

#if Libdeflate
    import CDeflate
#endif

/// Decompresses gzip members that are in memory as a whole, about twice as fast as a stream of them.
enum GzipInflater {
    /// The length that a member says it has uncompressed, at its end, given the bytes up to there; modulo 4 GiB.
    static func uncompressedSize(ofMemberEndingAt end: Int, in bytes: ByteBuffer) -> Int? {
        bytes.getInteger(at: end - 4, endianness: .little, as: UInt32.self).map { Int($0) }
    }

    /// Decompresses the members that `pieces` should be.
    ///
    /// - Returns: What the members hold, up to the first piece that is not exactly one whole and undamaged member, and
    ///   the number of pieces before that.
    static func inflate(_ pieces: [ByteBuffer]) -> (content: ByteBuffer, count: Int) {
        let sizes = pieces.map { uncompressedSize(ofMemberEndingAt: $0.writerIndex, in: $0) ?? 0 }
        var content = ByteBufferAllocator().buffer(capacity: sizes.reduce(0, +))
        #if Libdeflate
            guard let decompressor = libdeflate_alloc_decompressor() else { return (content, 0) }
            defer { libdeflate_free_decompressor(decompressor) }
        #endif
        var count = 0
        for (piece, size) in zip(pieces, sizes) {
            var isWhole = false
            content.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { room in
                isWhole = piece.withUnsafeReadableBytes { bytes in
                    #if Libdeflate
                        var read = 0
                        // Without a place for the number of bytes written, less than `size` is an error.
                        let result = libdeflate_gzip_decompress_ex(
                            decompressor, bytes.baseAddress, bytes.count, room.baseAddress, size, &read, nil)
                        return result == LIBDEFLATE_SUCCESS && read == bytes.count
                    #else
                        return inflateWithZlib(bytes, to: UnsafeMutableRawBufferPointer(rebasing: room.prefix(size)))
                    #endif
                }
                return isWhole ? size : 0
            }
            guard isWhole else { break }
            count += 1
        }
        return (content, count)
    }

    private static func inflateWithZlib(_ bytes: UnsafeRawBufferPointer, to room: UnsafeMutableRawBufferPointer) -> Bool
    {
        var stream = z_stream()
        // 15 bits of window, and 16 more to say: gzip, nothing else.
        guard inflateInit2_(&stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            return false
        }
        defer { inflateEnd(&stream) }
        // zlib never writes through next_in; its type is only older than const.
        stream.next_in = UnsafeMutableRawPointer(mutating: bytes.baseAddress)?.assumingMemoryBound(to: UInt8.self)
        stream.avail_in = UInt32(bytes.count)
        stream.next_out = room.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.avail_out = UInt32(room.count)
        return CZlib.inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_in == 0 && stream.avail_out == 0
    }
}
