import BuildCacheBytes
import BuildCacheCore

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A system call that failed, and on what.
struct FileError: Error {
    /// As in "write": completes "cannot …".
    var operation: StaticString
    /// The path, beginning with the layout's as the user gave it.
    var path: String
    var number: CInt

    var isNotFound: Bool { number == ENOENT }
    var isDenied: Bool { [EACCES, EPERM, EROFS].contains(number) }
    var alreadyExists: Bool { number == EEXIST }
    /// Something else than a directory, or a symbolic link, stands where a directory should be.
    var isNoDirectory: Bool { number == ENOTDIR || number == ELOOP }
    /// Some file systems cannot sync a directory and say so with EINVAL; their entries are durable or they are not.
    var isUnsupported: Bool { number == EINVAL || number == EOPNOTSUPP }
}

extension CacheError {
    /// What a failed system call on a layout means to a caller.
    init(_ error: FileError) {
        self = cacheError(errno: error.number, "\(error.operation) \(error.path)")
        context = Context(backend: "local", subject: error.path)
        cause = SystemError(error.number)
        // Every path of a layout is known, so anything else in its place does not belong to the layout.
        if error.isNoDirectory || error.number == EISDIR {
            code = .corrupted
            message += "; a symbolic link or another misplaced file is in its place; remove it"
        }
    }
}
