import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The status of a file, links not followed.
struct FileStatus {
    /// The identity and the version of a file: every write changes one of these numbers.
    struct Stamp: Hashable, Sendable {
        var size: Int64
        var inode: UInt64
        var device: UInt64
        var modified: Int64
        var modifiedNanoseconds: Int64
        var changed: Int64
        var changedNanoseconds: Int64
        var mode: UInt32

        static let numberCount = 8

        /// The fields as numbers of one size.
        var numbers: [UInt64] {
            [
                UInt64(bitPattern: size), inode, device, UInt64(bitPattern: modified),
                UInt64(bitPattern: modifiedNanoseconds), UInt64(bitPattern: changed),
                UInt64(bitPattern: changedNanoseconds), UInt64(mode),
            ]
        }
    }

    let stamp: Stamp
    private let status: stat

    /// Seconds since 1970.
    static var now: Int64 { Int64(time(nil)) }

    /// The number of processors, at least one.
    static let processors = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))

    init(_ status: stat) {
        self.status = status
        #if canImport(Darwin)
            let (modified, changed) = (status.st_mtimespec, status.st_ctimespec)
        #else
            let (modified, changed) = (status.st_mtim, status.st_ctim)
        #endif
        stamp = Stamp(
            size: Int64(status.st_size), inode: UInt64(truncatingIfNeeded: status.st_ino),
            device: UInt64(truncatingIfNeeded: status.st_dev), modified: Int64(modified.tv_sec),
            modifiedNanoseconds: Int64(modified.tv_nsec), changed: Int64(changed.tv_sec),
            changedNanoseconds: Int64(changed.tv_nsec), mode: UInt32(status.st_mode))
    }

    var kind: mode_t { status.st_mode & S_IFMT }
    var isDirectory: Bool { kind == S_IFDIR }
    var isRegular: Bool { kind == S_IFREG }

    /// The metadata that a content digest holds, but for a link's target and the attributes.
    func metadata(_ origin: ContentTreeBuilder.Origin) -> FileMetadata {
        var metadata = FileMetadata(permissions: UInt32(status.st_mode) & 0o7777, size: stamp.size)
        switch kind {
        case S_IFDIR: metadata.kind = .directory
        case S_IFLNK: metadata.kind = .symlink([])
        case S_IFCHR: metadata.kind = .characterDevice
        case S_IFBLK: metadata.kind = .blockDevice
        case S_IFIFO: metadata.kind = .fifo
        case S_IFSOCK: metadata.kind = .socket
        default: metadata.kind = .regular
        }
        if origin == .localContext {
            if metadata.kind == .characterDevice || metadata.kind == .blockDevice {
                metadata.deviceMajor = Int64(files_major(status.st_rdev))
                metadata.deviceMinor = Int64(files_minor(status.st_rdev))
            }
        } else {
            metadata.uid = UInt32(status.st_uid)
            metadata.gid = UInt32(status.st_gid)
        }
        return metadata
    }
}

extension FileStatus.Stamp {
    /// The stamp of these numbers, or `nil`.
    init?(_ numbers: [UInt64]) {
        guard numbers.count == FileStatus.Stamp.numberCount, let mode = UInt32(exactly: numbers[7]) else { return nil }
        self.init(
            size: Int64(bitPattern: numbers[0]), inode: numbers[1], device: numbers[2],
            modified: Int64(bitPattern: numbers[3]), modifiedNanoseconds: Int64(bitPattern: numbers[4]),
            changed: Int64(bitPattern: numbers[5]), changedNanoseconds: Int64(bitPattern: numbers[6]), mode: mode)
    }
}
