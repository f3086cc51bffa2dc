import CZlib
import Foundation
import NIOCore

/// A second reader of eStargz, which shares nothing with the library's but zlib: Foundation's JSON, its own footer and tar.
struct EStargzReader {
    struct Contents: Decodable {
        struct Entry: Decodable, Equatable {
            var name: String
            var type: String
            var size: Int64?
            var modtime: String?
            var linkName: String?
            var mode: Int64?
            var uid: Int64?
            var gid: Int64?
            var userName: String?
            var groupName: String?
            var offset: Int64?
            var devMajor: Int64?
            var devMinor: Int64?
            var xattrs: [String: Data]?
            var digest: String?
            var chunkOffset: Int64?
            var chunkSize: Int64?
            var chunkDigest: String?
        }
        var version: Int
        var entries: [Entry]?
    }
    struct Malformed: Error { var problem: String }

    let blob: ByteBuffer
    let tocOffset: Int
    let json: Data
    let contents: Contents

    init(_ blob: ByteBuffer) throws {
        self.blob = blob
        let footer = Array(blob.readableBytesView.suffix(51))
        let start: [UInt8] = [0x1F, 0x8B, 8, 4, 0, 0, 0, 0, 0, 0xFF, 26, 0, 0x53, 0x47, 22, 0]
        let end: [UInt8] = Array("STARGZ".utf8) + [1, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0]
        guard footer.starts(with: start), footer.suffix(19).elementsEqual(end),
            let offset = Int(String(decoding: footer[16..<32], as: UTF8.self), radix: 16)
        else { throw Malformed(problem: "footer") }
        tocOffset = offset
        guard let member = blob.getSlice(at: offset, length: blob.readableBytes - 51 - offset) else {
            throw Malformed(problem: "offset")
        }
        let tar = Array(try EStargzReader.inflate(member).content.readableBytesView)
        // One file, its data, padding and two blocks of zeros.
        let size = Int(String(decoding: tar[124..<135], as: UTF8.self), radix: 8) ?? -1
        guard tar.starts(with: Array("stargz.index.json\0".utf8)), tar[156] == UInt8(ascii: "0"), size >= 0,
            tar.count == 512 + (size + 511) / 512 * 512 + 1024, tar[(512 + size)...].allSatisfy({ $0 == 0 })
        else { throw Malformed(problem: "table of contents") }
        json = Data(tar[512..<512 + size])
        contents = try JSONDecoder().decode(Contents.self, from: json)
    }

    /// All gzip members: their stored bytes and what is in them.
    func members() throws -> [(stored: ByteBuffer, content: ByteBuffer)] {
        var rest = blob
        var members: [(ByteBuffer, ByteBuffer)] = []
        while rest.readableBytes > 0 {
            let (content, length) = try EStargzReader.inflate(rest)
            guard let stored = rest.readSlice(length: length) else { throw Malformed(problem: "member") }
            members.append((stored, content))
        }
        return members
    }

    /// The first gzip member of `bytes`: what is in it, and its length.
    static func inflate(_ bytes: ByteBuffer) throws -> (content: ByteBuffer, length: Int) {
        var input = Array(bytes.readableBytesView)
        var content = ByteBuffer()
        var stream = z_stream()
        guard inflateInit2_(&stream, 31, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw Malformed(problem: "zlib")
        }
        defer { inflateEnd(&stream) }
        let status = input.withUnsafeMutableBufferPointer { input in
            stream.next_in = input.baseAddress
            stream.avail_in = UInt32(input.count)
            var status = Z_OK
            while status == Z_OK {
                content.writeWithUnsafeMutableBytes(minimumWritableBytes: 1 << 16) { room in
                    stream.next_out = room.baseAddress?.assumingMemoryBound(to: UInt8.self)
                    stream.avail_out = UInt32(room.count)
                    status = CZlib.inflate(&stream, Z_NO_FLUSH)
                    return room.count - Int(stream.avail_out)
                }
            }
            return status
        }
        guard status == Z_STREAM_END else { throw Malformed(problem: "gzip") }
        return (content, input.count - Int(stream.avail_in))
    }

    /// The footer of a blob whose table of contents begins at `offset`, written by other code than the library's.
    static func footer(tocOffset offset: Int) -> ByteBuffer {
        let digits = String(UInt64(bitPattern: Int64(offset)), radix: 16)
        let start: [UInt8] = [0x1F, 0x8B, 8, 4, 0, 0, 0, 0, 0, 0xFF, 26, 0, 0x53, 0x47, 22, 0]
        let value = Array((String(repeating: "0", count: 16 - digits.count) + digits + "STARGZ").utf8)
        return ByteBuffer(bytes: start + value + [1, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// One gzip member that holds `bytes`, whatever their number.
    static func deflate(_ bytes: ByteBuffer) throws -> ByteBuffer {
        var input = Array(bytes.readableBytesView)
        var output = [UInt8](repeating: 0, count: input.count + input.count / 1000 + 100)
        var stream = z_stream()
        guard
            deflateInit2_(
                &stream, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
                == Z_OK
        else { throw Malformed(problem: "zlib") }
        defer { deflateEnd(&stream) }
        let count = input.withUnsafeMutableBufferPointer { input in
            output.withUnsafeMutableBufferPointer { output in
                stream.next_in = input.baseAddress
                stream.avail_in = UInt32(input.count)
                stream.next_out = output.baseAddress
                stream.avail_out = UInt32(output.count)
                return CZlib.deflate(&stream, Z_FINISH) == Z_STREAM_END ? output.count - Int(stream.avail_out) : 0
            }
        }
        return ByteBuffer(bytes: output.prefix(count))
    }
}
