import Synchronization

/// An open file or directory of a layout, closed with the last reference to it.
///
/// Whatever is opened is named relative to an open directory, by one component, and no symbolic link is followed: nothing
/// planted in a layout makes us read or write outside of it.
final class OpenFile: Sendable {
    /// The path, beginning with the layout's, for messages.
    let path: String
    private let descriptor: CInt
    private let fileSystem: any FileSystem
    private let isLocked = Atomic(false)

    private init(_ descriptor: CInt, path: String, fileSystem: any FileSystem) {
        self.descriptor = descriptor
        self.path = path
        self.fileSystem = fileSystem
    }

    deinit {
        if isLocked.load(ordering: .relaxed) { fileSystem.unlock(descriptor) }
        fileSystem.close(descriptor)
    }

    // MARK: Directories

    /// Opens the directory a user named, which may be a symbolic link.
    static func root(_ path: String, fileSystem: any FileSystem) throws(FileError) -> OpenFile {
        let descriptor = try naming("open", path) { () throws(SystemError) in
            try fileSystem.open(path, in: nil, .root)
        }
        return OpenFile(descriptor, path: path, fileSystem: fileSystem)
    }

    func open(_ name: String, _ access: FileAccess) throws(FileError) -> OpenFile {
        let path = self.path(of: name)
        let opened = try OpenFile.naming("open", path) { () throws(SystemError) in
            try fileSystem.open(name, in: descriptor, access)
        }
        return OpenFile(opened, path: path, fileSystem: fileSystem)
    }

    /// Opens a directory, which is made if it is not there and then as durable as this one.
    func openOrMakeDirectory(_ name: String) throws(FileError) -> OpenFile {
        do throws(FileError) {
            return try open(name, .directory)
        } catch  where error.isNotFound {
            do throws(FileError) {
                try makeDirectory(name)
                try syncDirectory()
            } catch  where error.alreadyExists {}
            return try open(name, .directory)
        }
    }

    func makeDirectory(_ name: String) throws(FileError) {
        try OpenFile.naming("make", path(of: name)) { () throws(SystemError) in
            try fileSystem.makeDirectory(name, in: descriptor)
        }
    }

    func list() throws(FileError) -> [String] {
        try OpenFile.naming("list", path) { () throws(SystemError) in try fileSystem.list(descriptor) }
    }

    /// The status of an entry, `nil` if there is none.
    func status(of name: String) throws(FileError) -> FileStatus? {
        do throws(FileError) {
            return try OpenFile.naming("look at", path(of: name)) { () throws(SystemError) in
                try fileSystem.status(name, in: descriptor)
            }
        } catch  where error.isNotFound {
            return nil
        }
    }

    /// Makes a file as old as a new one, if it is ours to change.
    func refresh(_ name: String) throws(FileError) {
        do throws(FileError) {
            try OpenFile.naming("refresh the time of", path(of: name)) { () throws(SystemError) in
                try fileSystem.refresh(name, in: descriptor)
            }
        } catch  where error.isDenied {}
    }

    /// Moves an entry, replacing what stands in its new place.
    func rename(_ name: String, to newName: String, in directory: OpenFile) throws(FileError) {
        try OpenFile.naming("replace", directory.path(of: newName)) { () throws(SystemError) in
            try fileSystem.rename(name, in: descriptor, to: newName, in: directory.descriptor)
        }
    }

    /// Removes an entry if it is there.
    func remove(_ name: String, isDirectory: Bool = false) throws(FileError) {
        do throws(FileError) {
            try OpenFile.naming("remove", path(of: name)) { () throws(SystemError) in
                try fileSystem.remove(name, in: descriptor, isDirectory: isDirectory)
            }
        } catch  where error.isNotFound {}
    }

    /// Makes the entries of this directory survive a power cut, where the file system can.
    func syncDirectory() throws(FileError) {
        do throws(FileError) { try sync() } catch  where error.isUnsupported {}
    }

    // MARK: Files

    func status() throws(FileError) -> FileStatus {
        try OpenFile.naming("look at", path) { () throws(SystemError) in try fileSystem.status(descriptor) }
    }

    /// Reads until `buffer` is full or the file ends, and says how much that was.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(FileError) -> Int {
        var filled = 0
        while filled < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            let count = try OpenFile.naming("read", path) { () throws(SystemError) in
                try fileSystem.read(descriptor, into: rest, at: offset + Int64(filled))
            }
            if count == 0 { break }
            filled += count
        }
        return filled
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(FileError) {
        var written = 0
        while written < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[written...])
            written += try OpenFile.naming("write", path) { () throws(SystemError) in
                try fileSystem.write(descriptor, rest)
            }
        }
    }

    func sync() throws(FileError) {
        try OpenFile.naming("sync", path) { () throws(SystemError) in try fileSystem.sync(descriptor) }
    }

    func setPermissions(_ permissions: UInt16) throws(FileError) {
        try OpenFile.naming("set the permissions of", path) { () throws(SystemError) in
            try fileSystem.setPermissions(descriptor, permissions)
        }
    }

    /// Takes a lock without waiting; it is held until this object goes.
    func tryLock(exclusive: Bool) throws(FileError) -> LockOutcome {
        let outcome = try OpenFile.naming("lock", path) { () throws(SystemError) in
            try fileSystem.tryLock(descriptor, exclusive: exclusive)
        }
        if outcome == .taken { isLocked.store(true, ordering: .relaxed) }
        return outcome
    }

    /// The holders of locks on this file, for messages, as in "process 17"; `nil` where the system does not tell.
    var lockHolders: String? {
        let processes = Set(fileSystem.lockHolders(descriptor)).sorted()
        guard !processes.isEmpty else { return nil }
        return processes.map { $0 == fileSystem.ownProcess ? "this process" : "process \($0)" }.joined(separator: ", ")
    }

    // MARK: Paths

    private func path(of name: String) -> String { path.hasSuffix("/") ? path + name : "\(path)/\(name)" }

    private static func naming<Value>(
        _ operation: StaticString, _ path: String, _ call: () throws(SystemError) -> Value
    ) throws(FileError) -> Value {
        do throws(SystemError) {
            return try call()
        } catch {
            throw FileError(operation: operation, path: path, number: error.number)
        }
    }
}
