import BuildCacheCore
import BuildCacheClient
import Foundation
import Synchronization

/// The real file system, until operation number `turn`: there the process is killed, a write when half of it is done.
final class KillingFileSystem: FileSystem {
    private let base = PosixFileSystem()
    private let turn: Int
    private let count = Mutex(0)

    init(at turn: Int) { self.turn = turn }

    private var isLast: Bool {
        count.withLock { count in
            count += 1
            return count == turn
        }
    }

    private func step() { if isLast { die() } }

    /// No handler runs and nothing is cleaned up.
    private func die() { kill(getpid(), SIGKILL) }

    func open(_ name: String, in directory: CInt?, _ access: FileAccess) throws(SystemError) -> CInt {
        step()
        return try base.open(name, in: directory, access)
    }

    func close(_ file: CInt) { base.close(file) }

    func status(_ file: CInt) throws(SystemError) -> FileStatus {
        step()
        return try base.status(file)
    }

    func status(_ name: String, in directory: CInt) throws(SystemError) -> FileStatus {
        step()
        return try base.status(name, in: directory)
    }

    func read(_ file: CInt, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(SystemError) -> Int {
        step()
        return try base.read(file, into: buffer, at: offset)
    }

    func write(_ file: CInt, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
        guard isLast else { return try base.write(file, bytes) }
        let count = try base.write(file, UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)]))
        die()
        return count
    }

    func sync(_ file: CInt) throws(SystemError) {
        // Counted, not done: a kill is no power cut, and waiting for the disk is most of what an export costs.
        step()
    }

    func setPermissions(_ file: CInt, _ permissions: UInt16) throws(SystemError) {
        step()
        try base.setPermissions(file, permissions)
    }

    func tryLock(_ file: CInt, exclusive: Bool) throws(SystemError) -> LockOutcome {
        step()
        return try base.tryLock(file, exclusive: exclusive)
    }

    func unlock(_ file: CInt) { base.unlock(file) }
    func lockHolders(_ file: CInt) -> [Int32] { base.lockHolders(file) }
    var ownProcess: Int32 { base.ownProcess }

    func refresh(_ name: String, in directory: CInt) throws(SystemError) {
        step()
        try base.refresh(name, in: directory)
    }

    func makeDirectory(_ name: String, in directory: CInt?) throws(SystemError) {
        step()
        try base.makeDirectory(name, in: directory)
    }

    func rename(
        _ name: String, in directory: CInt, to newName: String, in newDirectory: CInt
    ) throws(SystemError) {
        step()
        try base.rename(name, in: directory, to: newName, in: newDirectory)
    }

    func remove(_ name: String, in directory: CInt, isDirectory: Bool) throws(SystemError) {
        step()
        try base.remove(name, in: directory, isDirectory: isDirectory)
    }

    func list(_ directory: CInt) throws(SystemError) -> [String] {
        step()
        return try base.list(directory)
    }

    func now() -> Timestamp { base.now() }
}
