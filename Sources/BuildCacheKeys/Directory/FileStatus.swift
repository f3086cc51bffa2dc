import BuildCacheCore
import CAttributes

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The status of a file, links not followed.
struct FileStatus {
    /// The identity and the version of a file: every write changes one of these numbers.
    struct Stamp: Hashable, Sendable {
        var size: Int64
        var inode: UInt64
        var device: UInt64
        var modified: Int64
        var modifiedNanoseconds: Int64
        var changed: Int64
        var changedNanoseconds: Int64
        var mode: UInt32
    }

    let stamp: Stamp
    private let status: stat

    /// Seconds since 1970.
    static var now: Int64 { Int64(time(nil)) }

    /// The number of processors, at least one.
    static let processors = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))

    /// - Throws: `CacheError` as ``failure(_:_:)``.
    init(_ path: [UInt8]) throws(CacheError) {
        var status = stat()
        guard FileStatus.withPath(path, { lstat($0, &status) }) == 0 else {
            throw FileStatus.failure("read the status of", path)
        }
        self.init(status)
    }

    private init(_ status: stat) {
        self.status = status
        #if canImport(Darwin)
            let (modified, changed) = (status.st_mtimespec, status.st_ctimespec)
        #else
            let (modified, changed) = (status.st_mtim, status.st_ctim)
        #endif
        stamp = Stamp(
            size: Int64(status.st_size), inode: UInt64(truncatingIfNeeded: status.st_ino),
            device: UInt64(truncatingIfNeeded: status.st_dev), modified: Int64(modified.tv_sec),
            modifiedNanoseconds: Int64(modified.tv_nsec), changed: Int64(changed.tv_sec),
            changedNanoseconds: Int64(changed.tv_nsec), mode: UInt32(status.st_mode))
    }

    var isDirectory: Bool { status.st_mode & S_IFMT == S_IFDIR }
    var isRegular: Bool { status.st_mode & S_IFMT == S_IFREG }

    /// The metadata that a content digest holds.
    ///
    /// - Throws: `CacheError` if a link or an attribute cannot be read.
    func metadata(of path: [UInt8], origin: ContentTreeBuilder.Origin) throws(CacheError) -> FileMetadata {
        var metadata = FileMetadata(permissions: UInt32(status.st_mode) & 0o7777, size: stamp.size)
        switch status.st_mode & S_IFMT {
        case S_IFDIR: metadata.kind = .directory
        case S_IFLNK: metadata.kind = .symlink(try FileStatus.target(of: path))
        case S_IFCHR: metadata.kind = .characterDevice
        case S_IFBLK: metadata.kind = .blockDevice
        case S_IFIFO: metadata.kind = .fifo
        case S_IFSOCK: metadata.kind = .socket
        default: metadata.kind = .regular
        }
        if origin == .localContext {
            if metadata.kind == .characterDevice || metadata.kind == .blockDevice {
                metadata.deviceMajor = Int64(attributes_major(status.st_rdev))
                metadata.deviceMinor = Int64(attributes_minor(status.st_rdev))
            }
        } else {
            metadata.uid = UInt32(status.st_uid)
            metadata.gid = UInt32(status.st_gid)
        }
        metadata.attributes = try FileStatus.attributes(of: path)
        return metadata
    }

    // MARK: Calls

    /// The error of the call that failed just now.
    static func failure(_ action: String, _ path: [UInt8]) -> CacheError {
        let code = errno
        let reason = String(cString: strerror(code)).lowercased()
        let kind: CacheError.Code =
            switch code {
            case ENOENT, ENOTDIR: .notFound
            case EACCES, EPERM: .denied
            case ENAMETOOLONG, ELOOP: .corrupted
            default: .unavailable
            }
        return CacheError(
            kind, "cannot \(action) \(path.shown): \(reason)", retry: kind == .unavailable ? .worthwhile : .never)
    }

    static func withPath<Value>(_ path: [UInt8], _ body: (UnsafePointer<CChar>) -> Value) -> Value {
        (path + [0]).withUnsafeBufferPointer { buffer in
            buffer.withMemoryRebound(to: CChar.self) { chars in
                // A buffer that ends with a zero byte is not empty.
                chars.baseAddress.map(body) ?? body("")
            }
        }
    }

    private static func target(of path: [UInt8]) throws(CacheError) -> [UInt8] {
        var size = 256
        while size <= 1 << 20 {
            var target = [CChar](repeating: 0, count: size)
            let count = withPath(path) { readlink($0, &target, size) }
            guard count >= 0 else { throw failure("read the link", path) }
            if count < size { return target.prefix(count).map { UInt8(bitPattern: $0) } }
            size *= 4
        }
        throw CacheError(.limitExceeded, "the link \(path.shown) is longer than 1 MiB")
    }

    /// All attributes but those of Apple's file systems, which clients do not send.
    private static func attributes(of path: [UInt8]) throws(CacheError) -> [[UInt8]: [UInt8]] {
        // Nearly all files have none, which one call tells.
        let needed = withPath(path) { attributes_list($0, nil, 0) }
        guard needed > 0 else {
            guard needed < 0, errno != ENOTSUP else { return [:] }
            throw failure("list the attributes of", path)
        }
        let names = try bytes { buffer, size in
            withPath(path) { attributes_list($0, buffer?.assumingMemoryBound(to: CChar.self), size) }
        }
        guard let names else { throw failure("list the attributes of", path) }
        var found: [[UInt8]: [UInt8]] = [:]
        for name in names.split(separator: 0).map({ Array($0) }) where !name.starts(with: "com.apple.".utf8) {
            let value = try bytes { buffer, size in
                withPath(path) { path in withPath(name) { attributes_get(path, $0, buffer, size) } }
            }
            guard let value else { throw failure("read an attribute of", path) }
            found[name] = value
        }
        return found
    }

    /// The bytes that a call writes, asked again for as long as they are more than before.
    private static func bytes(
        _ call: (UnsafeMutableRawPointer?, Int) -> Int
    ) throws(CacheError) -> [UInt8]? {
        for _ in 0..<8 {
            let size = call(nil, 0)
            guard size > 0 else { return size == 0 ? [] : nil }
            guard size <= 1 << 24 else { throw CacheError(.limitExceeded, "an attribute has more than 16 MiB") }
            var bytes = [UInt8](repeating: 0, count: size)
            let count = bytes.withUnsafeMutableBytes { call($0.baseAddress, size) }
            if count >= 0 { return Array(bytes.prefix(count)) }
            guard errno == ERANGE else { return nil }
        }
        return nil
    }

    /// The names in a directory.
    static func names(in path: [UInt8]) throws(CacheError) -> [[UInt8]] {
        guard let directory = withPath(path, { opendir($0) }) else { throw failure("list", path) }
        defer { closedir(directory) }
        var names: [[UInt8]] = []
        while true {
            errno = 0
            guard let entry = readdir(directory) else {
                guard errno == 0 else { throw failure("list", path) }
                return names
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in Array(bytes.prefix { $0 != 0 }) }
            if name != [UInt8(ascii: ".")], name != Array("..".utf8) { names.append(name) }
        }
    }

    /// Hands the data of a file to `body` in chunks.
    ///
    /// - Parameter size: How many bytes are wanted; `nil` for all that there are.
    /// - Returns: The stamp of the file behind the last read.
    static func read(
        _ path: [UInt8], size: Int64? = nil, buffer: UnsafeMutableRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) throws(CacheError) -> Void
    ) throws(CacheError) -> Stamp {
        // Non-blocking, because a pipe that took the file's place would wait for its writer.
        let file = withPath(path) { open($0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) }
        guard file >= 0 else { throw failure("open", path) }
        defer { close(file) }
        var total: Int64 = 0
        while size.map({ total < $0 }) ?? true {
            #if canImport(Glibc)
                let count = Glibc.read(file, buffer.baseAddress, buffer.count)
            #elseif canImport(Musl)
                let count = Musl.read(file, buffer.baseAddress, buffer.count)
            #else
                let count = Darwin.read(file, buffer.baseAddress, buffer.count)
            #endif
            if count < 0 {
                if errno == EINTR { continue }
                throw failure("read", path)
            }
            if count == 0 { break }
            total += Int64(count)
            try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw failure("read the status of", path) }
        return FileStatus(status).stamp
    }

    /// The bytes of a small file.
    static func read(_ path: [UInt8], maximumBytes: Int) throws(CacheError) -> [UInt8] {
        var bytes: [UInt8] = []
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
        defer { buffer.deallocate() }
        _ = try read(path, buffer: buffer) { chunk throws(CacheError) in
            guard bytes.count + chunk.count <= maximumBytes else {
                throw CacheError(.limitExceeded, "the file \(path.shown) has more than \(maximumBytes) bytes")
            }
            bytes += chunk
        }
        return bytes
    }
}
