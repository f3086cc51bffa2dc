import BuildCacheCore
import Synchronization

/// The result of unpacking layers: counts, and the parts of the layers that were left out.
public struct UnpackReport: Hashable, Sendable {
    /// A part of a layer that was left out.
    public struct Skipped: Hashable, Sendable {
        /// The path in the layer; bytes that are not UTF-8 are replaced.
        public var path: String
        /// The part, as in `character device 1:3` or `xattr trusted.x`.
        public var what: String
        /// The reason.
        public var reason: String

        /// Creates a note.
        public init(path: String, what: String, reason: String) {
            self.path = path
            self.what = what
            self.reason = reason
        }
    }

    /// Entries of the layers, removals among them.
    public var entries: Int64 = 0
    /// Bytes of files.
    public var bytes: Int64 = 0
    /// Removals in the layers, of single names and of everything in a directory.
    public var removals: Int64 = 0
    /// The parts that were left out, the first 1000 of them.
    public var skipped: [Skipped] = []
    /// The number of parts that were left out.
    public var skippedCount: Int64 = 0
    /// Whether files have the owners that the layers say; otherwise all belong to the caller.
    public var keepsOwners = true

    /// Creates an empty report.
    public init() {}

    /// The most notes that a report keeps.
    static let maximumNotes = 1000

    /// Adds the counts and notes of another layer.
    mutating func add(_ other: UnpackReport) {
        entries += other.entries
        bytes += other.bytes
        removals += other.removals
        skipped += other.skipped.prefix(max(0, UnpackReport.maximumNotes - skipped.count))
        skippedCount += other.skippedCount
        keepsOwners = keepsOwners && other.keepsOwners
    }
}

/// A list of parts that are left out, filled by several threads.
final class SkippedParts: Sendable {
    private let state = Mutex((notes: [UnpackReport.Skipped](), count: Int64(0)))

    func add(_ path: some Sequence<UInt8>, _ what: String, _ reason: String) {
        state.withLock { state in
            state.count += 1
            guard state.notes.count < UnpackReport.maximumNotes else { return }
            state.notes.append(
                UnpackReport.Skipped(path: String(decoding: Array(path), as: UTF8.self), what: what, reason: reason))
        }
    }

    /// The notes in the order of their paths: the order of threads is an accident.
    var all: (notes: [UnpackReport.Skipped], count: Int64) {
        state.withLock { state in
            (state.notes.sorted { ($0.path, $0.what) < ($1.path, $1.what) }, state.count)
        }
    }
}
