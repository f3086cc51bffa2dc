package import BuildCacheCore
import CZlib
package import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

#if Libdeflate
    import CDeflate
#endif

/// Something that compresses pieces of data to gzip members.
package protocol MemberCompressor: Sendable {
    /// The gzip members that hold `pieces`, one each and one after the other, and their lengths.
    func compress(_ pieces: [ByteBuffer]) throws(CacheError) -> (members: ByteBuffer, sizes: [Int])
}

/// Compresses pieces of data to gzip members, each complete in itself.
///
/// Members have nothing to do with each other, so they are made in parallel; put one after the other they are a gzip
/// file. Libdeflate compresses them, or zlib if the package is built without the trait `Libdeflate`.
struct GzipMember: MemberCompressor {
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
    /// - Throws: `CacheError` `.invalidSpec`.
    init(level: Int?) throws(CacheError) {
        let level = level ?? -1
        guard (-2...9).contains(level) else {
            throw CacheError(.invalidSpec, "compression-level \(level) is none of gzip: -2 to 9 are")
        }
        self.level = level == -1 ? 6 : level
    }

    /// How long the header of a member is, without the optional parts that only a footer of eStargz has.
    static let headerSize = 10

    /// Where, at `start` or behind it, the header of a member stands that this package or BuildKit may have written.
    ///
    /// Deflate, no flags or those of eStargz's footer, no time, any level, unknown system.
    static func firstHeader(in bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
        var index = start
        while index + headerSize <= bytes.count, let base = bytes.baseAddress,
            let found = memchr(base + index, 0x1F, bytes.count - headerSize - index + 1)
        {
            index = UnsafeRawPointer(found) - base
            let header = UnsafeRawBufferPointer(rebasing: bytes[index..<index + headerSize])
            if header[1] == 0x8B, header[2] == 8, header[3] & ~4 == 0, header[4..<8].allSatisfy({ $0 == 0 }),
                header[9] == 0xFF
            {
                return index
            }
            index += 1
        }
        return nil
    }

    /// The gzip member that holds `data`.
    func compress(_ data: ByteBuffer) throws(CacheError) -> ByteBuffer { try compress([data]).members }

    package func compress(_ pieces: [ByteBuffer]) throws(CacheError) -> (members: ByteBuffer, sizes: [Int]) {
        let deflater = try Deflater(level: level)
        var members = ByteBufferAllocator().buffer(
            capacity: pieces.reduce(0) { $0 + 18 + deflater.bound($1.readableBytes) })
        let sizes = pieces.map { piece in
            let start = members.writerIndex
            piece.withUnsafeReadableBytes { write($0, to: &members, deflater) }
            return members.writerIndex - start
        }
        return (members, sizes)
    }

    private func write(_ bytes: UnsafeRawBufferPointer, to members: inout ByteBuffer, _ deflater: Deflater) {
        let extraFlags: UInt8 =
            switch level {
            case 9: 2
            case 1: 4
            default: 0
            }
        // Deflate, no flags, no time, no system: the same bytes on every machine, as Go writes them.
        members.writeBytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, extraFlags, 0xFF])
        members.writeWithUnsafeMutableBytes(minimumWritableBytes: deflater.bound(bytes.count)) {
            deflater.deflate(bytes, to: $0)
        }
        members.writeInteger(deflater.checksum(bytes), endianness: .little)
        members.writeInteger(UInt32(truncatingIfNeeded: bytes.count), endianness: .little)
    }
}

/// Compresses pieces of data one after the other; what it needs for that it keeps.
private final class Deflater {
    private enum Library {
        case zlib(UnsafeMutablePointer<z_stream>)
        #if Libdeflate
            case libdeflate(OpaquePointer)
        #endif
    }

    private static let noMemory = CacheError(.unavailable, "the compressor has no memory left", retry: .worthwhile)

    #if Libdeflate
        // For each of zlib's levels the fastest of libdeflate's that compresses at least as well, measured over programs,
        // libraries and text with libdeflate 1.14 and zlib 1.2.13. At 6 the sizes differ by 0.2 %.
        private static let libdeflateLevels: [Int32] = [0, 1, 2, 3, 4, 5, 5, 6, 7, 9]
    #endif

    private let library: Library

    init(level: Int) throws(CacheError) {
        #if Libdeflate
            // Libdeflate cannot do with Huffman codes alone.
            if level != -2 {
                guard let compressor = libdeflate_alloc_compressor(Deflater.libdeflateLevels[level]) else {
                    throw Deflater.noMemory
                }
                library = .libdeflate(compressor)
                return
            }
        #endif
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        stream.initialize(to: z_stream())
        let strategy = level == -2 ? Z_HUFFMAN_ONLY : Z_DEFAULT_STRATEGY
        // -15: raw deflate with the largest window; 8: zlib's default memory level.
        let status = deflateInit2_(
            stream, Int32(max(level, 0)), Z_DEFLATED, -15, 8, strategy, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        guard status == Z_OK else {
            stream.deallocate()
            throw Deflater.noMemory
        }
        library = .zlib(stream)
    }

    deinit {
        switch library {
        case .zlib(let stream):
            deflateEnd(stream)
            stream.deallocate()
        #if Libdeflate
            case .libdeflate(let compressor): libdeflate_free_compressor(compressor)
        #endif
        }
    }

    /// The most bytes that `count` bytes come to.
    func bound(_ count: Int) -> Int {
        switch library {
        case .zlib(let stream): Int(deflateBound(stream, UInt(count)))
        #if Libdeflate
            case .libdeflate(let compressor): libdeflate_deflate_compress_bound(compressor, count)
        #endif
        }
    }

    /// Writes `bytes` to `room`, which has the size that ``bound(_:)`` says, and returns how many they became.
    func deflate(_ bytes: UnsafeRawBufferPointer, to room: UnsafeMutableRawBufferPointer) -> Int {
        switch library {
        case .zlib(let stream):
            deflateReset(stream)
            // zlib never writes through next_in; its type is only older than const.
            stream.pointee.next_in = UnsafeMutableRawPointer(mutating: bytes.baseAddress)?.assumingMemoryBound(
                to: UInt8.self)
            stream.pointee.avail_in = UInt32(bytes.count)
            stream.pointee.next_out = room.baseAddress?.assumingMemoryBound(to: UInt8.self)
            stream.pointee.avail_out = UInt32(room.count)
            CZlib.deflate(stream, Z_FINISH)
            return room.count - Int(stream.pointee.avail_out)
        #if Libdeflate
            case .libdeflate(let compressor):
                return libdeflate_deflate_compress(
                    compressor, bytes.baseAddress, bytes.count, room.baseAddress, room.count)
        #endif
        }
    }

    /// The CRC-32 of `bytes`.
    func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        switch library {
        case .zlib: UInt32(crc32_z(0, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count))
        #if Libdeflate
            case .libdeflate: libdeflate_crc32(0, bytes.baseAddress, bytes.count)
        #endif
        }
    }
}
