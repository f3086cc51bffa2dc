import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A directory that is being made beside its final place, locked for as long as that takes.
final class PartialTree: Sendable {
    private let path: String
    private let parent: Handle
    private let name: [UInt8]
    private let partialName: [UInt8]
    private let directory: Handle
    private let replaces: Bool

    private static let suffix = Array(".partial".utf8)

    /// Makes an empty directory beside `path`, and removes those that killed processes left.
    ///
    /// - Throws: `CacheError` `.occupied` if `path` is taken, `.busy` if another process is making it.
    init(for path: String, replacing: Bool) throws(CacheError) {
        let trimmed = path.utf8.reversed().drop { $0 == UInt8(ascii: "/") }.reversed()
        let name = Array(trimmed.reversed().prefix { $0 != UInt8(ascii: "/") }.reversed())
        guard !name.isEmpty, !name.elementsEqual(".".utf8), !name.elementsEqual("..".utf8) else {
            throw CacheError(.invalidSpec, "invalid directory \(path.quoted): expected a path that ends in a name")
        }
        let above = Array(trimmed.dropLast(name.count))
        let parentPath = above.isEmpty ? Array(".".utf8) : above
        let descriptor = openDirectory(parentPath)
        guard descriptor >= 0 else { throw cacheError(errno: errno, "open \(parentPath.quotedPath)") }
        self.path = path
        self.name = name
        parent = Handle(descriptor)
        replaces = replacing
        let status = withCString(name) { FileStatus(of: $0, in: descriptor) }
        if let status {
            guard replacing else { throw PartialTree.occupied(path) }
            guard status.isDirectory else {
                throw CacheError(.occupied, "\(path.quoted) is not a directory and is not replaced by one")
            }
        }
        let stem = PartialTree.stem(name)
        try PartialTree.removeRemnants(stem, in: descriptor, of: path)
        (partialName, directory) = try PartialTree.make(stem, in: descriptor, beside: path)
    }

    private static func occupied(_ path: String) -> CacheError {
        CacheError(.occupied, "\(path.quoted) exists; remove it, or unpack with replacing")
    }

    /// The beginning of the names of partial trees, cut for names that leave no room.
    private static func stem(_ name: [UInt8]) -> [UInt8] {
        var stem = name
        if stem.count > 200 { stem = stem.prefix(150) + Array(Digest(of: name).hex.utf8.prefix(16)) }
        return [UInt8(ascii: ".")] + stem + [UInt8(ascii: ".")]
    }

    private static func openPartial(_ name: some Collection<UInt8>, in parent: Int32) -> Handle? {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        let descriptor = withCString(name) { name in retryingInterrupts { openat(parent, name, flags) } }
        return descriptor >= 0 ? Handle(descriptor) : nil
    }

    private static func removeRemnants(_ stem: [UInt8], in parent: Int32, of path: String) throws(CacheError) {
        let copy = retryingInterrupts { openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard copy >= 0, let names = DirectoryListing(consuming: copy) else {
            throw cacheError(errno: errno, "list the directory of \(path.quoted)")
        }
        for index in names.indices {
            let name = names[index]
            guard name.starts(with: stem), name.suffix(suffix.count).elementsEqual(suffix),
                name.count > stem.count + suffix.count,
                !name.dropFirst(stem.count).dropLast(suffix.count).contains(UInt8(ascii: ".")),
                let handle = openPartial(name, in: parent)
            else { continue }
            guard flock(handle.descriptor, LOCK_EX | LOCK_NB) == 0 else {
                throw CacheError(
                    .busy, "another process is unpacking to \(path.quoted)", retry: .worthwhile)
            }
            _ = TreeRemoval.remove(name, in: parent)
        }
    }

    private static func make(
        _ stem: [UInt8], in parent: Int32, beside path: String
    ) throws(CacheError) -> ([UInt8], Handle) {
        // Another process may take a directory that is not locked yet for a remnant, but does so once only.
        for _ in 0..<8 {
            let name = stem + Array(String(UInt64.random(in: .min ... .max), radix: 36).utf8) + suffix
            guard withCString(name, { mkdirat(parent, $0, 0o700) }) == 0 else {
                throw cacheError(errno: errno, "make a directory beside \(path.quoted)")
            }
            if let handle = openPartial(name, in: parent), flock(handle.descriptor, LOCK_EX | LOCK_NB) == 0,
                let status = withCString(name, { FileStatus(of: $0, in: parent) }),
                status.identity == FileStatus(of: handle.descriptor)?.identity
            {
                return (name, handle)
            }
            _ = TreeRemoval.remove(name, in: parent)
        }
        throw CacheError(
            .busy, "other processes keep removing new directories beside \(path.quoted)", retry: .worthwhile)
    }

    /// The tree, opened anew.
    func root() throws(CacheError) -> TreeDirectory {
        let descriptor = fcntl(directory.descriptor, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw cacheError(errno: errno, "open the directory beside \(path.quoted)") }
        return TreeDirectory(descriptor, path: [], key: .root(), depth: 0)
    }

    /// Gives the tree its name.
    ///
    /// - Throws: `CacheError` `.busy` if another process was faster.
    func publish(isDurable: Bool) throws(CacheError) {
        guard fchmod(directory.descriptor, 0o755) == 0 else { throw cacheError(errno: errno, "publish \(path.quoted)") }
        if isDurable, files_synchronize(directory.descriptor) != 0 {
            throw cacheError(errno: errno, "write \(path.quoted) to the disk")
        }
        try rename()
        if isDurable, fsync(parent.descriptor) != 0 {
            throw cacheError(errno: errno, "write \(path.quoted) to the disk")
        }
    }

    private func rename() throws(CacheError) {
        let code = withCString(partialName) { partial in
            withCString(name) { name -> Int32 in
                if files_rename_new(parent.descriptor, partial, parent.descriptor, name) == 0 { return 0 }
                if errno == EEXIST, replaces {
                    if files_rename_exchange(parent.descriptor, partial, parent.descriptor, name) == 0 {
                        // The old tree has the other name now.
                        return TreeRemoval.remove(partialName, in: parent.descriptor)
                    }
                }
                guard [EINVAL, ENOSYS, ENOTSUP].contains(errno) else { return errno }
                return renameWithoutFlags(partial, name)
            }
        }
        guard code != EEXIST, code != ENOTEMPTY else {
            throw CacheError(.busy, "another process made \(path.quoted) meanwhile", retry: .worthwhile)
        }
        guard code == 0 else { throw cacheError(errno: code, "rename the directory to \(path.quoted)") }
    }

    /// On file systems without the two ways to rename above, in two steps.
    private func renameWithoutFlags(_ partial: UnsafePointer<CChar>, _ name: UnsafePointer<CChar>) -> Int32 {
        var old: [UInt8]?
        if FileStatus(of: name, in: parent.descriptor) != nil {
            guard replaces else { return EEXIST }
            let number = UInt64.random(in: .min ... .max)
            let aside = PartialTree.stem(self.name) + Array("old\(number)".utf8) + PartialTree.suffix
            let isMoved = withCString(aside) { renameat(parent.descriptor, name, parent.descriptor, $0) } == 0
            guard isMoved else { return errno }
            old = aside
        }
        guard renameat(parent.descriptor, partial, parent.descriptor, name) == 0 else { return errno }
        return old.map { TreeRemoval.remove($0, in: parent.descriptor) } ?? 0
    }

    /// Removes the tree.
    func remove() { _ = TreeRemoval.remove(partialName, in: parent.descriptor) }
}

extension TreeDirectory {
    /// Opens the directory at `path` as the root of a tree.
    ///
    /// - Throws: `CacheError` `.notFound`, `.denied`.
    convenience init(root path: String) throws(CacheError) {
        let descriptor = openDirectory(Array(path.utf8))
        guard descriptor >= 0 else { throw cacheError(errno: errno, "open the directory \(path.quoted)") }
        self.init(descriptor, path: [], key: .root(), depth: 0)
    }
}

/// Opens a directory of the host by its path; -1 with `errno`.
private func openDirectory(_ path: [UInt8]) -> Int32 {
    withCString(path) { path in retryingInterrupts { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) } }
}
