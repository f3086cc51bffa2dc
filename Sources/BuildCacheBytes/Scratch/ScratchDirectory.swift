import BuildCacheCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The directories of scratch stores: their owner, their locks and their removal.
enum ScratchDirectory {
    private static let prefix = "build-cache-"

    /// Checks that a directory is this user's alone to write.
    ///
    /// - Throws: `CacheError` `.denied`.
    static func checkOwner(of directory: String) throws(CacheError) {
        var status = stat()
        guard stat(directory, &status) == 0 else { throw cacheError(errno: errno, "look at \(directory)") }
        guard status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
            throw CacheError(
                .denied,
                "the scratch directory \(directory) belongs to another user or can be written by others; "
                    + "choose one of your own, or remove the permissions of group and others")
        }
    }

    /// Makes a new directory in `parent`, and removes those that killed processes of this user left there.
    static func makeTemporary(in parent: String) throws(CacheError) -> (path: String, lock: ScratchLock) {
        try makeDirectory(parent)
        for name in fileNames(in: parent) where name.hasPrefix(prefix) { removeAbandoned("\(parent)/\(name)") }
        // Another process may take a directory that is not locked yet for an abandoned one, but does so once only.
        for _ in 0..<8 {
            let name = String(UInt64.random(in: .min ... .max), radix: 36)
            let directory = "\(parent)/\(prefix)\(name)"
            guard mkdir(directory, 0o700) == 0 else {
                throw cacheError(errno: errno, "make the directory \(directory)")
            }
            if let lock = ScratchLock.take(in: directory, isNew: true) { return (directory, lock) }
            remove(directory)
        }
        throw CacheError(.busy, "other processes keep removing new directories in \(parent)", retry: .worthwhile)
    }

    /// Removes the layers, notes and lock of a store, and its directory unless something else is in it.
    static func remove(_ directory: String) {
        for folder in ["blobs/sha256", "conversions"] {
            for name in fileNames(in: "\(directory)/\(folder)") { unlink("\(directory)/\(folder)/\(name)") }
        }
        for folder in ["blobs/sha256", "blobs", "conversions"] { rmdir("\(directory)/\(folder)") }
        unlink("\(directory)/\(ScratchLock.name)")
        rmdir(directory)
    }

    /// Removes a temporary store whose process is gone.
    private static func removeAbandoned(_ directory: String) {
        var status = stat()
        guard lstat(directory, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(),
            let lock = ScratchLock.take(in: directory, isNew: false)
        else { return }
        withExtendedLifetime(lock) { remove(directory) }
    }
}

/// The lock of a temporary store, which ends with the process however that ends.
final class ScratchLock: Sendable {
    static let name = "lock"
    private let descriptor: Int32

    private init(_ descriptor: Int32) { self.descriptor = descriptor }

    /// Takes the lock of a directory.
    ///
    /// - Parameter isNew: Whether the file is made.
    /// - Returns: `nil` if another process holds the lock, or has removed the directory.
    static func take(in directory: String, isNew: Bool) -> ScratchLock? {
        let flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (isNew ? O_CREAT | O_EXCL : 0)
        let descriptor = retryingInterrupts { open("\(directory)/\(name)", flags, 0o600) }
        guard descriptor >= 0 else { return nil }
        var status = stat()
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, fstat(descriptor, &status) == 0, status.st_nlink > 0 else {
            close(descriptor)
            return nil
        }
        return ScratchLock(descriptor)
    }

    deinit {
        // A process that another thread is starting has a copy of the descriptor for a moment, and a close alone would leave it the lock.
        flock(descriptor, LOCK_UN)
        close(descriptor)
    }
}

/// The names of all files in a directory, none if it cannot be read.
private func fileNames(in directory: String) -> [String] {
    guard let listing = opendir(directory) else { return [] }
    defer { closedir(listing) }
    var names: [String] = []
    while let entry = readdir(listing) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != ".", name != ".." { names.append(name) }
    }
    return names
}
