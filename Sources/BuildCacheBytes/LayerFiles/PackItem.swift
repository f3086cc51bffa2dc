import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// An open directory of a tree that is packed.
final class PackDirectory: Sendable {
    let handle: Handle
    /// The path in the tar, without slashes at either end; empty for the root.
    let path: [UInt8]
    let identity: FileStatus.Identity

    init(_ handle: Handle, path: [UInt8], identity: FileStatus.Identity) {
        self.handle = handle
        self.path = path
        self.identity = identity
    }

    var descriptor: Int32 { handle.descriptor }

    /// The path of a name in this directory.
    func path(of name: some Collection<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(path.count + 2 + name.count)
        result.append(contentsOf: path)
        if !path.isEmpty { result.append(UInt8(ascii: "/")) }
        result.append(contentsOf: name)
        return result
    }
}

/// An entry of a layer, before its contents are read.
struct PackItem: Sendable {
    enum Kind: Sendable {
        /// Of any type.
        case file
        /// A further name of the file that was written under this one.
        case link(to: [UInt8])
        case removal
    }

    /// The reason for which an entry is in a difference.
    enum Change: Sendable {
        case added, changed, removed
        /// A directory above a change.
        case parent
        /// Another name of a changed file.
        case linked
    }

    var kind: Kind
    var change: Change
    /// The path in the tar, of a directory without the slash behind it; of a removal the name that is removed.
    var path: [UInt8]
    /// The offset in the path at which the name begins.
    var nameStart: Int
    var status: FileStatus
    /// The directory that holds it; none for removals and for directories, whose attributes are read already.
    var directory: PackDirectory?
    var attributes: [EntryAttributes.Extended] = []
    var owner: RecordedOwner?
    /// Whether the entry is written as it is, untouched by the options: a directory of the prefix.
    var isExact = false

    var name: ArraySlice<UInt8> { path[nameStart...] }
}
