public import BuildCacheCore

/// A tree of files as its content digests see it: names, types and digests, without the data.
///
/// It takes some hundred bytes per file. A ``ContentTreeBuilder`` makes it of layers or of single files, a ``DirectoryScan`` of a
/// directory. Names are bytes: two names are one only if all their bytes are equal.
///
/// - Source: `Documentation/Spec/cache-keys.md` §5; BuildKit `cache/contenthash/checksum.go`.
public struct ContentTree: Sendable {
    /// One file.
    struct Node {
        var name: [UInt8]
        var kind: Kind
        /// The digest of the header and the data; of a directory, of the header alone.
        var digest: Digest
        /// The digest of a directory with all that is in it, and that of anything else again.
        var contents: Digest
        var target: [UInt8] = []
        /// The children, sorted by the bytes of their names.
        var children: Range<Int> = 0..<0
    }
    enum Kind: UInt8 { case directory, symlink, other }

    /// The root first, the children of each directory in a row.
    let nodes: [Node]
    /// Whether there is not even a root: BuildKit's result of an operation that made nothing.
    let isAbsent: Bool

    /// The result of an operation without any files, such as the difference of equal trees; not the same as an empty directory.
    public static let absent = ContentTree(nodes: [], isAbsent: true)

    init(nodes: [Node], isAbsent: Bool = false) {
        self.nodes = nodes
        self.isAbsent = isAbsent
    }

    /// The number of files, the root among them.
    public var count: Int { nodes.count }

    /// The digest of what the selectors of one input select: an input's content key.
    ///
    /// - Parameter epoch: The versions of BuildKit whose digest is made. Default the newest.
    /// - Throws: `CacheError` `.notFound` for a path that must be there, `.corrupted` for a loop of links, `.invalidSpec` for a
    ///   pattern that is not valid, `.unsupported` for one that only BuildKit can read.
    public func contentKey(
        of selectors: [ContentSelector], epoch: KeyEpoch = .current
    ) throws(CacheError) -> Digest {
        var texts: [[UInt8]] = []
        for selector in selectors { texts.append(Array("\(try digest(of: selector, epoch: epoch))".utf8)) }
        return Digest(of: Array(texts.joined(separator: [0])))
    }

    /// The digest of what one selector selects.
    ///
    /// - Throws: `CacheError` as ``contentKey(of:epoch:)``.
    public func digest(of selector: ContentSelector, epoch: KeyEpoch = .current) throws(CacheError) -> Digest {
        if isAbsent {
            guard BytePath.absolute(selector.path) == [BytePath.slash] else { throw notFound(selector.path) }
            return ContentTree.empty
        }
        if selector.isFiltered { return try filteredDigest(of: selector, epoch: epoch) }
        guard let node = try resolve(BytePath.absolute(selector.path), followsFinal: selector.followsLinks) else {
            throw notFound(selector.path)
        }
        return nodes[node].contents
    }

    /// The digest of no bytes.
    static let empty = Digest(of: [])

    func notFound(_ path: [UInt8]) -> CacheError {
        CacheError(.notFound, "no file \(path.shown) exists in the input of the step")
    }

    /// The index of the file at an absolute path, or `nil`.
    ///
    /// - Throws: `CacheError` `.corrupted` for more than 255 links.
    func resolve(_ path: [UInt8], followsFinal: Bool) throws(CacheError) -> Int? {
        try LinkResolver.resolve(
            path, followsFinal: followsFinal, child: { child(named: $1, of: $0) },
            target: { nodes[$0].kind == .symlink ? nodes[$0].target : nil })
    }

    /// The index of a child, by binary search.
    private func child(named name: [UInt8], of node: Int) -> Int? {
        var range = nodes[node].children
        while let middle = range.isEmpty ? nil : range.lowerBound + range.count / 2 {
            if nodes[middle].name == name { return middle }
            range = nodes[middle].name.precedes(name) ? (middle + 1)..<range.upperBound : range.lowerBound..<middle
        }
        return nil
    }
}

/// Follows symbolic links inside of a tree, whose root they cannot leave.
enum LinkResolver {
    private static let maximumLinks = 255

    /// The file at an absolute path, or `nil`; the root is 0.
    ///
    /// Missing directories are passed over by name, as BuildKit does: `missing/../a` is `a`.
    ///
    /// - Throws: `CacheError` `.corrupted` for more than 255 links.
    static func resolve(
        _ path: [UInt8], followsFinal: Bool, child: (Int, [UInt8]) -> Int?, target: (Int) -> [UInt8]?
    ) throws(CacheError) -> Int? {
        // The way from the root; `nil` for what does not exist.
        var way: [Int?] = [0]
        var rest = Array(BytePath.parts(path).reversed())
        var links = 0
        while let part = rest.popLast() {
            if part == Array(".".utf8) { continue }
            if part == Array("..".utf8) {
                if way.count > 1 { way.removeLast() }
                continue
            }
            let parent = way.last ?? nil
            let next = parent.flatMap { child($0, part) }
            guard let next, let link = target(next), followsFinal || !rest.isEmpty else {
                way.append(next)
                continue
            }
            links += 1
            guard links <= maximumLinks else {
                throw CacheError(.corrupted, "more than \(maximumLinks) symbolic links lead from \(path.shown)")
            }
            if link.first == BytePath.slash { way = [0] }
            rest += BytePath.parts(link).reversed()
        }
        return way.last ?? nil
    }
}
