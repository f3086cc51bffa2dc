import BuildCacheBytes
import BuildCacheCore
import NIOCore

extension OpenFile {
    /// Streams `range` of the file in chunks of 1 MiB, one hop to a thread each.
    ///
    /// The stream keeps the file open: what is removed or replaced meanwhile is read to its end all the same.
    func stream(_ range: Range<Int64>) -> BlobStream {
        BlobStream(length: range.upperBound - range.lowerBound) {
            var offset = range.lowerBound
            return {
                guard offset < range.upperBound else { return nil }
                try Task.checkCancellation()
                let start = offset
                let count = Int(Swift.min(1 << 20, range.upperBound - start))
                offset += Int64(count)
                return try await Blocking.run { try self.chunk(count, at: start) }
            }
        }
    }

    private func chunk(_ count: Int, at offset: Int64) throws -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: count)
        let filled = try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { bytes in
            try read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]), at: offset)
        }
        guard filled == count else {
            throw CacheError(
                .corrupted, "\(path) ends at byte \(offset + Int64(filled)), somebody shortened it while it was read")
        }
        return buffer
    }
}
