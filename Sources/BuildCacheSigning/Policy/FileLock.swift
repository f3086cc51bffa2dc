import BuildCacheBytes
import BuildCacheCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// An exclusive lock between processes; it ends with ``end()`` or with the process.
struct FileLock: Sendable {
    private let descriptor: CInt

    /// Takes the lock; `nil` if another process, or another task of this one, has it.
    ///
    /// - Throws: `CacheError` if the file cannot be created.
    init?(_ path: String) throws(CacheError) {
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw cacheError(errno: errno, "open \(path)") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            guard code == EWOULDBLOCK || code == EINTR else { throw cacheError(errno: code, "lock \(path)") }
            return nil
        }
    }

    /// Releases the lock.
    func end() {
        // A process that another thread is starting has a copy of the descriptor for a moment, and a close alone would leave it the lock.
        flock(descriptor, LOCK_UN)
        close(descriptor)
    }
}
