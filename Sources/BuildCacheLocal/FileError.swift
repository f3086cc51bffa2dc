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
    /// The path relative to the layout, or the layout's own as the user gave it.
    var path: String
    var number: CInt

    var isNotFound: Bool { number == ENOENT }
    var alreadyExists: Bool { number == EEXIST }
    /// Something else than a directory, or a symbolic link, stands where a directory should be.
    var isNoDirectory: Bool { number == ENOTDIR || number == ELOOP }
    /// Some file systems cannot sync a directory and say so with EINVAL; their entries are durable or they are not.
    var isUnsupported: Bool { number == EINVAL || number == EOPNOTSUPP }
}

extension CacheError {
    /// What a failed system call means to a caller: the one place where `errno` becomes a code.
    init(_ error: FileError) {
        let code: Code
        var retry = Retry.never
        let remedy: StaticString
        switch error.number {
        case ENOSPC, EDQUOT:
            (code, remedy) = (.storageFull, "; free some space there")
        case EACCES, EPERM, EROFS:
            (code, remedy) = (.denied, "; check the permissions of the cache directory")
        case ENOENT:
            (code, remedy) = (.notFound, "")
        case ELOOP, ENOTDIR, EISDIR:
            (code, remedy) = (.corrupted, "; a symbolic link or another misplaced file stands there: remove it")
        default:
            (code, remedy, retry) = (.unavailable, "", .worthwhile)
        }
        let reason = String(cString: strerror(error.number)).lowercased()
        self.init(
            code, "cannot \(error.operation) \(error.path): \(reason)\(remedy)",
            context: Context(backend: "local", subject: error.path), retry: retry, cause: SystemError(error.number))
    }
}
