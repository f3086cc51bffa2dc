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
/// `body` writes chunks to the closure it is given and returns where the file belongs; only then the file appears there,
/// replacing what was there. If `body` throws or the task is cancelled, no file is left behind.
///
/// - Parameters:
///   - directory: Where the file grows under a random name; on the same file system as the place it belongs to.
///   - permissions: The file's mode, less the process's umask.
///   - synchronized: Whether the bytes are on the disk before the file appears, so that a power cut cannot leave a file
///     of the right name with the wrong bytes.
/// - Throws: What `body` throws, and ``CacheError`` as ``cacheError(errno:_:)``.
package func writeAtomically<Value>(
    in directory: String, permissions: UInt32 = 0o644, synchronized: Bool,
    _ body: (_ write: (ByteBuffer) async throws -> Void) async throws -> (path: String, value: Value)
) async throws -> Value {
    let file = try await Workers.files.run { () throws(CacheError) in
        try TemporaryFile(in: directory, permissions: permissions)
    }
    do {
        let (path, value) = try await body { chunk in
            try Task.checkCancellation()
            try await Workers.files.run { () throws(CacheError) in try file.write(chunk) }
        }
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
/// - Throws: ``CacheError`` as ``cacheError(errno:_:)``.
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

/// A file of a random name that either gets its real name or disappears.
///
/// Its calls block.
private final class TemporaryFile: Sendable {
    private let path: String
    private let descriptor: Int32

    init(in directory: String, permissions: UInt32) throws(CacheError) {
        path = "\(directory)/.\(String(UInt64.random(in: .min ... .max), radix: 36)).tmp"
        let path = path
        descriptor = retryingInterrupts { open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t(permissions)) }
        guard descriptor >= 0 else { throw cacheError(errno: errno, "create a file in \(directory)") }
    }

    deinit { close(descriptor) }

    func write(_ chunk: ByteBuffer) throws(CacheError) {
        var rest = chunk
        while rest.readableBytes > 0 {
            var failure: Int32 = 0
            rest.readWithUnsafeReadableBytes { bytes in
                let count = retryingInterrupts { Self.write(descriptor, bytes) }
                if count < 0 { failure = errno }
                return max(0, count)
            }
            guard failure == 0 else { throw cacheError(errno: failure, "write \(path)") }
        }
    }

    func finish(as name: String, synchronized: Bool) throws(CacheError) {
        if synchronized, retryingInterrupts({ fsync(descriptor) }) != 0 {
            throw cacheError(errno: errno, "write \(path)")
        }
        guard rename(path, name) == 0 else { throw cacheError(errno: errno, "rename \(path) to \(name)") }
    }

    func discard() { unlink(path) }

    // Inside a method named write, the system call needs a name of its own.
    private static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
        #if canImport(Glibc)
            Glibc.write(descriptor, bytes.baseAddress, bytes.count)
        #elseif canImport(Musl)
            Musl.write(descriptor, bytes.baseAddress, bytes.count)
        #else
            Darwin.write(descriptor, bytes.baseAddress, bytes.count)
        #endif
    }
}
