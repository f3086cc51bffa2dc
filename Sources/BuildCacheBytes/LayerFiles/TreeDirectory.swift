import BuildCacheCore
import CFiles
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// An open directory of a tree that layers are applied to, with its real path in the tree.
///
/// On Linux the descriptor only holds the directory, so that listing it takes ``openForListing()``.
final class TreeDirectory: Sendable {
    /// Whether files made in a directory get the owner and the mode that were asked for.
    enum Creation: UInt8, AtomicRepresentable { case unknown, asAsked, otherwise }

    let descriptor: Int32
    /// Without slashes at either end; empty for the root.
    let path: [UInt8]
    let key: PathKey
    let depth: Int
    let creation = Atomic(Creation.unknown)
    private let lower = Mutex<Set<[UInt8]>?>(nil)

    /// Takes over the descriptor.
    init(_ descriptor: Int32, path: [UInt8], key: PathKey, depth: Int) {
        self.descriptor = descriptor
        self.path = path
        self.key = key
        self.depth = depth
    }

    deinit { close(descriptor) }

    /// The path of a name in this directory.
    func path(of name: some Collection<UInt8>) -> [UInt8] {
        var result = path
        result.reserveCapacity(path.count + 1 + name.count)
        if !path.isEmpty { result.append(UInt8(ascii: "/")) }
        result.append(contentsOf: name)
        return result
    }

    /// A descriptor that can be listed; -1 with `errno`.
    func openForListing() -> Int32 {
        retryingInterrupts { openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    }

    /// Checks that a name that is taken is there by exactly these bytes: some file systems take several names for one.
    ///
    /// The names are read once, the first time that a name of a layer is taken; names that the layer makes later do not count.
    ///
    /// - Throws: `CacheError` `.unsupported`.
    func checkListed(_ name: some Collection<UInt8>) throws(CacheError) {
        guard !wasListed(name) else { return }
        throw CacheError(
            .unsupported,
            "\(path(of: name).quotedPath) is already there under another spelling: "
                + "the file system takes the two names for one (unpack to one that tells them apart)")
    }

    private func wasListed(_ name: some Collection<UInt8>) -> Bool {
        lower.withLock { names in
            if names == nil {
                let descriptor = openForListing()
                // A directory that cannot be listed hides nothing of the kind that is looked for.
                guard descriptor >= 0, let listing = DirectoryListing(consuming: descriptor) else { return true }
                names = Set(listing.indices.map { Array(listing[$0]) })
            }
            return names?.contains(Array(name)) ?? true
        }
    }
}

/// The names in a directory, in one buffer.
struct DirectoryListing: Sendable {
    private var bytes: [UInt8] = []
    private var starts: [UInt32] = []

    /// No names.
    init() {}

    /// Lists an open directory and closes it; `nil` with `errno` if that fails.
    init?(consuming descriptor: Int32) {
        guard let stream = fdopendir(descriptor) else {
            let code = errno
            close(descriptor)
            errno = code
            return nil
        }
        defer { closedir(stream) }
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            withUnsafeBytes(of: &entry.pointee.d_name) { name in
                let count = name.firstIndex(of: 0) ?? name.count
                guard !(name[0] == 0x2E && (count == 1 || count == 2 && name[1] == 0x2E)) else { return }
                starts.append(UInt32(truncatingIfNeeded: bytes.count))
                bytes.append(contentsOf: name[..<count])
                bytes.append(0)
            }
            guard bytes.count < Int(UInt32.max) else {
                errno = EOVERFLOW
                return nil
            }
        }
        guard errno == 0 else { return nil }
    }

    var indices: Range<Int> { starts.indices }

    subscript(index: Int) -> ArraySlice<UInt8> {
        let start = Int(starts[index])
        let end = index + 1 < starts.count ? Int(starts[index + 1]) - 1 : bytes.count - 1
        return bytes[start..<end]
    }

    /// The same names in the order of their bytes.
    func sorted() -> DirectoryListing {
        let order = bytes.withUnsafeBufferPointer { bytes in
            indices.sorted { left, right in
                var (a, b) = (Int(starts[left]), Int(starts[right]))
                while bytes[a] == bytes[b], bytes[a] != 0 { (a, b) = (a + 1, b + 1) }
                return bytes[a] < bytes[b]
            }
        }
        var result = DirectoryListing()
        result.bytes.reserveCapacity(bytes.count)
        result.starts.reserveCapacity(starts.count)
        for index in order {
            result.starts.append(UInt32(truncatingIfNeeded: result.bytes.count))
            result.bytes.append(contentsOf: self[index])
            result.bytes.append(0)
        }
        return result
    }
}
