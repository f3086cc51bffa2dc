package import BuildCacheCore

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// The real file system.
package struct PosixFileSystem: FileSystem {
    private let syncs: Bool

    /// - Parameter syncs: Whether a sync waits for the disk. Tests that cut no power need not wait.
    package init(syncs: Bool = true) { self.syncs = syncs }

    package func open(_ name: String, in directory: CInt?, _ access: FileAccess) throws(SystemError) -> CInt {
        // A path with a NUL would be cut there and name another file.
        guard !name.utf8.contains(0) else { throw SystemError(EINVAL) }
        // O_NONBLOCK matters to a FIFO only: planted in a layout, it must not hold us up for ever.
        var flags = O_CLOEXEC | O_NONBLOCK
        switch access {
        case .read: flags |= O_RDONLY | O_NOFOLLOW
        case .directory: flags |= O_RDONLY | O_DIRECTORY | O_NOFOLLOW
        case .root: flags |= O_RDONLY | O_DIRECTORY
        case .lock: flags |= O_RDWR | O_CREAT | O_NOFOLLOW
        case .update: flags |= O_RDWR | O_NOFOLLOW
        case .create: flags |= O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW
        }
        return try retryingInterrupted { openat(directory ?? AT_FDCWD, name, flags, 0o644) }
    }

    package func close(_ file: CInt) {
        // What was written is synced before, so there is nothing left to report; after EINTR the file is closed on Linux.
        #if canImport(Darwin)
            _ = Darwin.close(file)
        #elseif canImport(Musl)
            _ = Musl.close(file)
        #else
            _ = Glibc.close(file)
        #endif
    }

    package func status(_ file: CInt) throws(SystemError) -> FileStatus {
        var status = stat()
        try retryingInterrupted { fstat(file, &status) }
        return FileStatus(status)
    }

    package func status(_ name: String, in directory: CInt) throws(SystemError) -> FileStatus {
        var status = stat()
        try retryingInterrupted { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
        return FileStatus(status)
    }

    package func read(
        _ file: CInt, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64
    ) throws(SystemError) -> Int {
        try retryingInterrupted { pread(file, buffer.baseAddress, buffer.count, off_t(offset)) }
    }

    package func write(_ file: CInt, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
        try retryingInterrupted {
            #if canImport(Darwin)
                Darwin.write(file, bytes.baseAddress, bytes.count)
            #elseif canImport(Musl)
                Musl.write(file, bytes.baseAddress, bytes.count)
            #else
                Glibc.write(file, bytes.baseAddress, bytes.count)
            #endif
        }
    }

    package func sync(_ file: CInt) throws(SystemError) {
        guard syncs else { return }
        #if canImport(Darwin)
            // fsync() stops at the drive's cache there; not every file system knows the stronger call.
            if fcntl(file, F_FULLFSYNC) == 0 { return }
        #endif
        try retryingInterrupted { fsync(file) }
    }

    package func setPermissions(_ file: CInt, _ permissions: UInt16) throws(SystemError) {
        try retryingInterrupted { fchmod(file, mode_t(permissions)) }
    }

    package func tryLock(_ file: CInt, exclusive: Bool) throws(SystemError) -> LockOutcome {
        do throws(SystemError) {
            try retryingInterrupted { flock(file, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) }
            return .taken
        } catch {
            switch error.number {
            case EWOULDBLOCK: return .held
            // EBADF: NFS wants the file open for writing, which a directory never is.
            case ENOLCK, EOPNOTSUPP, ENOSYS, EINVAL, EBADF: return .unsupported
            default: throw error
            }
        }
    }

    package func unlock(_ file: CInt) { _ = flock(file, LOCK_UN) }

    package var ownProcess: Int32 { getpid() }

    package func lockHolders(_ file: CInt) -> [Int32] {
        #if os(Linux)
            var status = stat()
            guard fstat(file, &status) == 0, let table = try? open("/proc/locks", in: nil, .read) else { return [] }
            defer { close(table) }
            var bytes: [UInt8] = []
            var part = [UInt8](repeating: 0, count: 1 << 16)
            // A machine with more locks than that has other troubles than an incomplete message.
            while bytes.count < 1 << 20 {
                let count = part.withUnsafeMutableBytes { Glibc.read(table, $0.baseAddress, $0.count) }
                guard count > 0 else { break }
                bytes += part.prefix(count)
            }
            return LockTable.processes(
                holding: UInt64(status.st_ino), in: String(decoding: bytes, as: UTF8.self))
        #else
            return []
        #endif
    }

    package func refresh(_ name: String, in directory: CInt) throws(SystemError) {
        try retryingInterrupted { utimensat(directory, name, nil, AT_SYMLINK_NOFOLLOW) }
    }

    package func makeDirectory(_ name: String, in directory: CInt?) throws(SystemError) {
        guard !name.utf8.contains(0) else { throw SystemError(EINVAL) }
        try retryingInterrupted { mkdirat(directory ?? AT_FDCWD, name, 0o755) }
    }

    package func rename(
        _ name: String, in directory: CInt, to newName: String, in newDirectory: CInt
    ) throws(SystemError) {
        try retryingInterrupted { renameat(directory, name, newDirectory, newName) }
    }

    package func remove(_ name: String, in directory: CInt, isDirectory: Bool) throws(SystemError) {
        try retryingInterrupted { unlinkat(directory, name, isDirectory ? AT_REMOVEDIR : 0) }
    }

    package func list(_ directory: CInt) throws(SystemError) -> [String] {
        // The stream takes its descriptor over, so it gets one of its own; "." opened anew begins at the first entry.
        let own = try open(".", in: directory, .directory)
        guard let stream = fdopendir(own) else {
            let error = SystemError(errno)
            close(own)
            throw error
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        guard errno == 0 else { throw SystemError(errno) }
        return names
    }

    package func now() -> Timestamp { .now() }

    @discardableResult
    private func retryingInterrupted<Number: SignedInteger>(_ call: () -> Number) throws(SystemError) -> Number {
        while true {
            let result = call()
            if result >= 0 { return result }
            guard errno == EINTR else { throw SystemError(errno) }
        }
    }
}

extension FileStatus {
    fileprivate init(_ status: stat) {
        switch status.st_mode & S_IFMT {
        case S_IFREG: kind = .regular
        case S_IFDIR: kind = .directory
        default: kind = .other
        }
        size = Int64(status.st_size)
        permissions = UInt16(status.st_mode & 0o777)
        #if canImport(Darwin)
            modifiedAt = Timestamp(status.st_mtimespec)
        #else
            modifiedAt = Timestamp(status.st_mtim)
        #endif
        identity = Identity(device: UInt64(truncatingIfNeeded: status.st_dev), number: UInt64(status.st_ino))
        links = UInt64(status.st_nlink)
    }
}

extension Timestamp {
    /// A file may carry any time; one outside the years 1 to 9999 reads as the zero time.
    fileprivate init(_ time: timespec) {
        self = Timestamp(seconds: Int64(time.tv_sec), nanoseconds: Int32(truncatingIfNeeded: time.tv_nsec)) ?? .zero
    }
}
