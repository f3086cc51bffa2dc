import BuildCacheCore
import Synchronization

/// The blob files that proved damaged when this process read them.
///
/// Reading changes nothing in a layout. An export of this process takes a file that is noted here for missing, and so replaces it.
final class DamagedFiles: Sendable {
    static let known = DamagedFiles()

    /// One version of a file: what replaced it is another.
    private struct Version: Hashable {
        var identity: FileStatus.Identity
        var modifiedAt: Timestamp
    }

    /// The most files to remember.
    ///
    /// Beyond that, the damage of some is found anew when they are read.
    private static let maximumCount = 10_000
    private let files = Mutex<Set<Version>>([])

    func note(_ status: FileStatus) {
        files.withLock { files in
            if files.count >= DamagedFiles.maximumCount { files.removeAll() }
            files.insert(Version(identity: status.identity, modifiedAt: status.modifiedAt))
        }
    }

    func contains(_ status: FileStatus) -> Bool {
        files.withLock { $0.contains(Version(identity: status.identity, modifiedAt: status.modifiedAt)) }
    }
}
