import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Walks a tree, or two of them side by side, and lists the entries of the layer in its order.
///
/// Names are sorted by their bytes, directory by directory. Links are never followed, and directories are opened from their parents.
struct TreeLister {
    // Directories above these are opened again when the walk comes back to them.
    static let maximumOpen = 64

    /// One directory of the walk.
    struct Frame {
        /// `nil` while it is closed, or where only the base has it.
        var directory: PackDirectory?
        var base: PackDirectory?
        var names = DirectoryListing()
        var baseNames = DirectoryListing()
        var place = 0
        var basePlace = 0
        /// The directory itself, until its entry is written.
        var unwritten: PackItem?
        var ignore: IgnoreState?
        /// Whether the directories are compared by their listings; otherwise names of the base are looked up, as for an overlay.
        var isCompared: Bool
        var path: [UInt8]
        var identity: FileStatus.Identity
        var baseIdentity: FileStatus.Identity?
    }

    let options: LayerPacker.Options
    let isOverlay: Bool
    let hasBase: Bool
    let reader: AttributeReader
    let skipped: SkippedParts
    private(set) var frames: [Frame] = []
    /// Entries that are ready, in order.
    var ready: [PackItem] = []
    private var readyPlace = 0
    // Of files with several names: the first that was written, and names of unchanged files so far.
    private var first: [FileStatus.Identity: [UInt8]] = [:]
    private var unchanged: [FileStatus.Identity: [PackItem]] = [:]
    // Directories that are written, where a difference may need one that the walk has left.
    private var written: Set<[UInt8]> = []
    private let root: PackDirectory
    private let baseRoot: PackDirectory?

    init(_ tree: LayerPacker.Tree, _ options: LayerPacker.Options, skipped: SkippedParts) throws(CacheError) {
        self.options = options
        self.skipped = skipped
        reader = AttributeReader(options)
        let prefix =
            try options.prefix.map { prefix throws(CacheError) in
                try EntryPath(Array(prefix.path.utf8), maximumDepth: 2048).joined
            } ?? []
        func open(_ path: String) throws(CacheError) -> PackDirectory {
            let descriptor = withCString(Array(path.utf8)) { path in
                retryingInterrupts { openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
            }
            guard descriptor >= 0 else { throw cacheError(errno: errno, "open the directory \(path.quoted)") }
            let handle = Handle(descriptor)
            guard let status = FileStatus(of: descriptor) else {
                throw cacheError(errno: errno, "look at the directory \(path.quoted)")
            }
            return PackDirectory(handle, path: prefix, identity: status.identity)
        }
        switch tree {
        case .directory(let path):
            (root, baseRoot) = (try open(path), nil)
            (isOverlay, hasBase) = (false, false)
        case .difference(let path, let base):
            (root, baseRoot) = (try open(path), try open(base))
            (isOverlay, hasBase) = (false, true)
        case .overlay(let upper, let base):
            root = try open(upper)
            baseRoot = try base.map { base throws(CacheError) in try open(base) }
            (isOverlay, hasBase) = (true, baseRoot != nil)
        }
        try addPrefix(prefix)
        var frame = Frame(
            directory: root, base: baseRoot, isCompared: hasBase && !isOverlay, path: prefix, identity: root.identity,
            baseIdentity: baseRoot?.identity)
        if !options.ignore.patterns.isEmpty { frame.ignore = IgnoreState(options.ignore) }
        if isOverlay, try isOpaque(root) { frame.isCompared = hasBase }
        try list(&frame)
        frames = [frame]
    }

    /// The next entry; `nil` behind the last.
    mutating func next() throws(CacheError) -> PackItem? {
        while readyPlace == ready.count {
            ready.removeAll(keepingCapacity: true)
            readyPlace = 0
            guard try step() else { return nil }
        }
        defer { readyPlace += 1 }
        return ready[readyPlace]
    }

    // MARK: The walk

    /// Goes one name further; `false` at the end.
    private mutating func step() throws(CacheError) -> Bool {
        guard var frame = frames.last else { return false }
        let top = frames.count - 1
        let hasNew = frame.place < frame.names.indices.count
        let hasOld = frame.basePlace < frame.baseNames.indices.count
        guard hasNew || hasOld else {
            frames.removeLast()
            try reopenTop()
            return true
        }
        let order = hasNew && hasOld ? compare(frame) : hasNew ? -1 : 1
        let name = order <= 0 ? Array(frame.names[frame.place]) : Array(frame.baseNames[frame.basePlace])
        if order <= 0 { frames[top].place += 1 }
        if order >= 0 { frames[top].basePlace += 1 }
        frame = frames[top]
        if order > 0 {
            try remove(name, frame)
        } else {
            try visit(name, frame, isInBase: order == 0)
        }
        return true
    }

    private func compare(_ frame: Frame) -> Int {
        let (left, right) = (frame.names[frame.place], frame.baseNames[frame.basePlace])
        if left == right { return 0 }
        return left.lexicographicallyPrecedes(right) ? -1 : 1
    }

    /// Opens the directory again that the walk has come back to.
    private mutating func reopenTop() throws(CacheError) {
        guard let frame = frames.last, frame.directory == nil else { return }
        let top = frames.count - 1
        frames[top].directory = try reopen(frame.path, below: root, frame.identity)
        if let identity = frame.baseIdentity, let baseRoot {
            frames[top].base = try reopen(frame.path, below: baseRoot, identity)
        }
    }

    private func reopen(
        _ path: [UInt8], below top: PackDirectory, _ identity: FileStatus.Identity
    ) throws(CacheError) -> PackDirectory {
        var current = top
        let relative = path.dropFirst(top.path.isEmpty ? 0 : top.path.count + 1)
        for component in relative.split(separator: UInt8(ascii: "/")) {
            current = try openDirectory(component, in: current, nil)
        }
        guard current.identity == identity else { throw changed(path) }
        return current
    }

    private func changed(_ path: [UInt8]) -> CacheError {
        CacheError(
            .busy, "\(path.quotedPath) changed while it was packed (pack a tree that is at rest)", retry: .worthwhile)
    }

    private func openDirectory(
        _ name: some Collection<UInt8>, in parent: PackDirectory, _ identity: FileStatus.Identity?
    ) throws(CacheError) -> PackDirectory {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        let descriptor = withCString(name) { name in retryingInterrupts { openat(parent.descriptor, name, flags) } }
        let path = parent.path(of: name)
        guard descriptor >= 0 else {
            if [ENOENT, ENOTDIR, ELOOP].contains(errno) { throw changed(path) }
            throw cacheError(errno: errno, "open \(path.quotedPath)")
        }
        let handle = Handle(descriptor)
        guard let status = FileStatus(of: descriptor) else {
            throw cacheError(errno: errno, "look at \(path.quotedPath)")
        }
        guard identity == nil || status.identity == identity else { throw changed(path) }
        return PackDirectory(handle, path: path, identity: status.identity)
    }

    private func list(_ directory: PackDirectory) throws(CacheError) -> DirectoryListing {
        let descriptor = retryingInterrupts { openat(directory.descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard descriptor >= 0, let names = DirectoryListing(consuming: descriptor) else {
            throw cacheError(errno: errno, "list \(directory.path.quotedPath)")
        }
        return names.sorted()
    }

    private func list(_ frame: inout Frame) throws(CacheError) {
        if let directory = frame.directory { frame.names = try list(directory) }
        if frame.isCompared, let base = frame.base { frame.baseNames = try list(base) }
    }

    /// Notes a name that only the base has.
    private mutating func remove(_ name: [UInt8], _ frame: Frame) throws(CacheError) {
        if let ignore = frame.ignore,
            ignore.evaluate(scalars(frame.path, name), options.ignore).isIgnored
        {
            return
        }
        guard let status = try status(of: name, in: frame.base) else { return }
        try removal(of: name, in: frame, status)
    }

    private mutating func removal(of name: [UInt8], in frame: Frame, _ status: FileStatus) throws(CacheError) {
        guard !status.isSocket else { return }
        let path = join(frame.path, name)
        let item = PackItem(
            kind: .removal, change: .removed, path: path, nameStart: path.count - name.count, status: status)
        try writeParents()
        ready.append(item)
    }

    private func join(_ path: [UInt8], _ name: [UInt8]) -> [UInt8] {
        path.isEmpty ? name : path + [UInt8(ascii: "/")] + name
    }

    /// The path below the root of the tree, for ignore patterns.
    private func scalars(_ path: [UInt8], _ name: [UInt8]) -> [Unicode.Scalar] {
        let relative = path.dropFirst(root.path.isEmpty ? 0 : root.path.count + 1)
        return Array(String(decoding: join(Array(relative), name), as: UTF8.self).unicodeScalars)
    }

    private func status(of name: [UInt8], in directory: PackDirectory?) throws(CacheError) -> FileStatus? {
        guard let directory else { return nil }
        if let status = withCString(name, { FileStatus(of: $0, in: directory.descriptor) }) { return status }
        guard errno == ENOENT || errno == ENOTDIR else {
            throw cacheError(errno: errno, "look at \(directory.path(of: name).quotedPath)")
        }
        return nil
    }

    /// Looks at a name of the tree.
    private mutating func visit(_ name: [UInt8], _ frame: Frame, isInBase: Bool) throws(CacheError) {
        guard let directory = frame.directory, let status = try status(of: name, in: directory) else {
            throw changed(join(frame.path, name))
        }
        let path = directory.path(of: name)
        var ignore = frame.ignore
        var isIgnored = false
        if let state = frame.ignore {
            let text = scalars(frame.path, name)
            (isIgnored, ignore) = state.evaluate(text, options.ignore)
            if isIgnored, !(status.isDirectory && options.ignore.mayKeepBelow(text)) { return }
        }
        guard !name.starts(with: EntryPath.prefix) else {
            throw CacheError(
                .invalidSpec,
                "invalid name \(path.quotedPath): names that begin with .wh. mean removals in a layer (rename it or ignore it)"
            )
        }
        if status.isSocket {
            skipped.add(path, "socket", "layers hold no sockets")
            return
        }
        if isOverlay, status.isOverlayRemoval {
            // Below an opaque directory the base's names are removed one by one anyway.
            guard let old = try self.status(of: name, in: frame.base) else { return }
            try removal(of: name, in: frame, old)
            return
        }
        let old = isInBase || !frame.isCompared ? try self.status(of: name, in: frame.base) : nil
        var item = PackItem(
            kind: .file, change: old == nil ? .added : .changed, path: path, nameStart: path.count - name.count,
            status: status, directory: directory)
        if status.isDirectory {
            try enter(name, &item, frame, old, ignore, isIgnored: isIgnored)
        } else {
            guard try passes(item) else { return }
            if let old, try isSame(old, status, name, directory, frame.base) {
                if frame.isCompared { try noteUnchanged(item) }
            } else {
                try write(item)
            }
        }
    }

    /// Whether a special file is packed.
    private func passes(_ item: PackItem) throws(CacheError) -> Bool {
        let status = item.status
        guard status.isFIFO || status.isCharacterDevice || status.isBlockDevice else { return true }
        let label =
            status.isFIFO
            ? "FIFO"
            : "\(status.isBlockDevice ? "block" : "character") device \(status.deviceMajor):\(status.deviceMinor)"
        switch options.specialFiles {
        case .packed: return true
        case .leftOut:
            skipped.add(item.path, label, "special files are left out")
            return false
        case .refused:
            throw CacheError(
                .unsupported, "\(item.path.quotedPath) is a \(label) (pack with specialFiles: .leftOut to pass it over)"
            )
        }
    }

    // MARK: Directories

    private mutating func enter(
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
        // What is only there for what is kept below it is written with that.
        if !isSame, !isIgnored { try writeParents() } else { frames[frames.count - 1].unwritten?.change = .parent }
    }

    /// Whether overlayfs hides what lower layers have in a directory.
    private func isOpaque(_ directory: PackDirectory) throws(CacheError) -> Bool {
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
    private mutating func writeParents() throws(CacheError) {
        var index = frames.count
        while index > 0, frames[index - 1].unwritten != nil { index -= 1 }
        for index in index..<frames.count {
            guard let item = frames[index].unwritten else { continue }
            frames[index].unwritten = nil
            if hasBase { written.insert(item.path) }
            ready.append(item)
        }
    }

    private func hasSeveralNames(_ item: PackItem) -> Bool {
        options.hardLinks == .detected && item.status.linkCount > 1
    }

    private mutating func write(_ item: PackItem) throws(CacheError) {
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

    private mutating func noteUnchanged(_ item: PackItem) throws(CacheError) {
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

    private func attributes(
        of item: PackItem
    ) throws(CacheError) -> ([EntryAttributes.Extended], RecordedOwner?) {
        guard let directory = item.directory else { return (item.attributes, item.owner) }
        return try reader.read(item.name, in: directory, item.status, item.path)
    }

    private func link(_ item: PackItem, to target: [UInt8]) -> PackItem {
        var item = item
        item.kind = .link(to: target)
        if item.change != .added { item.change = .linked }
        return item
    }

    /// Writes the directories above an entry elsewhere in the tree that are not written yet.
    private mutating func writeParents(of item: PackItem) throws(CacheError) {
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
    private func checkHasData(_ item: PackItem) throws(CacheError) {
        guard let directory = item.directory else { return }
        for name in ["trusted.overlay.metacopy", "user.overlay.metacopy"]
        where reader.value(Array(name.utf8), of: item.name, in: directory) != nil {
            throw CacheError(
                .unsupported,
                "\(item.path.quotedPath) has its data in a lower layer (mount the overlay and pack the difference of the two mounted directories)"
            )
        }
    }

    private mutating func addPrefix(_ prefix: [UInt8]) throws(CacheError) {
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
