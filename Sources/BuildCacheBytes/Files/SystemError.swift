package import BuildCacheCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The error for a system call that failed: the one place where `errno` becomes a `CacheError`.
///
/// - Parameters:
///   - code: The value of `errno`.
///   - action: What could not be done to what, as in `open /var/cache/index.json`.
/// - Returns: `.notFound`, `.denied`, `.storageFull`, `.corrupted` where something stands that is no file, and
///   `.unavailable`, worth another try, for everything else.
package func cacheError(errno code: Int32, _ action: String) -> CacheError {
    let reason = String(cString: strerror(code)).lowercased()
    let (kind, remedy): (CacheError.Code, String) =
        switch code {
        case ENOENT, ENOTDIR: (.notFound, "")
        case EACCES, EPERM, EROFS: (.denied, " (this user needs permission for it)")
        case ENOSPC, EDQUOT: (.storageFull, " (free some space or choose another directory)")
        case EFBIG: (.storageFull, " (the file system or a limit of this process allows no larger file)")
        case EISDIR, ELOOP, ENAMETOOLONG: (.corrupted, "")
        case EMFILE, ENFILE: (.unavailable, " (raise the limit on open files)")
        default: (.unavailable, "")
        }
    return CacheError(
        kind, "cannot \(action): \(reason)\(remedy)", retry: kind == .unavailable ? .worthwhile : .never)
}
