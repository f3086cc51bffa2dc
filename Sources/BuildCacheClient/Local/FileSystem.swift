package import BuildCacheCore

/// The system calls a layout is made of, as a seam: tests fail or halt any of them.
///
/// Raw by intent. ``OpenFile`` is what the rest of the module uses: it closes itself, knows its path and never follows links.
/// All calls block and belong on ``Blocking``.
package protocol FileSystem: Sendable {
    /// Opens `name` below an open directory, or below the working directory if there is none.
    func open(_ name: String, in directory: CInt?, _ access: FileAccess) throws(SystemError) -> CInt
    func close(_ file: CInt)
    func status(_ file: CInt) throws(SystemError) -> FileStatus
    /// The status of a directory entry itself: of a symbolic link, not of what it points to.
    func status(_ name: String, in directory: CInt) throws(SystemError) -> FileStatus
    /// Reads at most as much as fits; 0 at the end of the file.
    func read(_ file: CInt, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(SystemError) -> Int
    /// Writes at the file's position, possibly less than asked.
    func write(_ file: CInt, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int
    /// Returns when everything written to the file, or every entry of the directory, survives a power cut.
    func sync(_ file: CInt) throws(SystemError)
    func setPermissions(_ file: CInt, _ permissions: UInt16) throws(SystemError)
    /// Takes a lock without waiting. It goes with ``unlock(_:)``, or however the process ends.
    func tryLock(_ file: CInt, exclusive: Bool) throws(SystemError) -> LockOutcome
    /// Gives a lock back. A close alone would not: a process that another thread is starting has a copy of every open file
    /// until its program begins, and the lock goes with the last of the copies.
    func unlock(_ file: CInt)
    /// The processes that hold a lock on a file or directory, as far as the system tells.
    func lockHolders(_ file: CInt) -> [Int32]
    /// The number of this process.
    var ownProcess: Int32 { get }
    /// Makes a file that is no symbolic link as old as a new one.
    func refresh(_ name: String, in directory: CInt) throws(SystemError)
    func makeDirectory(_ name: String, in directory: CInt?) throws(SystemError)
    func rename(_ name: String, in directory: CInt, to newName: String, in newDirectory: CInt) throws(SystemError)
    func remove(_ name: String, in directory: CInt, isDirectory: Bool) throws(SystemError)
    /// The names in a directory, without `.` and `..`, in no order.
    func list(_ directory: CInt) throws(SystemError) -> [String]
    /// The time that file times are compared with.
    func now() -> Timestamp
}

/// What a file is opened for.
package enum FileAccess: Hashable, Sendable {
    /// To read a file that is no symbolic link.
    case read
    /// To reach into a directory that is no symbolic link.
    case directory
    /// To reach into the directory a user named; only this one may be a symbolic link.
    case root
    /// To lock a file, which is made if it is not there.
    case lock
    /// To lock and remove a file that another writer made.
    case update
    /// To write a file that does not exist yet.
    case create
}

/// What a file is, without reading it.
package struct FileStatus: Hashable, Sendable {
    package enum Kind: Hashable, Sendable { case regular, directory, other }
    /// Tells files apart, whatever their names.
    package struct Identity: Hashable, Sendable {
        package var device: UInt64
        package var number: UInt64
    }

    package var kind: Kind
    package var size: Int64
    /// The nine bits of who may read, write and execute.
    package var permissions: UInt16
    package var modifiedAt: Timestamp
    package var identity: Identity
    /// In how many directories the file stands; 0 once it is removed.
    package var links: UInt64
}

/// What came of asking for a lock.
package enum LockOutcome: Hashable, Sendable {
    case taken
    /// It is held through another open file.
    case held
    /// This file system knows no locks.
    case unsupported
}

/// The number a system call failed with.
package struct SystemError: Error, Hashable {
    package var number: CInt
    package init(_ number: CInt) { self.number = number }
}
