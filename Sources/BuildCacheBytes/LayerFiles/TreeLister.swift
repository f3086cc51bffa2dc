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
    var frames: [Frame] = []
    /// Entries that are ready, in order.
    var ready: [PackItem] = []
    private var readyPlace = 0
    // Of files with several names: the first that was written, and names of unchanged files so far.
    var first: [FileStatus.Identity: [UInt8]] = [:]
    var unchanged: [FileStatus.Identity: [PackItem]] = [:]
    // Directories that are written, where a difference may need one that the walk has left.
    var written: Set<[UInt8]> = []
    let root: PackDirectory
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

    func changed(_ path: [UInt8]) -> CacheError {
        CacheError(
            .busy, "\(path.quotedPath) changed while it was packed (pack a tree that is at rest)", retry: .worthwhile)
    }

    func openDirectory(
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

    func list(_ directory: PackDirectory) throws(CacheError) -> DirectoryListing {
        let descriptor = retryingInterrupts { openat(directory.descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard descriptor >= 0, let names = DirectoryListing(consuming: descriptor) else {
            throw cacheError(errno: errno, "list \(directory.path.quotedPath)")
        }
        return names.sorted()
    }

    func list(_ frame: inout Frame) throws(CacheError) {
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

    func join(_ path: [UInt8], _ name: [UInt8]) -> [UInt8] {
        path.isEmpty ? name : path + [UInt8(ascii: "/")] + name
    }

    /// The path below the root of the tree, for ignore patterns.
    private func scalars(_ path: [UInt8], _ name: [UInt8]) -> [Unicode.Scalar] {
        let relative = path.dropFirst(root.path.isEmpty ? 0 : root.path.count + 1)
        return Array(String(decoding: join(Array(relative), name), as: UTF8.self).unicodeScalars)
    }

    func status(of name: [UInt8], in directory: PackDirectory?) throws(CacheError) -> FileStatus? {
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
}
