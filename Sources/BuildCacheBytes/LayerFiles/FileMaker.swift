import BuildCacheCore
import CFiles
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The attributes of one entry, checked.
struct EntryAttributes: Hashable, Sendable {
    /// Permissions, setuid, setgid, sticky.
    var mode: UInt32
    var userID: UInt32
    var groupID: UInt32
    var modified: FileTime
    /// In the order of their names.
    var extended: [Extended] = []

    struct Extended: Hashable, Sendable {
        var name: [UInt8]
        var value: [UInt8]
    }
}

/// Makes files and sets attributes, for any thread.
struct FileMaker: Sendable {
    /// The caller's privileges and choices.
    let policy: UnpackPolicy
    let skipped: SkippedParts

    /// Makes a small file with all its data.
    func make(_ job: FileJob) throws(CacheError) {
        let handle = try create(job.name, in: job.directory, job.attributes, isRepeated: job.isRepeated)
        if job.data.readableBytes > 0 { try write(job.data, to: handle, path: { job.path }) }
        try finish(handle, job.name, in: job.directory, job.attributes)
    }

    /// Makes an empty file; an old one of this name is removed, never opened.
    func create(
        _ name: ArraySlice<UInt8>, in directory: TreeDirectory, _ attributes: EntryAttributes, isRepeated: Bool
    ) throws(CacheError) -> Handle {
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        // The owner must be able to set attributes by this descriptor only, so that no more permission than the final one is needed.
        let mode = mode_t(attributes.mode & 0o777)
        for attempt in 0..<2 {
            let descriptor = withCString(name) { name in
                retryingInterrupts { openat(directory.descriptor, name, flags, mode) }
            }
            if descriptor >= 0 { return Handle(descriptor) }
            let code = errno
            guard code == EEXIST, attempt == 0 else {
                throw failure(code, "make", directory.path(of: name))
            }
            try clear(name, in: directory, isRepeated: isRepeated)
        }
        throw failure(EEXIST, "make", directory.path(of: name))
    }

    /// Removes what stands under a name that the layer makes anew.
    ///
    /// - Throws: `CacheError` `.unsupported` if the name is not there by these bytes: the file system takes two names for one.
    func clear(_ name: ArraySlice<UInt8>, in directory: TreeDirectory, isRepeated: Bool) throws(CacheError) {
        if !isRepeated { try directory.checkListed(name) }
        try TreeRemoval.remove(name, in: directory.descriptor) { directory.path(of: name) }
    }

    func write(_ data: ByteBuffer, to file: Handle, path: () -> [UInt8]) throws(CacheError) {
        let code = data.withUnsafeReadableBytes { bytes -> Int32 in
            var rest = bytes
            while !rest.isEmpty {
                let count = retryingInterrupts { Self.write(file.descriptor, rest) }
                guard count > 0 else { return count == 0 ? ENOSPC : errno }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
            return 0
        }
        guard code == 0 else { throw failure(code, "write", path()) }
    }

    private static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
        #if canImport(Glibc)
            Glibc.write(descriptor, bytes.baseAddress, bytes.count)
        #elseif canImport(Musl)
            Musl.write(descriptor, bytes.baseAddress, bytes.count)
        #else
            Darwin.write(descriptor, bytes.baseAddress, bytes.count)
        #endif
    }

    /// Sets the attributes of a new file: its owner, then what a change of the owner clears, then its time.
    func finish(
        _ file: Handle, _ name: ArraySlice<UInt8>, in directory: TreeDirectory, _ attributes: EntryAttributes
    ) throws(CacheError) {
        let wanted = attributes.mode & 0o777
        var creation = directory.creation.load(ordering: .relaxed)
        if creation == .unknown {
            // A directory may hand down its group or its access control list.
            let status = FileStatus(of: file.descriptor)
            let isPlain =
                status.map {
                    $0.userID == policy.userID && $0.groupID == policy.groupID
                        && $0.permissions == wanted & ~policy.umask
                } ?? false
            creation = isPlain ? .asAsked : .otherwise
            directory.creation.store(creation, ordering: .relaxed)
        }
        let isPlain = creation == .asAsked
        var code: Int32 = 0
        let owner = policy.owner(of: attributes)
        if policy.setsOwners, !isPlain || owner.user != policy.userID || owner.group != policy.groupID {
            if fchown(file.descriptor, owner.user, owner.group) != 0 { code = errno }
            guard code == 0 else { throw failure(code, "set the owner of", directory.path(of: name)) }
        }
        if !attributes.extended.isEmpty || policy.recordsOwners {
            setExtended(attributes, of: file.descriptor, type: "file") { directory.path(of: name) }
        }
        let mode = policy.mode(of: attributes)
        if mode != attributes.mode { skipped.add(directory.path(of: name), "setuid and setgid", UnpackPolicy.noOwner) }
        if !isPlain || mode & ~0o777 != 0 || wanted & policy.umask != 0 {
            guard fchmod(file.descriptor, mode_t(mode)) == 0 else {
                throw failure(errno, "set the mode of", directory.path(of: name))
            }
        }
        let time = attributes.modified.cTime
        let isSet = withUnsafeTemporaryAllocation(of: timespec.self, capacity: 2) { times in
            times[0] = time
            times[1] = time
            guard let times = times.baseAddress else { return false }
            return futimens(file.descriptor, times) == 0
        }
        guard isSet else { throw failure(errno, "set the time of", directory.path(of: name)) }
    }

    /// Sets extended attributes; those that a layer may not set, or the file system does not take, are noted.
    func setExtended(
        _ attributes: EntryAttributes, of descriptor: Int32, type: String, path: () -> [UInt8]
    ) {
        for attribute in attributes.extended {
            let name = String(decoding: attribute.name, as: UTF8.self)
            if let reason = policy.refusal(of: attribute.name) {
                skipped.add(path(), "xattr \(name)", reason)
                continue
            }
            if set(attribute.name, attribute.value, of: descriptor) != 0 {
                skipped.add(path(), "xattr \(name)", String(cString: strerror(errno)).lowercased())
            }
        }
        guard policy.recordsOwners else { return }
        let record = RecordedOwner(attributes).text(type: type)
        if set(RecordedOwner.attribute, Array(record.utf8), of: descriptor) != 0 {
            skipped.add(path(), "owner", String(cString: strerror(errno)).lowercased())
        }
    }

    func set(_ name: [UInt8], _ value: [UInt8], of descriptor: Int32) -> Int32 {
        withCString(name) { name in
            value.withUnsafeBytes { files_set_attribute(descriptor, name, $0.baseAddress, $0.count) }
        }
    }

    /// The error of a call on a path of the tree.
    func failure(_ code: Int32, _ action: String, _ path: [UInt8]) -> CacheError {
        switch code {
        case EINVAL where action == "set the owner of":
            return CacheError(
                .unsupported,
                "cannot set the owner of \(path.quotedPath): the user namespace does not map it "
                    + "(map more users and groups, or unpack with owners: .caller)")
        case ENAMETOOLONG:
            return CacheError(
                .unsupported, "cannot \(action) \(path.quotedPath): the file system takes no name of this length")
        default: return cacheError(errno: code, "\(action) \(path.quotedPath)")
        }
    }
}
