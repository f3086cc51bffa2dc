import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// An instant as file systems keep it.
struct FileTime: Hashable, Sendable {
    /// Seconds since 1970, rounded down.
    var seconds: Int64
    /// 0 to 999 999 999.
    var nanoseconds: Int32 = 0

    init(seconds: Int64, nanoseconds: Int32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    init(_ time: timespec) {
        seconds = Int64(time.tv_sec)
        nanoseconds = Int32(truncatingIfNeeded: time.tv_nsec)
    }

    init(_ time: Timestamp) {
        self.init(seconds: time.seconds, nanoseconds: time.nanoseconds)
    }

    var cTime: timespec { timespec(tv_sec: time_t(truncatingIfNeeded: seconds), tv_nsec: Int(nanoseconds)) }
}

/// The facts of a file that layers and comparisons need.
struct FileStatus: Hashable, Sendable {
    /// The file itself, whatever its names are.
    struct Identity: Hashable, Sendable {
        var device: UInt64
        var inode: UInt64
    }

    var identity: Identity
    /// With the bits of the type.
    var mode: UInt32
    var linkCount: UInt64
    var userID: UInt32
    var groupID: UInt32
    var size: Int64
    /// Whether the file takes less room than it has bytes, so that it has holes.
    var isSparse: Bool
    var deviceMajor: UInt32
    var deviceMinor: UInt32
    var modified: FileTime
    /// The last change of the bytes or of anything above.
    var changed: FileTime

    init(_ status: stat) {
        identity = Identity(
            device: UInt64(truncatingIfNeeded: status.st_dev), inode: UInt64(truncatingIfNeeded: status.st_ino))
        mode = UInt32(status.st_mode)
        linkCount = UInt64(status.st_nlink)
        userID = status.st_uid
        groupID = status.st_gid
        size = Int64(status.st_size)
        isSparse = Int64(status.st_blocks) < Int64(status.st_size) / 512
        deviceMajor = files_major(status.st_rdev)
        deviceMinor = files_minor(status.st_rdev)
        #if canImport(Darwin)
            (modified, changed) = (FileTime(status.st_mtimespec), FileTime(status.st_ctimespec))
        #else
            (modified, changed) = (FileTime(status.st_mtim), FileTime(status.st_ctim))
        #endif
    }

    /// A directory that exists in a layer only: 0755, of root.
    init(directoryOf time: FileTime) {
        self.init(stat())
        mode = TypeBits.directory | 0o755
        modified = time
    }

    /// Looks at an open file; `nil` with `errno` if that fails.
    init?(of descriptor: Int32) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return nil }
        self.init(status)
    }

    /// Looks at a name in a directory and follows nothing; `nil` with `errno` if that fails.
    init?(of name: UnsafePointer<CChar>, in directory: Int32) {
        var status = stat()
        guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
        self.init(status)
    }

    /// The bits of a mode that tell the type, the same on all systems.
    enum TypeBits {
        static let mask: UInt32 = 0o170000
        static let fifo: UInt32 = 0o010000
        static let characterDevice: UInt32 = 0o020000
        static let directory: UInt32 = 0o040000
        static let blockDevice: UInt32 = 0o060000
        static let file: UInt32 = 0o100000
        static let symbolicLink: UInt32 = 0o120000
        static let socket: UInt32 = 0o140000
    }

    var type: UInt32 { mode & TypeBits.mask }
    var isDirectory: Bool { type == TypeBits.directory }
    var isFile: Bool { type == TypeBits.file }
    var isSymbolicLink: Bool { type == TypeBits.symbolicLink }
    var isSocket: Bool { type == TypeBits.socket }
    var isCharacterDevice: Bool { type == TypeBits.characterDevice }
    var isBlockDevice: Bool { type == TypeBits.blockDevice }
    var isFIFO: Bool { type == TypeBits.fifo }
    /// The mark of overlayfs for a removed name.
    var isOverlayRemoval: Bool { isCharacterDevice && deviceMajor == 0 && deviceMinor == 0 }
    /// Permissions, setuid, setgid, sticky.
    var permissions: UInt32 { mode & 0o7777 }
}

/// A descriptor that is closed when the last reference goes.
final class Handle: Sendable {
    let descriptor: Int32

    init(_ descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }
}

/// Calls `body` with a C string of these bytes, which hold no zero byte.
@inline(__always)
func withCString<Bytes: Collection, Result>(
    _ bytes: Bytes, _ body: (UnsafePointer<CChar>) -> Result
) -> Result where Bytes.Element == UInt8 {
    let count = bytes.count
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: count + 1) { buffer in
        var index = 0
        for byte in bytes {
            buffer[index] = CChar(bitPattern: byte)
            index += 1
        }
        buffer[index] = 0
        guard let start = buffer.baseAddress else { preconditionFailure("a buffer of one byte or more has an address") }
        return body(start)
    }
}

extension Sequence<UInt8> {
    /// A path for messages: quoted, with what cannot be shown escaped.
    var quotedPath: String { String(decoding: Array(self), as: UTF8.self).quoted }
}
