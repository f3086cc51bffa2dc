import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Finds directories of a tree by the names of a layer, as if the tree were the root of the file system.
///
/// Links are resolved here and not by the kernel: an absolute one begins at the root of the tree, and `..` goes to the directory above as it
/// was walked, never above the root. The kernel gets one component at a time, and never a `..`, so that neither a layer nor a process that
/// changes the tree meanwhile leads out of it.
struct ParentFinder {
    /// The use of a directory.
    enum Purpose {
        /// Something is made in it: it is made if it is missing, and noted as the layer's.
        case making
        /// Something is looked for in it; a missing directory is not an error.
        case looking
    }

    private static let maximumLinks = 255
    private static let maximumUps = 4096
    private static let cacheSize = 32

    let root: TreeDirectory
    private let policy: UnpackPolicy
    private let maximumDepth: Int
    // The directories used last, and those used before them.
    private var young: [PathKey: TreeDirectory] = [:]
    private var old: [PathKey: TreeDirectory] = [:]
    /// Directories that were opened up for the caller, with the modes to be put back.
    private(set) var opened: [PathKey: DirectoryRecord] = [:]

    init(_ root: TreeDirectory, _ policy: UnpackPolicy, maximumDepth: Int) {
        self.root = root
        self.policy = policy
        self.maximumDepth = maximumDepth
    }

    /// Forgets open directories, because one was removed or replaced.
    mutating func forget() {
        young = [:]
        old = [:]
    }

    /// Keeps a directory at hand that was made just now.
    mutating func keep(_ directory: TreeDirectory) {
        if young.count >= ParentFinder.cacheSize {
            old = young
            young = [:]
        }
        young[directory.key] = directory
    }

    private mutating func cached(_ key: PathKey) -> TreeDirectory? {
        if let directory = young[key] { return directory }
        guard let directory = old[key] else { return nil }
        keep(directory)
        return directory
    }

    /// A walk: the directory reached, the components that lead to it, and those to go.
    private struct Walk {
        var current: TreeDirectory
        var real: [ArraySlice<UInt8>] = []
        // The next one is the last.
        var rest: [ArraySlice<UInt8>]
        var links = 0
        var ups = 0
    }

    /// Finds a directory.
    ///
    /// - Parameters:
    ///   - components: Its path.
    ///   - paths: The layer's paths so far.
    ///   - settle: Waits for all files of the layer that are being made.
    /// - Returns: `nil` if it does not exist and is not to be made.
    /// - Throws: `CacheError` `.corrupted` if something else stands there, or for a loop of links.
    mutating func find(
        _ components: some BidirectionalCollection<ArraySlice<UInt8>>, for purpose: Purpose, _ paths: inout PathSet,
        settle: () throws(CacheError) -> Void
    ) throws(CacheError) -> TreeDirectory? {
        var walk = Walk(current: root, rest: components.reversed())
        startAtCached(&walk)
        if policy.isPrivileged, walk.rest.count > 1 { try jump(&walk, purpose, &paths, settle) }
        while let component = walk.rest.popLast() {
            if component.isEmpty || component.elementsEqual(".".utf8) { continue }
            if component.elementsEqual("..".utf8) {
                try goUp(&walk)
                continue
            }
            let key = walk.current.key.child(component).asDirectory
            if paths.kinds(key).contains(.file) { try settle() }
            if let directory = cached(key) {
                walk.current = directory
                walk.real.append(component)
                continue
            }
            guard try step(&walk, component, key, purpose, isKnown: paths.kinds(key).contains(.directory)) else {
                return nil
            }
            if purpose == .making { paths.insert(walk.current.key) }
        }
        if purpose == .making, !walk.current.path.isEmpty { keep(walk.current) }
        return walk.current
    }

    /// Begins with the lowest directory of the path that is open.
    private mutating func startAtCached(_ walk: inout Walk) {
        guard !young.isEmpty || !old.isEmpty else { return }
        var keys = [root.key]
        for component in walk.rest.reversed() {
            guard let last = keys.last else { break }
            keys.append(last.child(component).asDirectory)
        }
        for level in stride(from: keys.count - 1, to: 0, by: -1) {
            guard let directory = cached(keys[level]) else { continue }
            walk.current = directory
            let rest = walk.rest
            walk.real = rest.suffix(level).reversed()
            walk.rest = Array(rest.dropLast(level))
            return
        }
    }

    /// Goes all of the way in one call if no link is on it.
    private mutating func jump(
        _ walk: inout Walk, _ purpose: Purpose, _ paths: inout PathSet, _ settle: () throws(CacheError) -> Void
    ) throws(CacheError) {
        var keys: [PathKey] = []
        var key = walk.current.key
        for component in walk.rest.reversed() {
            key = key.child(component).asDirectory
            keys.append(key)
            let kinds = paths.kinds(key)
            guard purpose == .looking || kinds.contains(.directory) else { return }
            if kinds.contains(.file) { try settle() }
        }
        let path = Array(walk.rest.reversed().joined(separator: [UInt8(ascii: "/")]))
        let descriptor = withCString(path) { path in
            retryingInterrupts { files_open_beneath(walk.current.descriptor, path, Int32(files_hold_directory)) }
        }
        guard descriptor >= 0 else { return }
        walk.current = TreeDirectory(
            descriptor, path: walk.current.path(of: path), key: key, depth: walk.current.depth + keys.count)
        walk.real += walk.rest.reversed()
        walk.rest = []
        if purpose == .making { for key in keys { paths.insert(key) } }
    }

    /// Goes to the directory above: to the one that was walked through, from the root.
    private mutating func goUp(_ walk: inout Walk) throws(CacheError) {
        guard !walk.real.isEmpty else { return }
        walk.real.removeLast()
        // The way to it again; its components are real, so that no link can be met unless another process plants one, which is followed then.
        let real = walk.real
        walk.current = root
        walk.real = []
        walk.rest += real.reversed()
        walk.ups += 1
        guard walk.ups <= ParentFinder.maximumUps else { throw tooManyLinks(walk) }
    }

    /// Goes down by one component, or replaces it by the text of a link; `false` if nothing is there and nothing is to be made.
    private mutating func step(
        _ walk: inout Walk, _ component: ArraySlice<UInt8>, _ key: PathKey, _ purpose: Purpose, isKnown: Bool
    ) throws(CacheError) -> Bool {
        guard walk.real.count < maximumDepth else {
            throw CacheError(
                .limitExceeded, "links of the layer lead deeper than \(maximumDepth) levels, the limit")
        }
        let parent = walk.current
        var isNew = false
        // A name can come or go between two calls only if another process changes the tree.
        for _ in 0..<8 {
            let descriptor = withCString(component) { name in
                retryingInterrupts { openat(parent.descriptor, name, Int32(files_hold_directory)) }
            }
            if descriptor >= 0 {
                walk.current = TreeDirectory(
                    descriptor, path: parent.path(of: component), key: key, depth: parent.depth + 1)
                if purpose == .making, !isKnown, !isNew { try parent.checkListed(component) }
                walk.real.append(component)
                if !policy.isPrivileged { try openUp(component, in: parent) }
                return true
            }
            let code = errno
            switch code {
            case ENOENT:
                guard purpose == .making else { return false }
                let made = withCString(component) { mkdirat(parent.descriptor, $0, 0o755) }
                guard made == 0 || errno == EEXIST else {
                    throw cacheError(errno: errno, "make the directory \(parent.path(of: component).quotedPath)")
                }
                isNew = made == 0
                if isNew { try permit(component, in: parent) }
            case ELOOP, ENOTDIR:
                if let text = readLink(component, in: parent) { return try follow(text, &walk) }
                let status = withCString(component) { FileStatus(of: $0, in: parent.descriptor) }
                guard let status, !status.isDirectory, !status.isSymbolicLink else { continue }
                guard purpose == .making else { return false }
                throw CacheError(
                    .corrupted,
                    "\(parent.path(of: component).quotedPath) is not a directory, and the layer has something below it")
            case EACCES where !policy.isPrivileged:
                // Holding a directory takes no permission on Linux; elsewhere one without any must be opened up first.
                try openUp(component, in: parent)
            default:
                throw cacheError(errno: code, "open \(parent.path(of: component).quotedPath)")
            }
        }
        throw CacheError(
            .busy, "\(parent.path(of: component).quotedPath) is being changed by another process", retry: .worthwhile)
    }

    /// Gives a directory that no entry describes all of its mode, whatever the process takes from new ones.
    private func permit(_ component: ArraySlice<UInt8>, in parent: TreeDirectory) throws(CacheError) {
        guard policy.umask & 0o755 != 0 else { return }
        let done = withCString(component) { fchmodat(parent.descriptor, $0, 0o755, AT_SYMLINK_NOFOLLOW) }
        guard done == 0 else {
            throw cacheError(errno: errno, "set the mode of \(parent.path(of: component).quotedPath)")
        }
    }

    /// Lets the caller into a directory of its own, for as long as the layer is applied.
    mutating func openUp(_ component: ArraySlice<UInt8>, in parent: TreeDirectory) throws(CacheError) {
        let status = withCString(component) { FileStatus(of: $0, in: parent.descriptor) }
        guard let status, status.isDirectory, status.userID == policy.userID, status.mode & 0o700 != 0o700 else {
            return
        }
        let mode = mode_t(status.permissions | 0o700)
        let done = withCString(component) { fchmodat(parent.descriptor, $0, mode, AT_SYMLINK_NOFOLLOW) }
        guard done == 0 else {
            throw cacheError(errno: errno, "open \(parent.path(of: component).quotedPath)")
        }
        let key = parent.key.child(component).asDirectory
        guard opened[key] == nil else { return }
        opened[key] = DirectoryRecord(
            path: parent.path(of: component), depth: parent.depth + 1, identity: status.identity,
            content: .mode(status.permissions))
    }

    private func readLink(_ component: ArraySlice<UInt8>, in parent: TreeDirectory) -> [UInt8]? {
        let text = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
            let length = withCString(component) { name in
                buffer.withMemoryRebound(to: CChar.self) { buffer in
                    buffer.baseAddress.map { readlinkat(parent.descriptor, name, $0, buffer.count) } ?? -1
                }
            }
            count = max(0, length)
        }
        return text.isEmpty ? nil : text
    }

    private func follow(_ text: [UInt8], _ walk: inout Walk) throws(CacheError) -> Bool {
        walk.links += 1
        guard walk.links <= ParentFinder.maximumLinks else { throw tooManyLinks(walk) }
        if text.first == UInt8(ascii: "/") {
            walk.current = root
            walk.real = []
        }
        walk.rest += text.split(separator: UInt8(ascii: "/")).reversed()
        return true
    }

    private func tooManyLinks(_ walk: Walk) -> CacheError {
        CacheError(
            .corrupted,
            "symbolic links near \(walk.current.path.quotedPath) lead on more than \(ParentFinder.maximumLinks) times: a loop?"
        )
    }
}
