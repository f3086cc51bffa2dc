import BuildCacheCore
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A file whose data are read while they are written, 1 MiB at a time.
struct LargeFile: Sendable {
    static let chunkSize = 1 << 20

    let handle: Handle
    let item: PackItem
    let tolerates: Bool
    let skipped: SkippedParts

    var size: Int64 { item.status.size }

    /// The bytes from `offset` on, with the padding behind the last of them.
    ///
    /// - Throws: `CacheError` `.busy` if the file is not what it was when it was listed.
    func chunk(at offset: Int64) throws(CacheError) -> ByteBuffer {
        let count = Int(min(Int64(LargeFile.chunkSize), size - offset))
        let isLast = offset + Int64(count) == size
        let padding = isLast ? TarBlock.padding(behind: size) : 0
        if item.status.isSparse, isHole(at: offset, count) {
            if isLast { try PackReader.checkUnchanged(handle, item, true, tolerates, skipped) }
            return ByteBuffer(repeating: 0, count: count + padding)
        }
        var buffer = ByteBufferAllocator().buffer(capacity: count + padding)
        while buffer.readableBytes < count {
            let wanted = count - buffer.readableBytes
            let place = off_t(offset) + off_t(buffer.readableBytes)
            var failure: Int32 = 0
            let got = buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { free in
                let count = retryingInterrupts { pread(handle.descriptor, free.baseAddress, wanted, place) }
                if count < 0 { failure = errno }
                return max(0, count)
            }
            guard failure == 0 else { throw cacheError(errno: failure, "read \(item.path.quotedPath)") }
            if got == 0 { break }
        }
        let missing = count - buffer.readableBytes
        // A change that is tolerated is noted once.
        if isLast || missing > 0 && !tolerates {
            try PackReader.checkUnchanged(handle, item, missing == 0, tolerates, skipped)
        }
        buffer.writeRepeatingByte(0, count: missing + padding)
        return buffer
    }

    private func isHole(at offset: Int64, _ count: Int) -> Bool {
        #if os(Linux)
            let seekData: Int32 = 3
        #else
            let seekData: Int32 = 4
        #endif
        let data = lseek(handle.descriptor, off_t(offset), seekData)
        // The call fails behind the last data of a file.
        return data < 0 ? errno == ENXIO : Int64(data) >= offset + Int64(count)
    }
}
