import BuildCacheBytes
import BuildCacheCore
import NIOCore

extension OpenFile {
    /// Streams `range` of the file.
    ///
    /// The stream keeps the file open: what is removed or replaced meanwhile is read to its end all the same.
    func stream(_ range: Range<Int64>) -> BlobStream {
        BlobStream(blocking: range) { part throws(CacheError) in try self.bytes(part) }
    }

    private func bytes(_ range: Range<Int64>) throws(CacheError) -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: range.count)
        var failure: FileError?
        let filled = buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: range.count) { free in
            do throws(FileError) {
                let wanted = UnsafeMutableRawBufferPointer(rebasing: free[..<range.count])
                return try read(into: wanted, at: range.lowerBound)
            } catch {
                failure = error
                return 0
            }
        }
        if let failure { throw CacheError(failure) }
        guard filled == range.count else {
            let end = range.lowerBound + Int64(filled)
            throw CacheError(.corrupted, "\(path) ends at byte \(end), somebody shortened it while it was read")
        }
        return buffer
    }
}
