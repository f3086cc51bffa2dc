import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A directory whose attributes are set when the layer is complete, because everything made in it changes its time.
struct DirectoryRecord: Sendable {
    enum Content: Sendable {
        /// All attributes of an entry.
        case attributes(EntryAttributes)
        /// The mode that it had before the caller was let in.
        case mode(UInt32)
    }

    var path: [UInt8]
    var depth: Int
    var identity: FileStatus.Identity
    var content: Content

    /// Sets the attributes of directories, the lowest first: a parent may shut the caller out.
    ///
    /// - Throws: `CacheError`. A directory that is not there any more, or is another one, is left as it is.
    static func apply(
        _ records: [PathKey: DirectoryRecord], below root: TreeDirectory, _ maker: FileMaker
    ) throws(CacheError) {
        for record in records.values.sorted(by: { $0.depth > $1.depth }) {
            guard let handle = open(record.path, below: root), let status = FileStatus(of: handle.descriptor),
                status.identity == record.identity
            else { continue }
            try record.apply(to: handle.descriptor, status, maker)
        }
    }

    private func apply(to descriptor: Int32, _ status: FileStatus, _ maker: FileMaker) throws(CacheError) {
        guard case .attributes(let attributes) = content else {
            if case .mode(let mode) = content, fchmod(descriptor, mode_t(mode)) != 0 {
                throw maker.failure(errno, "set the mode of", path)
            }
            return
        }
        let owner = maker.policy.owner(of: attributes)
        if maker.policy.setsOwners, owner != (status.userID, status.groupID) {
            guard fchown(descriptor, owner.user, owner.group) == 0 else {
                throw maker.failure(errno, "set the owner of", path)
            }
        }
        maker.setExtended(attributes, of: descriptor, type: "dir") { path }
        let mode = maker.policy.mode(of: attributes)
        if mode != attributes.mode { maker.skipped.add(path, "setuid and setgid", UnpackPolicy.noOwner) }
        guard fchmod(descriptor, mode_t(mode)) == 0 else { throw maker.failure(errno, "set the mode of", path) }
        let times = [attributes.modified.cTime, attributes.modified.cTime]
        guard futimens(descriptor, times) == 0 else { throw maker.failure(errno, "set the time of", path) }
    }

    /// Opens a directory by its real path; `nil` if it is not there or a link is on the way.
    static func open(_ path: [UInt8], below root: TreeDirectory) -> Handle? {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        guard !path.isEmpty else {
            let descriptor = root.openForListing()
            return descriptor >= 0 ? Handle(descriptor) : nil
        }
        let descriptor = withCString(path) { path in
            retryingInterrupts { files_open_beneath(root.descriptor, path, flags) }
        }
        if descriptor >= 0 { return Handle(descriptor) }
        guard ![ENOENT, ENOTDIR, ELOOP].contains(errno) else { return nil }
        // One component at a time where the kernel is too old or the path too long.
        var current: Handle?
        let components = path.split(separator: UInt8(ascii: "/"))
        for (index, component) in components.enumerated() {
            let hold = index + 1 < components.count ? Int32(files_hold_directory) : flags
            let parent = current?.descriptor ?? root.descriptor
            let next = withCString(component) { name in retryingInterrupts { openat(parent, name, hold) } }
            guard next >= 0 else { return nil }
            current = Handle(next)
        }
        return current
    }
}
