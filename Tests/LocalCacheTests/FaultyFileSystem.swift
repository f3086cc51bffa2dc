import BuildCacheCore
import BuildCacheClient
import Synchronization

/// The real file system, until operation number `n`.
///
/// Operations are counted from 1, `close` is none: it cannot fail, and after a kill the kernel closes files too.
final class FaultyFileSystem: FileSystem {
    enum Fault: Sendable {
        case none
        /// The operation fails with this number and does nothing; all others work.
        case fail(CInt)
        /// The operation writes half of what it should, if it is a write.
        case shortWrite
        /// The operation and all after it do nothing, those that clean up too: what a kill at this moment leaves.
        case halt
    }

    /// No system call returns it: what the process sees that should be dead by then.
    static let halted: CInt = 9999

    private let base = PosixFileSystem()
    private let fault: Fault
    private let turn: Int
    private let count = Mutex(0)
    private let names = Mutex<[CInt: String]>([:])
    private let log = Mutex<[String]>([])
    private let others: @Sendable (String) -> Void

    /// - Parameter others: What other processes do at a moment: before `lock <name>`, after `read <name>`.
    init(_ fault: Fault = .none, at turn: Int = 0, others: @escaping @Sendable (String) -> Void = { _ in }) {
        self.fault = fault
        self.turn = turn
        self.others = others
    }

    /// Whether there were so many operations at all.
    var wasReached: Bool { count.withLock { $0 >= turn } }

    /// What made something durable or visible, in order: `sync <name>` and `<name> appears`.
    var events: [String] { log.withLock { $0 } }

    /// Counts an operation; whether it is the one to write short.
    @discardableResult
    private func step() throws(SystemError) -> Bool {
        let number = count.withLock { count in
            count += 1
            return count
        }
        switch fault {
        case .fail(let error): if number == turn { throw SystemError(error) }
        case .shortWrite: return number == turn
        case .none: break
        case .halt: if number >= turn { throw SystemError(FaultyFileSystem.halted) }
        }
        return false
    }

    func open(_ name: String, in directory: CInt?, _ access: FileAccess) throws(SystemError) -> CInt {
        try step()
        let file = try base.open(name, in: directory, access)
        names.withLock { $0[file] = name }
        return file
    }

    private func name(of file: CInt) -> String { names.withLock { $0[file] } ?? "" }

    func close(_ file: CInt) { base.close(file) }

    func status(_ file: CInt) throws(SystemError) -> FileStatus {
        try step()
        return try base.status(file)
    }

    func status(_ name: String, in directory: CInt) throws(SystemError) -> FileStatus {
        try step()
        return try base.status(name, in: directory)
    }

    func read(_ file: CInt, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(SystemError) -> Int {
        try step()
        let count = try base.read(file, into: buffer, at: offset)
        others("read \(name(of: file))")
        return count
    }

    func write(_ file: CInt, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
        let isShort = try step()
        return try base.write(file, isShort ? UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)]) : bytes)
    }

    func sync(_ file: CInt) throws(SystemError) {
        try step()
        // Counted, not done: no test cuts the power, and waiting for the disk is most of what an export costs.
        log.withLock { $0.append("sync \(name(of: file))") }
    }

    func setPermissions(_ file: CInt, _ permissions: UInt16) throws(SystemError) {
        try step()
        try base.setPermissions(file, permissions)
    }

    func tryLock(_ file: CInt, exclusive: Bool) throws(SystemError) -> LockOutcome {
        try step()
        others("lock \(name(of: file))")
        return try base.tryLock(file, exclusive: exclusive)
    }

    func unlock(_ file: CInt) { base.unlock(file) }
    func lockHolders(_ file: CInt) -> [Int32] { base.lockHolders(file) }
    var ownProcess: Int32 { base.ownProcess }

    func refresh(_ name: String, in directory: CInt) throws(SystemError) {
        try step()
        try base.refresh(name, in: directory)
    }

    func makeDirectory(_ name: String, in directory: CInt?) throws(SystemError) {
        try step()
        try base.makeDirectory(name, in: directory)
    }

    func rename(
        _ name: String, in directory: CInt, to newName: String, in newDirectory: CInt
    ) throws(SystemError) {
        try step()
        try base.rename(name, in: directory, to: newName, in: newDirectory)
        log.withLock { $0.append("\(newName) appears") }
    }

    func remove(_ name: String, in directory: CInt, isDirectory: Bool) throws(SystemError) {
        try step()
        try base.remove(name, in: directory, isDirectory: isDirectory)
    }

    func list(_ directory: CInt) throws(SystemError) -> [String] {
        try step()
        return try base.list(directory)
    }

    func now() -> Timestamp { base.now() }
}
