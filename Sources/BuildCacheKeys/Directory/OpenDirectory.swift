import BuildCacheCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// An open directory, whose files are reached by name: the system does not walk the whole path for each of them.
struct OpenDirectory: ~Copyable {
    /// The path, for messages.
    let path: [UInt8]
    private let descriptor: Int32

    init(_ path: [UInt8]) throws(CacheError) {
        descriptor = SystemCall.withPath(path) { openat(AT_FDCWD, $0, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw SystemCall.failure("open", path) }
        self.path = path
    }

    deinit { close(descriptor) }

    func path(of name: [UInt8]) -> [UInt8] { path + [BytePath.slash] + name }

    /// The names in the directory.
    func names() throws(CacheError) -> [[UInt8]] {
        let copy = dup(descriptor)
        guard copy >= 0, let directory = fdopendir(copy) else {
            let error = SystemCall.failure("list", path)
            if copy >= 0 { close(copy) }
            throw error
        }
        defer { closedir(directory) }
        var names: [[UInt8]] = []
        while true {
            errno = 0
            guard let entry = readdir(directory) else {
                guard errno == 0 else { throw SystemCall.failure("list", path) }
                return names
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in Array(bytes.prefix { $0 != 0 }) }
            if name != [UInt8(ascii: ".")], name != Array("..".utf8) { names.append(name) }
        }
    }

    /// The status of a file, links not followed.
    func status(of name: [UInt8]) throws(CacheError) -> FileStatus {
        var status = stat()
        guard SystemCall.withPath(name, { fstatat(descriptor, $0, &status, AT_SYMLINK_NOFOLLOW) }) == 0 else {
            throw SystemCall.failure("read the status of", path(of: name))
        }
        return FileStatus(status)
    }

    /// The target of a symbolic link.
    func target(of name: [UInt8]) throws(CacheError) -> [UInt8] {
        var size = 256
        while size <= 1 << 20 {
            var target = [CChar](repeating: 0, count: size)
            let count = SystemCall.withPath(name) { readlinkat(descriptor, $0, &target, size) }
            guard count >= 0 else { throw SystemCall.failure("read the link", path(of: name)) }
            if count < size { return target.prefix(count).map { UInt8(bitPattern: $0) } }
            size *= 4
        }
        throw CacheError(.limitExceeded, "the link \(path(of: name).shown) is longer than 1 MiB")
    }

    /// Opens a file for reading.
    func open(_ name: [UInt8]) throws(CacheError) -> OpenedFile { try OpenedFile(descriptor, name, path(of: name)) }
}

/// A file that is open for reading.
struct OpenedFile: ~Copyable {
    private let path: [UInt8]
    private let descriptor: Int32

    /// Opens the file of a name in a directory.
    fileprivate init(_ directory: Int32, _ name: [UInt8], _ path: [UInt8]) throws(CacheError) {
        // Non-blocking, because a pipe that took the file's place would wait for its writer.
        let flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
        descriptor = SystemCall.withPath(name) { openat(directory, $0, flags) }
        guard descriptor >= 0 else { throw SystemCall.failure("open", path) }
        self.path = path
    }

    /// Opens the file at a path.
    init(_ path: [UInt8]) throws(CacheError) { try self.init(AT_FDCWD, path, path) }

    deinit { close(descriptor) }

    func attributes() throws(CacheError) -> [[UInt8]: [UInt8]] { try FileAttributes.of(open: descriptor, path) }

    func stamp() throws(CacheError) -> FileStatus.Stamp {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw SystemCall.failure("read the status of", path) }
        return FileStatus(status).stamp
    }

    /// Hands the data to `body` in chunks, until at least `size` bytes were read or the file ends.
    ///
    /// - Returns: The number of bytes.
    func read(
        size: Int64 = .max, _ buffer: UnsafeMutableRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) throws(CacheError) -> Void
    ) throws(CacheError) -> Int64 {
        var total: Int64 = 0
        while total < size {
            let count = SystemCall.read(descriptor, buffer)
            guard count >= 0 else { throw SystemCall.failure("read", path) }
            if count == 0 { break }
            total += Int64(count)
            try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
        return total
    }

    /// All bytes of a small file.
    func readAll(maximumBytes: Int) throws(CacheError) -> [UInt8] {
        var bytes: [UInt8] = []
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
        defer { buffer.deallocate() }
        _ = try read(buffer) { chunk throws(CacheError) in
            guard bytes.count + chunk.count <= maximumBytes else {
                throw CacheError(.limitExceeded, "the file \(path.shown) has more than \(maximumBytes) bytes")
            }
            bytes += chunk
        }
        return bytes
    }
}
