import BuildCacheCore
import CZlib
import NIOCore

/// Decompresses gzip with zlib: all members, one after the other, as one stream.
///
/// Zero bytes behind the last member are padding, as for `gzip`; Go's reader refuses them. They cannot change what the
/// members hold. Anything else behind the last member is damage.
final class GzipDecompressor: Decompressor {
    private enum Phase { case betweenMembers, inMember, padding }

    // zlib keeps a pointer to this struct, so it needs an address of its own.
    private let stream: UnsafeMutablePointer<z_stream>
    private let stop: Int64?
    private var phase = Phase.betweenMembers
    private var members: Int
    private var offset: Int64
    private(set) var isPastStop: Bool

    /// Begins `offset` bytes into a stream, between two members.
    ///
    /// With `stop`, the member that begins at this offset is the first one past the caller's part.
    init(stop: Int64? = nil, offset: Int64 = 0) throws(CacheError) {
        self.stop = stop
        self.offset = offset
        isPastStop = stop.map { $0 < offset } ?? false
        members = offset > 0 ? 1 : 0
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // 15 bits of window, and 16 more to say: gzip, nothing else.
        guard inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw CacheError(.unavailable, "zlib cannot start: memory has run out", retry: .worthwhile)
        }
    }

    deinit {
        inflateEnd(stream)
        stream.deinitialize(count: 1)
        stream.deallocate()
    }

    func decompress(_ input: inout ByteBuffer, into output: inout ByteBuffer) throws(CacheError) {
        while true {
            switch phase {
            case .betweenMembers:
                if offset == stop, !isPastStop {
                    isPastStop = true
                    return
                }
                guard let first = input.getInteger(at: input.readerIndex, as: UInt8.self) else { return }
                if first == 0, members > 0 {
                    phase = .padding
                } else {
                    inflateReset(stream)
                    phase = .inMember
                }
            case .inMember:
                switch inflate(&input, into: &output) {
                case Z_STREAM_END:
                    phase = .betweenMembers
                    members += 1
                case Z_OK where input.readableBytes > 0 && output.writableBytes > 0: break
                case Z_OK, Z_BUF_ERROR: return
                case Z_MEM_ERROR: throw CacheError(.unavailable, "zlib has no memory left", retry: .worthwhile)
                default: throw damaged(stream.pointee.msg.map { String(cString: $0) } ?? "unknown format")
                }
            case .padding:
                guard input.readableBytesView.allSatisfy({ $0 == 0 }) else {
                    throw damaged("something that is no gzip follows the last member")
                }
                input.moveReaderIndex(to: input.writerIndex)
                return
            }
        }
    }

    func finish() throws(CacheError) {
        guard phase != .inMember else { throw damaged("the data ends inside a member") }
        guard stop == nil || isPastStop else { throw damaged("no member begins at the table of contents") }
    }

    private func inflate(_ input: inout ByteBuffer, into output: inout ByteBuffer) -> Int32 {
        var status = Z_OK
        input.move(to: &output) { bytes, room in
            // zlib never writes through next_in; its type is only older than const.
            stream.pointee.next_in = UnsafeMutableRawPointer(mutating: bytes.baseAddress)?.assumingMemoryBound(
                to: UInt8.self)
            stream.pointee.avail_in = UInt32(bytes.count)
            stream.pointee.next_out = room.baseAddress?.assumingMemoryBound(to: UInt8.self)
            stream.pointee.avail_out = UInt32(room.count)
            status = CZlib.inflate(stream, Z_NO_FLUSH)
            let read = bytes.count - Int(stream.pointee.avail_in)
            offset += Int64(read)
            return (read, room.count - Int(stream.pointee.avail_out))
        }
        return status
    }

    private func damaged(_ problem: String) -> CacheError {
        CacheError(.corrupted, "the gzip data is damaged near byte \(offset): \(problem)")
    }
}
