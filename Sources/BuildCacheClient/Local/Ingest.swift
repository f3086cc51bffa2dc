import BuildCacheCore
import NIOCore

/// A file that is being written: invisible under `ingest` until it is published whole.
///
/// `ingest/build-cache-<random>/data`, in the shape of containerd's, whose tools walk that directory. The file is locked as long
/// as its writer lives, so that ``removeAbandoned(in:)`` can tell what a killed process left from what is still growing.
final class Ingest: Sendable {
    static let prefix = "build-cache-"
    private static let file = "data"

    private let name: String
    private let parent: OpenFile
    private let directory: OpenFile
    private let data: OpenFile

    /// Begins a file in `parent`, the layout's `ingest`.
    init(in parent: OpenFile) throws {
        // Somebody who cleans up may remove what we made before we lock it. Then we lost nothing but the name; who cleans
        // does so once, thus a few names are plenty.
        for _ in 0..<8 {
            let name = Ingest.prefix + String(UInt64.random(in: 0...UInt64.max), radix: 16)
            try parent.makeDirectory(name)
            do {
                guard let (directory, data) = try Ingest.claim(name, in: parent) else { continue }
                self.name = name
                self.parent = parent
                self.directory = directory
                self.data = data
                return
            } catch {
                Ingest.remove(name, in: parent)
                throw error
            }
        }
        throw CacheError(
            .busy, "others keep removing what is written to ingest; export again when they are done",
            context: .init(backend: "local", subject: "ingest"), retry: .worthwhile)
    }

    private static func claim(_ name: String, in parent: OpenFile) throws(FileError) -> (OpenFile, OpenFile)? {
        do throws(FileError) {
            let directory = try parent.open(name, .directory)
            let data = try directory.open(file, .create)
            guard try data.tryLock(exclusive: true) != .held, try data.status().links > 0 else { return nil }
            return (directory, data)
        } catch  where error.isNotFound {
            return nil
        }
    }

    // MARK: Writing

    func write(_ chunks: [ByteBuffer]) throws {
        for chunk in chunks { try chunk.withUnsafeReadableBytes { try data.write($0) } }
    }

    func write(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { try data.write($0) }
    }

    // MARK: Ending

    /// Makes the file durable and moves it to its place, replacing what is there; the ingest is over then.
    ///
    /// Whoever relies on the *name* after a power cut syncs `directory`.
    func publish(as newName: String, in destination: OpenFile, permissions: UInt16) throws(FileError) {
        try data.sync()
        try data.setPermissions(permissions)
        try directory.rename(Ingest.file, to: newName, in: destination)
        // An empty directory that stays is removed by the next export.
        try? parent.remove(name, isDirectory: true)
    }

    /// The permissions the file was made with: what the umask left of 0644.
    func permissions() throws(FileError) -> UInt16 { try data.status().permissions }

    /// Removes what was written.
    func discard() { Ingest.remove(name, in: parent) }

    // MARK: Leftovers

    /// Removes the ingests of killed processes from `parent`.
    ///
    /// Only those that this library made: containerd and BuildKit lock nothing, so that theirs may be alive.
    static func removeAbandoned(in parent: OpenFile) throws(FileError) {
        for name in try parent.list() where name.hasPrefix(prefix) {
            if let data = lockAbandoned(name, in: parent) {
                // Locked until it is removed: a writer that made it this very moment sees that it lost it.
                withExtendedLifetime(data) { remove(name, in: parent) }
            } else {
                // One without a file. Should its writer live and make the file now, the directory is not empty and stays.
                try? parent.remove(name, isDirectory: true)
            }
        }
    }

    /// The ingests in `parent` whose writers are gone.
    static func abandoned(in parent: OpenFile) throws(FileError) -> [String] {
        try parent.list().filter { $0.hasPrefix(prefix) && lockAbandoned($0, in: parent) != nil }
    }

    /// The lock of an ingest whose writer is gone; `nil` for one that is alive, or that is not one of ours whatever it is called.
    private static func lockAbandoned(_ name: String, in parent: OpenFile) -> OpenFile? {
        guard let directory = try? parent.open(name, .directory) else { return nil }
        // The file is read-only already if its writer was killed just before it published it.
        guard let data = (try? directory.open(file, .update)) ?? (try? directory.open(file, .read)) else { return nil }
        return (try? data.tryLock(exclusive: true)) == .taken ? data : nil
    }

    /// Removes an ingest as far as it goes: what fails here is left to the next export.
    static func remove(_ name: String, in parent: OpenFile) {
        guard let directory = try? parent.open(name, .directory) else { return }
        for file in (try? directory.list()) ?? [] { try? directory.remove(file) }
        try? parent.remove(name, isDirectory: true)
    }
}
