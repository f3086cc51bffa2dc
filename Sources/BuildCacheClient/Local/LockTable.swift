import BuildCacheCore

/// Reads Linux's table of file locks.
///
/// - Source: proc(5), `/proc/locks`.
package enum LockTable {
    /// The processes that hold or wait for a whole-file lock on an inode.
    ///
    /// A line is `1: FLOCK  ADVISORY  WRITE 4711 08:02:1966337 0 EOF`. Devices are not compared: overlay file systems show another one here
    /// than `stat` does, and a message that names one process too many is better than none.
    package static func processes(holding inode: UInt64, in table: String) -> [Int32] {
        table.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ", omittingEmptySubsequences: true)
            guard let kind = fields.firstIndex(of: "FLOCK"), fields.count > kind + 4,
                let number = fields[kind + 4].split(separator: ":").last,
                UInt64(decimal: number, in: 0...UInt64.max) == inode
            else { return nil }
            return Int32(decimal: fields[kind + 3], in: 0...Int32.max)
        }
    }
}
