import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

extension LayerApplication {
    /// Makes everything but regular files.
    mutating func make(
        _ entry: TarEntry, _ name: ArraySlice<UInt8>, in parent: TreeDirectory
    ) throws(CacheError) {
        let attributes = try attributes(of: entry)
        switch entry.kind {
        case .file: return
        case .directory: try makeDirectory(name, in: parent, attributes)
        case .symbolicLink: try makeLink(entry, name, in: parent, attributes)
        case .hardLink: try makeHardLink(entry, name, in: parent)
        case .fifo:
            let mode = mode_t(attributes.mode & 0o777)
            try place(name, in: parent) { mkfifoat(parent.descriptor, $0, mode) }
            try finish(name, in: parent, attributes, isLink: false)
        case .characterDevice, .blockDevice: try makeDevice(entry, name, in: parent, attributes)
        }
    }

    /// Makes a directory or takes the one that is there; its attributes are set at the end.
    mutating func makeDirectory(
        _ name: ArraySlice<UInt8>, in parent: TreeDirectory, _ attributes: EntryAttributes
    ) throws(CacheError) {
        let key = parent.key.child(name).asDirectory
        let before = paths.insert(key)
        if before.contains(.file) { try settle() }
        let wasRemoved = removed.remove(key.asFile) != nil
        var isDone = false
        for _ in 0..<2 where !isDone {
            if withCString(name, { mkdirat(parent.descriptor, $0, 0o700) }) == 0 {
                isDone = true
                continue
            }
            let code = errno
            guard code == EEXIST, let status = withCString(name, { FileStatus(of: $0, in: parent.descriptor) }) else {
                throw maker.failure(code, "make the directory", parent.path(of: name))
            }
            guard status.isDirectory else {
                try maker.clear(name, in: parent, isRepeated: !before.isEmpty || wasRemoved)
                forgetDirectories()
                continue
            }
            if before.isEmpty { try parent.checkListed(name) }
            if !policy.isPrivileged { try finder.openUp(name, in: parent) }
            isDone = true
        }
        let descriptor = withCString(name) { name in
            retryingInterrupts { openat(parent.descriptor, name, Int32(files_hold_directory)) }
        }
        guard descriptor >= 0 else { throw maker.failure(errno, "open", parent.path(of: name)) }
        let directory = TreeDirectory(
            descriptor, path: parent.path(of: name), key: key, depth: parent.depth + 1)
        guard let status = FileStatus(of: descriptor) else { throw maker.failure(errno, "look at", directory.path) }
        records[key] = DirectoryRecord(
            path: directory.path, depth: directory.depth, identity: status.identity, content: .attributes(attributes))
        if wasRemoved { try markOpaque(directory) }
        finder.keep(directory)
    }

    /// Makes something under a name, in the place of what is there.
    mutating func place(
        _ name: ArraySlice<UInt8>, in parent: TreeDirectory, _ make: (UnsafePointer<CChar>) -> Int32
    ) throws(CacheError) {
        let isRepeated = try claim(parent.key.child(name), name, in: parent)
        if withCString(name, make) == 0 { return }
        guard errno == EEXIST else { throw maker.failure(errno, "make", parent.path(of: name)) }
        try maker.clear(name, in: parent, isRepeated: isRepeated)
        forgetDirectories()
        guard withCString(name, make) == 0 else { throw maker.failure(errno, "make", parent.path(of: name)) }
    }

    /// Sets the attributes of what cannot be opened.
    private func finish(
        _ name: ArraySlice<UInt8>, in parent: TreeDirectory, _ attributes: EntryAttributes, isLink: Bool
    ) throws(CacheError) {
        let owner = policy.owner(of: attributes)
        if policy.setsOwners {
            let done = withCString(name) {
                fchownat(parent.descriptor, $0, owner.user, owner.group, AT_SYMLINK_NOFOLLOW)
            }
            guard done == 0 else { throw maker.failure(errno, "set the owner of", parent.path(of: name)) }
        } else if policy.recordsOwners {
            maker.skipped.add(parent.path(of: name), "owner", "only files and directories have attributes for it")
        }
        for attribute in attributes.extended {
            maker.skipped.add(
                parent.path(of: name), "xattr \(String(decoding: attribute.name, as: UTF8.self))",
                "only those of files and directories are set")
        }
        if !isLink {
            let mode = mode_t(policy.mode(of: attributes))
            let done = withCString(name) { fchmodat(parent.descriptor, $0, mode, AT_SYMLINK_NOFOLLOW) }
            guard done == 0 else { throw maker.failure(errno, "set the mode of", parent.path(of: name)) }
        }
        let times = [attributes.modified.cTime, attributes.modified.cTime]
        let done = withCString(name) { utimensat(parent.descriptor, $0, times, AT_SYMLINK_NOFOLLOW) }
        guard done == 0 else { throw maker.failure(errno, "set the time of", parent.path(of: name)) }
    }

    // MARK: Links

    private mutating func makeLink(
        _ entry: TarEntry, _ name: ArraySlice<UInt8>, in parent: TreeDirectory, _ attributes: EntryAttributes
    ) throws(CacheError) {
        let target = entry.linkName
        guard (1...4095).contains(target.count), !target.contains(0) else {
            throw CacheError(
                .corrupted,
                "the symbolic link \(entry.name.quotedPath) in the layer has a target of \(target.count) bytes: expected 1 to 4095, without a zero byte"
            )
        }
        if options.links == .inside { try checkIsInside(target, of: entry.name, parent) }
        let isMade = withCString(target) { target in
            Result { () throws(CacheError) in
                try place(name, in: parent) { symlinkat(target, parent.descriptor, $0) }
            }
        }
        try isMade.get()
        try finish(name, in: parent, attributes, isLink: true)
    }

    /// Checks that a link cannot lead out, whatever the links that it meets on its way are: `..` may stand at its beginning only, where
    /// the directories above are those of the link itself.
    private func checkIsInside(
        _ target: [UInt8], of name: [UInt8], _ parent: TreeDirectory
    ) throws(CacheError) {
        let components = target.split(separator: UInt8(ascii: "/"))
        let above = components.prefix { $0.elementsEqual("..".utf8) || $0.elementsEqual(".".utf8) }
        let isUp: (ArraySlice<UInt8>) -> Bool = { $0.elementsEqual("..".utf8) }
        guard target.first != UInt8(ascii: "/"), above.count(where: isUp) <= parent.depth,
            !components.dropFirst(above.count).contains(where: isUp)
        else {
            throw CacheError(
                .denied,
                "the symbolic link \(name.quotedPath) in the layer may lead out of the directory (unpack with links: .anywhere to allow it)"
            )
        }
    }

    private mutating func makeHardLink(
        _ entry: TarEntry, _ name: ArraySlice<UInt8>, in parent: TreeDirectory
    ) throws(CacheError) {
        let target = try EntryPath(entry.linkName, maximumDepth: options.limits.depth)
        func invalid(_ problem: String) -> CacheError {
            CacheError(
                .corrupted,
                "the hard link \(entry.name.quotedPath) in the layer leads to \(entry.linkName.quotedPath), \(problem)")
        }
        guard let targetName = target.components.last else { throw invalid("the root") }
        if target.components.first?.elementsEqual(".wh..wh.plnk".utf8) == true {
            throw CacheError(
                .unsupported, "the hard link \(entry.name.quotedPath) in the layer leads to a note of AUFS")
        }
        let missing =
            options.removals == .overlay
            ? CacheError(
                .unsupported,
                "the hard link \(entry.name.quotedPath) leads to \(entry.linkName.quotedPath) in a lower layer, "
                    + "which a directory of its own cannot hold (apply the layers to one directory)")
            : invalid("which does not exist")
        guard let directory = try find(target.components.dropLast(), for: .looking) else { throw missing }
        let targetKey = directory.key.child(targetName)
        guard targetKey != parent.key.child(name) else { throw invalid("which is itself") }
        if paths.kinds(targetKey).contains(.file) { try settle() }
        guard let status = withCString(targetName, { FileStatus(of: $0, in: directory.descriptor) }),
            !removed.contains(targetKey)
        else { throw missing }
        guard !status.isDirectory else { throw invalid("a directory") }
        guard options.links == .anywhere || !status.isSymbolicLink else {
            throw CacheError(
                .denied,
                "the hard link \(entry.name.quotedPath) in the layer leads to a symbolic link, which may lead out of the directory elsewhere"
            )
        }
        let isMade = withCString(targetName) { target in
            Result { () throws(CacheError) in
                try place(name, in: parent) { linkat(directory.descriptor, target, parent.descriptor, $0, 0) }
            }
        }
        try isMade.get()
    }

    // MARK: Devices

    private mutating func makeDevice(
        _ entry: TarEntry, _ name: ArraySlice<UInt8>, in parent: TreeDirectory, _ attributes: EntryAttributes
    ) throws(CacheError) {
        let isCharacter = entry.kind == .characterDevice
        let label = "\(isCharacter ? "character" : "block") device \(entry.deviceMajor):\(entry.deviceMinor)"
        let path = parent.path(of: name)
        if options.removals == .overlay, isCharacter, entry.deviceMajor == 0, entry.deviceMinor == 0 {
            throw CacheError(
                .unsupported, "\(path.quotedPath) in the layer is a device 0:0, which overlayfs takes for a removal")
        }
        switch options.devices {
        case .leftOut: return maker.skipped.add(path, label, "devices are not asked for")
        case .refused:
            throw CacheError(
                .unsupported,
                "\(path.quotedPath) in the layer is a \(label) (unpack with devices: .leftOut to pass it over)")
        case .made: break
        }
        guard let major = UInt32(exactly: entry.deviceMajor), let minor = UInt32(exactly: entry.deviceMinor) else {
            throw CacheError(.corrupted, "\(path.quotedPath) in the layer is a \(label): expected numbers of 32 bits")
        }
        let mode = mode_t(
            (isCharacter ? FileStatus.TypeBits.characterDevice : FileStatus.TypeBits.blockDevice) | attributes.mode
                & 0o777)
        var code: Int32 = 0
        try place(name, in: parent) {
            if mknodat(parent.descriptor, $0, mode, files_device(major, minor)) == 0 { return 0 }
            code = errno
            // Root of a user namespace may not make devices: they are left out.
            return code == EPERM ? 0 : -1
        }
        guard code != EPERM else { return maker.skipped.add(path, label, "this user may not make devices") }
        try finish(name, in: parent, attributes, isLink: false)
    }
}
