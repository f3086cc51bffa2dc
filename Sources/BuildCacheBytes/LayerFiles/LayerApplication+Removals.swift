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
    /// Removes a name of lower layers, less the parts that this layer has.
    mutating func remove(
        _ name: ArraySlice<UInt8>, in components: some BidirectionalCollection<ArraySlice<UInt8>>
    ) throws(CacheError) {
        guard options.removals == .deleted else { return try hide(name, in: components) }
        guard let parent = try find(components, for: .looking) else { return }
        let kinds = paths.kinds(parent.key.child(name))
        if kinds.isEmpty {
            try TreeRemoval.remove(name, in: parent.descriptor) { parent.path(of: name) }
        } else if kinds.contains(.directory) {
            try removeLower(in: parent.path(of: name))
        }
    }

    /// Removes all children of a directory that this layer does not have.
    mutating func makeOpaque(
        _ components: some BidirectionalCollection<ArraySlice<UInt8>>
    ) throws(CacheError) {
        if options.removals == .overlay {
            if !removed.isEmpty { try makeRemovedDirectories(components) }
            return try markOpaque(try findMaking(components))
        }
        guard let directory = try find(components, for: .looking) else { return }
        try removeLower(in: directory.path)
    }

    /// Goes through the directories that this layer has, one at a time: as deep as they are, one descriptor is enough.
    private mutating func removeLower(in path: [UInt8]) throws(CacheError) {
        var waiting = [path]
        while let path = waiting.popLast() {
            guard let directory = try find(path.split(separator: UInt8(ascii: "/")), for: .looking) else { continue }
            let descriptor = directory.openForListing()
            guard descriptor >= 0, let names = DirectoryListing(consuming: descriptor) else {
                throw maker.failure(errno, "list", path)
            }
            for index in names.indices {
                let name = names[index]
                let kinds = paths.kinds(directory.key.child(name))
                if kinds.isEmpty {
                    try TreeRemoval.remove(name, in: directory.descriptor) { directory.path(of: name) }
                } else if kinds.contains(.directory) {
                    let status = withCString(name) { FileStatus(of: $0, in: directory.descriptor) }
                    if status?.isDirectory == true { waiting.append(directory.path(of: name)) }
                }
            }
        }
    }

    // MARK: Overlay

    /// Notes a removal as overlayfs does.
    private mutating func hide(
        _ name: ArraySlice<UInt8>, in components: some BidirectionalCollection<ArraySlice<UInt8>>
    ) throws(CacheError) {
        if !removed.isEmpty { try makeRemovedDirectories(components) }
        let parent = try findMaking(components)
        let key = parent.key.child(name)
        let kinds = paths.kinds(key)
        guard kinds.isEmpty else {
            guard kinds.contains(.directory) else { return }
            guard let directory = try find(parent.path(of: name).split(separator: UInt8(ascii: "/")), for: .looking)
            else { return }
            return try markOpaque(directory)
        }
        guard removed.insert(key).inserted else { return }
        let mode = mode_t(FileStatus.TypeBits.characterDevice)
        let make: (UnsafePointer<CChar>) -> Int32 = { mknodat(parent.descriptor, $0, mode, 0) }
        if withCString(name, make) == 0 { return }
        if errno == EEXIST {
            try maker.clear(name, in: parent, isRepeated: false)
            if withCString(name, make) == 0 { return }
        }
        throw maker.failure(errno, "note the removal of", parent.path(of: name))
    }

    /// Hides the children that a directory has in lower layers.
    func markOpaque(_ directory: TreeDirectory) throws(CacheError) {
        let descriptor = directory.openForListing()
        guard descriptor >= 0 else { throw maker.failure(errno, "open", directory.path) }
        let handle = Handle(descriptor)
        let yes = [UInt8(ascii: "y")]
        if policy.isPrivileged {
            if maker.set(Array("trusted.overlay.opaque".utf8), yes, of: handle.descriptor) == 0 { return }
            // Root of a user namespace may not set these.
            guard errno == EPERM else { throw maker.failure(errno, "set the attribute of", directory.path) }
        }
        guard maker.set(Array("user.overlay.opaque".utf8), yes, of: handle.descriptor) == 0 else {
            throw maker.failure(errno, "set the attribute of", directory.path)
        }
    }

    /// Makes directories that the layer removed and that now get something in them; what is below them stays hidden.
    mutating func makeRemovedDirectories(
        _ components: some BidirectionalCollection<ArraySlice<UInt8>>
    ) throws(CacheError) {
        var key = finder.root.key
        for (depth, component) in components.enumerated() {
            key = key.child(component).asDirectory
            guard removed.remove(key.asFile) != nil else { continue }
            let parent = try findMaking(components.prefix(depth))
            try maker.clear(component, in: parent, isRepeated: true)
            try markOpaque(try findMaking(components.prefix(depth + 1)))
        }
    }
}
