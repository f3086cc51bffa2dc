import BuildCacheCore

/// The components of a name in a tar, which mean a path in a tree.
struct EntryPath {
    /// Without empty ones and `.`.
    private(set) var components: [ArraySlice<UInt8>] = []

    static let maximumComponent = 255
    static let maximumPath = 4096

    /// Takes a name apart.
    ///
    /// - Throws: `CacheError` `.corrupted` for a `..` or a component over 255 bytes, `.limitExceeded` for a path over 4096.
    init(_ name: [UInt8], maximumDepth: Int) throws(CacheError) {
        guard name.count <= EntryPath.maximumPath else {
            throw CacheError(
                .limitExceeded,
                "the layer has a path of \(name.count) bytes: expected at most \(EntryPath.maximumPath)")
        }
        for component in name.split(separator: UInt8(ascii: "/"))
        where !(component.count == 1 && component.first == UInt8(ascii: ".")) {
            try EntryPath.check(component, of: name)
            components.append(component)
        }
        guard components.count <= maximumDepth else {
            throw CacheError(
                .limitExceeded,
                "\(name.quotedPath) in the layer is \(components.count) levels deep: expected at most \(maximumDepth)")
        }
    }

    private static func check(_ component: ArraySlice<UInt8>, of name: [UInt8]) throws(CacheError) {
        guard !(component.count == 2 && component.allSatisfy { $0 == UInt8(ascii: ".") }) else {
            throw CacheError(.corrupted, "invalid name \(name.quotedPath) in the layer: expected no component ..")
        }
        guard !component.contains(0) else {
            throw CacheError(.corrupted, "invalid name \(name.quotedPath) in the layer: expected no zero byte")
        }
        guard component.count <= maximumComponent else {
            throw CacheError(
                .corrupted,
                "a component of \(name.prefix(300).quotedPath) in the layer has \(component.count) bytes: expected at most 255"
            )
        }
    }

    /// The marks of removals in names.
    enum Mark: Equatable {
        case none
        /// Removes this name.
        case removal(ArraySlice<UInt8>)
        /// Removes everything below the directory.
        case opaque
        /// A note of AUFS, which means nothing here.
        case aufs
    }

    /// The meaning of the last component.
    ///
    /// - Throws: `CacheError` `.corrupted` for a mark that removes no name, and for one in front of another component.
    func mark() throws(CacheError) -> Mark {
        guard let last = components.last else { return .none }
        if let first = components.first, EntryPath.aufs.contains(where: { first.elementsEqual($0) }) { return .aufs }
        for component in components.dropLast() where component.starts(with: EntryPath.prefix) {
            throw CacheError(
                .corrupted, "invalid name \(joined.quotedPath) in the layer: expected .wh. only in the last component")
        }
        guard last.starts(with: EntryPath.prefix) else { return .none }
        if last.elementsEqual(EntryPath.opaque) { return .opaque }
        let name = last.dropFirst(EntryPath.prefix.count)
        guard !name.isEmpty, !name.elementsEqual(".".utf8), !name.elementsEqual("..".utf8) else {
            throw CacheError(
                .corrupted, "invalid removal \(joined.quotedPath) in the layer: expected a name behind .wh.")
        }
        return .removal(name)
    }

    /// The path with single slashes.
    var joined: [UInt8] { Array(components.joined(separator: [UInt8(ascii: "/")])) }

    static let prefix = Array(".wh.".utf8)
    private static let opaque = Array(".wh..wh..opq".utf8)
    private static let aufs = [".wh..wh.aufs", ".wh..wh.orph", ".wh..wh.plnk"].map { Array($0.utf8) }
}
