import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Removes trees by descriptors: no link is followed, and no path is put together.
enum TreeRemoval {
    // A directory further down is moved up, so that neither descriptors nor the stack run out.
    private static let maximumDepth = 32

    /// Removes a name with everything below; nothing happens if it is not there.
    static func remove(
        _ name: some Collection<UInt8>, in directory: Int32, path: () -> [UInt8]
    ) throws(CacheError) {
        let code = remove(name, in: directory)
        guard code == 0 else { throw cacheError(errno: code, "remove \(path().quotedPath)") }
    }

    /// Removes a name with everything below; returns 0 or the value of `errno`.
    static func remove(_ name: some Collection<UInt8>, in directory: Int32) -> Int32 {
        if withCString(name, { unlinkat(directory, $0, 0) }) == 0 { return 0 }
        guard [EISDIR, EPERM, EACCES].contains(errno) else { return errno == ENOENT ? 0 : errno }
        let code = errno
        let status = withCString(name) { FileStatus(of: $0, in: directory) }
        guard let status, status.isDirectory else { return status == nil && errno == ENOENT ? 0 : code }
        return removeDirectory(Array(name), in: directory)
    }

    private struct Level {
        var descriptor: Handle
        var name: [UInt8]
        var rest: DirectoryListing
        var next = 0
    }

    private static func open(_ name: [UInt8], in directory: Int32) -> Level? {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        var descriptor = withCString(name) { name in retryingInterrupts { openat(directory, name, flags) } }
        if descriptor < 0, errno == EACCES {
            // A directory of the caller's own that not even its owner may read.
            guard withCString(name, { fchmodat(directory, $0, 0o700, AT_SYMLINK_NOFOLLOW) }) == 0 else { return nil }
            descriptor = withCString(name) { name in retryingInterrupts { openat(directory, name, flags) } }
        }
        guard descriptor >= 0 else { return nil }
        let handle = Handle(descriptor)
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0, let names = DirectoryListing(consuming: copy) else { return nil }
        return Level(descriptor: handle, name: name, rest: names)
    }

    private static func removeDirectory(_ name: [UInt8], in directory: Int32) -> Int32 {
        guard let first = open(name, in: directory) else { return errno == ENOENT ? 0 : errno }
        var levels = [first]
        var moved = 0
        while let level = levels.last {
            let descriptor = level.descriptor.descriptor
            guard level.next < level.rest.indices.count else {
                levels.removeLast()
                let parent = levels.last?.descriptor.descriptor ?? directory
                if withCString(level.name, { unlinkat(parent, $0, AT_REMOVEDIR) }) == 0 || errno == ENOENT { continue }
                guard errno == ENOTEMPTY || errno == EEXIST, let again = open(level.name, in: parent) else {
                    return errno
                }
                // Something was moved up here, or another process made it.
                guard !again.rest.indices.isEmpty else { return ENOTEMPTY }
                levels.append(again)
                continue
            }
            let child = Array(level.rest[level.next])
            levels[levels.count - 1].next += 1
            if withCString(child, { unlinkat(descriptor, $0, 0) }) == 0 || errno == ENOENT { continue }
            if errno == EACCES, fchmod(descriptor, 0o700) == 0,
                withCString(child, { unlinkat(descriptor, $0, 0) }) == 0
            {
                continue
            }
            guard errno == EISDIR || errno == EPERM else { return errno }
            if levels.count >= maximumDepth {
                moved += 1
                let code = move(child, from: descriptor, to: levels[0].descriptor.descriptor, number: moved)
                guard code == 0 else { return code }
            } else {
                guard let below = open(child, in: descriptor) else { return errno }
                levels.append(below)
            }
        }
        return 0
    }

    private static func move(_ name: [UInt8], from directory: Int32, to top: Int32, number: Int) -> Int32 {
        let new = Array(".removed-\(number)-\(UInt64.random(in: .min ... .max))".utf8)
        return withCString(name) { name in
            withCString(new) { new in renameat(directory, name, top, new) == 0 ? 0 : errno }
        }
    }
}
