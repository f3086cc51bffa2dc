package import BuildCacheCore
package import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Writes a file that is there completely or not at all.
///
/// `body` writes to the file it is given and returns where it belongs; only then the file appears there,
/// replacing what was there. If `body` throws or the task is cancelled, no file is left behind.
///
/// - Parameters:
///   - directory: Where the file grows under a random name; on the same file system as the place it belongs to.
///   - permissions: The file's mode, less the process's umask.
///   - synchronized: Whether the bytes are on the disk before the file appears, so that a power cut cannot leave a file
///     of the right name with the wrong bytes.
/// - Throws: What `body` throws, and `CacheError` `.denied`, `.storageFull`, `.unavailable`.
package func writeAtomically<Value>(
    in directory: String, permissions: UInt32 = 0o644, synchronized: Bool,
    _ body: (AtomicFile) async throws -> (path: String, value: Value)
) async throws -> Value {
    let file = try await Workers.files.run { () throws(CacheError) in
        try AtomicFile(in: directory, permissions: permissions)
    }
    do {
        let (path, value) = try await body(file)
        try Task.checkCancellation()
        try await Workers.files.run { () throws(CacheError) in try file.finish(as: path, synchronized: synchronized) }
        return value
    } catch {
        await Workers.files.run { file.discard() }
        throw error
    }
}

/// Makes `directory` and the directories above it, unless they are there.
///
/// - Throws: `CacheError` as ``cacheError(errno:_:)``.
package func makeDirectory(_ directory: String, permissions: UInt32 = 0o755) throws(CacheError) {
    var path = directory.hasPrefix("/") ? "/" : ""
    for part in directory.split(separator: "/") {
        path += part
        // Looking first, because a read-only file system refuses to make even what is there.
        if access(path, F_OK) != 0, mkdir(path, mode_t(permissions)) != 0, errno != EEXIST {
            throw cacheError(errno: errno, "make the directory \(path)")
        }
        path += "/"
    }
}

/// A file of a random name that either gets its real name or disappears; see ``writeAtomically(in:permissions:synchronized:_:)``.
package final class AtomicFile: Sendable {
    private let path: String
    private let descriptor: Int32

    fileprivate init(in directory: String, permissions: UInt32) throws(CacheError) {
        path = "\(directory)/.\(String(UInt64.random(in: .min ... .max), radix: 36)).tmp"
        let path = path
        descriptor = retryingInterrupts { open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t(permissions)) }
        guard descriptor >= 0 else { throw AtomicFile.error(errno: errno, "create a file in \(directory)") }
    }

    /// What went wrong with a file of our own: that its directory is gone does not mean that what is written is not found.
    private static func error(errno code: Int32, _ action: String) -> CacheError {
        var error = cacheError(errno: code, action)
        if error.code == .notFound || error.code == .corrupted { error.code = .unavailable }
        return error
    }

    deinit { close(descriptor) }

    /// Appends `chunk`, on ``Workers/files``.
    ///
    /// - Throws: `CacheError` as ``cacheError(errno:_:)``; `CancellationError`.
    package func write(_ chunk: ByteBuffer) async throws {
        try Task.checkCancellation()
        try await Workers.files.run { () throws(CacheError) in try self.append(chunk) }
    }

    private func append(_ chunk: ByteBuffer) throws(CacheError) {
        var rest = chunk
        while rest.readableBytes > 0 {
            var failure: Int32 = 0
            rest.readWithUnsafeReadableBytes { bytes in
                let count = retryingInterrupts { systemWrite(descriptor, bytes) }
                if count < 0 { failure = errno }
                return max(0, count)
            }
            guard failure == 0 else { throw AtomicFile.error(errno: failure, "write \(path)") }
        }
    }

    fileprivate func finish(as name: String, synchronized: Bool) throws(CacheError) {
        if synchronized, retryingInterrupts({ fsync(descriptor) }) != 0 {
            throw AtomicFile.error(errno: errno, "write \(path)")
        }
        guard rename(path, name) == 0 else { throw AtomicFile.error(errno: errno, "rename \(path) to \(name)") }
    }

    fileprivate func discard() { unlink(path) }
}

// A class with a method named write hides the system call.
private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
    write(descriptor, bytes.baseAddress, bytes.count)
}
