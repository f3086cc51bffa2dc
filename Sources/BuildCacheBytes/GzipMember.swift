import BuildCacheCore
import CZlib
import NIOCore

#if Libdeflate
    import CDeflate
#endif

/// Compresses pieces of data to gzip members, each complete in itself.
///
/// Members have nothing to do with each other, so they are made in parallel; put one after the other they are a gzip
/// file. Libdeflate compresses them, or zlib if the package is built without the trait `Libdeflate`.
struct GzipMember: Sendable {
    /// What compressed, with its version: other versions may give other bytes.
    static var encoderName: String {
        #if Libdeflate
            "libdeflate \(LIBDEFLATE_VERSION_STRING)"
        #else
            "zlib \(String(cString: zlibVersion()))"
        #endif
    }

    /// -2 to 9 as in Go's compress/gzip: -2 is Huffman codes only, -1 is 6, 0 stores.
    let level: Int

    /// Checks the level; `nil` is 6.
    ///
    /// - Throws: ``CacheError`` `.invalidSpec`.
    init(level: Int?) throws(CacheError) {
        let level = level ?? -1
        guard (-2...9).contains(level) else {
            throw CacheError(.invalidSpec, "compression-level \(level) is none of gzip: -2 to 9 are")
        }
        self.level = level == -1 ? 6 : level
    }

    /// The gzip member that holds `data`.
    func compress(_ data: ByteBuffer) throws(CacheError) -> ByteBuffer {
        #if Libdeflate
            let isHuffmanOnly = level == -2  // libdeflate has no such level
            return isHuffmanOnly ? try compressWithZlib(data) : try compressWithLibdeflate(data)
        #else
            return try compressWithZlib(data)
        #endif
    }

    #if Libdeflate
        private func compressWithLibdeflate(_ data: ByteBuffer) throws(CacheError) -> ByteBuffer {
            guard let compressor = libdeflate_alloc_compressor(Int32(level)) else { throw GzipMember.noMemory }
            defer { libdeflate_free_compressor(compressor) }
            let bound = libdeflate_deflate_compress_bound(compressor, data.readableBytes)
            return data.withUnsafeReadableBytes { bytes in
                member(of: bytes, bound: bound, crc: libdeflate_crc32(0, bytes.baseAddress, bytes.count)) { room in
                    libdeflate_deflate_compress(
                        compressor, bytes.baseAddress, bytes.count, room.baseAddress, room.count)
                }
            }
        }
    #endif

    private func compressWithZlib(_ data: ByteBuffer) throws(CacheError) -> ByteBuffer {
        var stream = z_stream()
        let strategy = level == -2 ? Z_HUFFMAN_ONLY : Z_DEFAULT_STRATEGY
        // -15: raw deflate with the largest window; 8: zlib's default memory level.
        let status = deflateInit2_(
            &stream, Int32(max(level, 0)), Z_DEFLATED, -15, 8, strategy, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        guard status == Z_OK else { throw GzipMember.noMemory }
        defer { deflateEnd(&stream) }
        let bound = Int(deflateBound(&stream, UInt(data.readableBytes)))
        return data.withUnsafeReadableBytes { bytes in
            let input = UnsafeMutableRawPointer(mutating: bytes.baseAddress)?.assumingMemoryBound(to: UInt8.self)
            let crc = crc32_z(0, input, bytes.count)
            return member(of: bytes, bound: bound, crc: UInt32(crc)) { room in
                stream.next_in = input
                stream.avail_in = UInt32(bytes.count)
                stream.next_out = room.baseAddress?.assumingMemoryBound(to: UInt8.self)
                stream.avail_out = UInt32(room.count)
                deflate(&stream, Z_FINISH)
                return room.count - Int(stream.avail_out)
            }
        }
    }

    private func member(
        of bytes: UnsafeRawBufferPointer, bound: Int, crc: UInt32, _ deflate: (UnsafeMutableRawBufferPointer) -> Int
    ) -> ByteBuffer {
        let extraFlags: UInt8 =
            switch level {
            case 9: 2
            case 1: 4
            default: 0
            }
        var member = ByteBufferAllocator().buffer(capacity: 18 + bound)
        // Deflate, no flags, no time, no system: the same bytes on every machine, as Go writes them.
        member.writeBytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, extraFlags, 0xFF])
        member.writeWithUnsafeMutableBytes(minimumWritableBytes: bound) { deflate($0) }
        member.writeInteger(crc, endianness: .little)
        member.writeInteger(UInt32(truncatingIfNeeded: bytes.count), endianness: .little)
        return member
    }

    private static let noMemory = CacheError(.unavailable, "the compressor has no memory left", retry: .worthwhile)
}
