import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

extension TreeLister {
    // MARK: Directories

    mutating func enter(
        _ name: [UInt8], _ item: inout PackItem, _ frame: Frame, _ old: FileStatus?, _ ignore: IgnoreState?,
        isIgnored: Bool
    ) throws(CacheError) {
        guard let parent = item.directory else { return }
        let directory = try openDirectory(name, in: parent, item.status.identity)
        item.directory = nil
        (item.attributes, item.owner) = try reader.read(directory.descriptor, item.path)
        var base: PackDirectory?
        if let old, old.isDirectory, let above = frame.base { base = try openDirectory(name, in: above, old.identity) }
        var next = Frame(
            directory: directory, base: base, unwritten: item, ignore: ignore,
            isCompared: frame.isCompared && base != nil, path: item.path, identity: directory.identity,
            baseIdentity: base?.identity)
        if isOverlay, base != nil, try isOpaque(directory) { next.isCompared = true }
        let isSame =
            try old.map { old throws(CacheError) in
                try self.isSame(old, item.status, name, parent, frame.base)
            } ?? false
        try list(&next)
        frames.append(next)
        if frames.count > TreeLister.maximumOpen {
            frames[frames.count - TreeLister.maximumOpen - 1].directory = nil
            frames[frames.count - TreeLister.maximumOpen - 1].base = nil
        }
        // An ignored directory is written together with the first path that is kept below it.
        if !isSame, !isIgnored { try writeParents() } else { frames[frames.count - 1].unwritten?.change = .parent }
    }

    /// Whether overlayfs hides what lower layers have in a directory.
    func isOpaque(_ directory: PackDirectory) throws(CacheError) -> Bool {
        for name in ["trusted.overlay.redirect", "user.overlay.redirect"] {
            guard reader.value(Array(name.utf8), of: directory.descriptor) == nil else {
                throw CacheError(
                    .unsupported,
                    "\(directory.path.quotedPath) was renamed by overlayfs (mount the overlay and pack the difference of the two mounted directories)"
                )
            }
        }
        return ["trusted.overlay.opaque", "user.overlay.opaque"].contains {
            reader.value(Array($0.utf8), of: directory.descriptor) == [UInt8(ascii: "y")]
        }
    }

    // MARK: Entries

    /// Writes the directories above the next entry that are not written yet, the highest first.
    mutating func writeParents() throws(CacheError) {
        var index = frames.count
        while index > 0, frames[index - 1].unwritten != nil { index -= 1 }
        for index in index..<frames.count {
            guard let item = frames[index].unwritten else { continue }
            frames[index].unwritten = nil
            if hasBase { written.insert(item.path) }
            ready.append(item)
        }
    }

    func hasSeveralNames(_ item: PackItem) -> Bool {
        options.hardLinks == .detected && item.status.linkCount > 1
    }

    mutating func write(_ item: PackItem) throws(CacheError) {
        try writeParents()
        if isOverlay, item.status.isFile { try checkHasData(item) }
        guard hasSeveralNames(item) else { return ready.append(item) }
        if let target = first[item.status.identity] { return ready.append(link(item, to: target)) }
        first[item.status.identity] = item.path
        ready.append(item)
        for other in unchanged.removeValue(forKey: item.status.identity) ?? [] {
            try writeParents(of: other)
            ready.append(link(other, to: item.path))
        }
    }

    mutating func noteUnchanged(_ item: PackItem) throws(CacheError) {
        guard hasSeveralNames(item) else { return }
        if let target = first[item.status.identity] {
            try writeParents()
            ready.append(link(item, to: target))
        } else {
            var item = item
            item.change = .linked
            // Many of them would keep as many directories open; the first name has the same attributes.
            (item.attributes, item.owner) = try attributes(of: item)
            item.directory = nil
            unchanged[item.status.identity, default: []].append(item)
        }
    }

    func attributes(
        of item: PackItem
    ) throws(CacheError) -> ([EntryAttributes.Extended], RecordedOwner?) {
        guard let directory = item.directory else { return (item.attributes, item.owner) }
        return try reader.read(item.name, in: directory, item.status, item.path)
    }

    func link(_ item: PackItem, to target: [UInt8]) -> PackItem {
        var item = item
        item.kind = .link(to: target)
        if item.change != .added { item.change = .linked }
        return item
    }

    /// Writes the directories above an entry elsewhere in the tree that are not written yet.
    mutating func writeParents(of item: PackItem) throws(CacheError) {
        let start = root.path.isEmpty ? 0 : root.path.count + 1
        var current = root
        for component in item.path.dropFirst(start).split(separator: UInt8(ascii: "/")).dropLast() {
            guard let status = try status(of: Array(component), in: current) else { throw changed(item.path) }
            current = try openDirectory(component, in: current, status.identity)
            guard !written.contains(current.path) else { continue }
            written.insert(current.path)
            for index in frames.indices where frames[index].path == current.path { frames[index].unwritten = nil }
            var parent = PackItem(
                kind: .file, change: .parent, path: current.path, nameStart: current.path.count - component.count,
                status: status)
            (parent.attributes, parent.owner) = try reader.read(current.descriptor, current.path)
            ready.append(parent)
        }
    }

    /// Checks that overlayfs has not left the data of a file below.
    func checkHasData(_ item: PackItem) throws(CacheError) {
        guard let directory = item.directory else { return }
        for name in ["trusted.overlay.metacopy", "user.overlay.metacopy"]
        where reader.value(Array(name.utf8), of: item.name, in: directory) != nil {
            throw CacheError(
                .unsupported,
                "\(item.path.quotedPath) has its data in a lower layer (mount the overlay and pack the difference of the two mounted directories)"
            )
        }
    }

    mutating func addPrefix(_ prefix: [UInt8]) throws(CacheError) {
        guard !prefix.isEmpty, let date = options.prefix?.modified else { return }
        var path: [UInt8] = []
        for component in prefix.split(separator: UInt8(ascii: "/")) {
            path = join(path, Array(component))
            var status = FileStatus(directoryOf: FileTime(date))
            (status.userID, status.groupID) = (0, 0)
            ready.append(
                PackItem(
                    kind: .file, change: .added, path: path, nameStart: path.count - component.count, status: status,
                    isExact: true))
        }
    }
}
