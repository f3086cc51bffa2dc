package import BuildCacheCore
package import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A regular file open for reading; closed when the last reference goes.
///
/// Its calls block: use them on ``Workers/files``. Reads name their offset, so readers do not disturb each other.
package final class OpenFile: Sendable {
    /// Where it was opened, for messages.
    package let path: String
    /// Its length when it was opened.
    package let size: Int64
    /// What it was when it was opened.
    package let version: Version
    private let descriptor: Int32

    /// Opens the file at `path`.
    ///
    /// - Throws: `CacheError` as ``cacheError(errno:_:)``, `.corrupted` for what is no regular file.
    package init(reading path: String) throws(CacheError) {
        // Non-blocking, because opening a pipe somebody left there would otherwise wait for its writer.
        let descriptor = retryingInterrupts { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        guard descriptor >= 0 else { throw cacheError(errno: errno, "open \(path)") }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let code = errno
            close(descriptor)
            throw cacheError(errno: code, "look at \(path)")
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw CacheError(.corrupted, "\(path) is not a regular file")
        }
        self.path = path
        self.descriptor = descriptor
        size = Int64(status.st_size)
        version = Version(status)
    }

    /// Tells whether a path still leads to the same file with the same bytes: every write changes one of the times.
    package struct Version: Hashable, Sendable {
        private let numbers: [Int64]

        fileprivate init(_ status: stat) {
            #if canImport(Darwin)
                let (modified, changed) = (status.st_mtimespec, status.st_ctimespec)
            #else
                let (modified, changed) = (status.st_mtim, status.st_ctim)
            #endif
            numbers = [
                Int64(truncatingIfNeeded: status.st_dev), Int64(truncatingIfNeeded: status.st_ino),
                Int64(status.st_size), Int64(modified.tv_sec), Int64(modified.tv_nsec), Int64(changed.tv_sec),
                Int64(changed.tv_nsec),
            ]
        }
    }

    deinit { close(descriptor) }

    /// Reads exactly the bytes of `range`.
    ///
    /// - Throws: `CacheError` `.corrupted` if the file ends before them.
    package func read(_ range: Range<Int64>) throws(CacheError) -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: range.count)
        while buffer.readableBytes < range.count {
            let offset = range.lowerBound + Int64(buffer.readableBytes)
            let wanted = range.count - buffer.readableBytes
            var failure: Int32 = 0
            let count = buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { free in
                let count = retryingInterrupts { pread(descriptor, free.baseAddress, wanted, off_t(offset)) }
                if count < 0 { failure = errno }
                return max(0, count)
            }
            guard failure == 0 else { throw cacheError(errno: failure, "read \(path)") }
            guard count > 0 else {
                throw CacheError(
                    .corrupted, "\(path) ends at byte \(offset), before byte \(range.upperBound): it was cut off")
            }
        }
        return buffer
    }
}

/// Repeats a system call for as long as signals interrupt it.
func retryingInterrupts<Value: SignedInteger>(_ call: () -> Value) -> Value {
    while true {
        let result = call()
        if result >= 0 || errno != EINTR { return result }
    }
}
