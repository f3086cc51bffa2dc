import BuildCacheCore
import NIOCore

/// Turns compressed bytes into uncompressed ones, as much at a time as there is room for.
protocol Decompressor: AnyObject {
    /// Moves bytes until `input` is used up, `output` is full, or ``isPastStop`` becomes true.
    func decompress(_ input: inout ByteBuffer, into output: inout ByteBuffer) throws(CacheError)
    /// Checks that the compressed bytes may end here.
    func finish() throws(CacheError)
    /// Whether all further output comes from behind the place where the caller's part ends.
    var isPastStop: Bool { get }
}

extension Decompressor {
    var isPastStop: Bool { false }
}

extension ByteBuffer {
    /// Lets `body` move bytes from this buffer to the room in `output`, and takes note of how many it moved.
    mutating func move(
        to output: inout ByteBuffer,
        _ body: (_ bytes: UnsafeRawBufferPointer, _ room: UnsafeMutableRawBufferPointer) -> (read: Int, written: Int)
    ) {
        readWithUnsafeReadableBytes { bytes in
            var read = 0
            output.writeWithUnsafeMutableBytes(minimumWritableBytes: 0) { room in
                let moved = body(bytes, room)
                read = moved.read
                return moved.written
            }
            return read
        }
    }
}
