public import BuildCacheCore

extension ContentTree {
    /// A file that two trees do not have in common.
    public struct Difference: Hashable, Sendable {
        /// The kind of a difference.
        @nonexhaustive
        public enum Kind: Hashable, Sendable {
            /// Only the newer tree has the file.
            case added
            /// Only the older tree has the file.
            case removed
            /// The data, the permissions, the owner, the type or an attribute differs.
            case changed
        }
        /// The path below the compared directories; empty for these themselves.
        public var path: [UInt8]
        /// The kind.
        public var kind: Kind
    }

    /// The files that differ from those of an older tree, in the order of their paths.
    ///
    /// A directory that only one tree has stands for all that is in it.
    ///
    /// - Parameters:
    ///   - older: The tree to compare with.
    ///   - olderPath: The file or directory of the older tree. Default the root.
    ///   - path: The file or directory of this tree. Default the root.
    ///   - limit: The most differences that are returned. Default 100.
    /// - Throws: `CacheError` `.notFound` if a path does not exist, `.corrupted` for a loop of links.
    public func differences(
        from older: ContentTree, at olderPath: [UInt8] = [], and path: [UInt8] = [], limit: Int = 100
    ) throws(CacheError) -> [Difference] {
        guard let mine = try resolve(BytePath.absolute(path), followsFinal: true) else { throw notFound(path) }
        guard let theirs = try older.resolve(BytePath.absolute(olderPath), followsFinal: true) else {
            throw older.notFound(olderPath)
        }
        var found: [Difference] = []
        // The next files in the order of their paths stand at the end.
        var rest: [(path: [UInt8], mine: Int?, theirs: Int?)] = [([], mine, theirs)]
        while let (path, mine, theirs) = rest.popLast(), found.count < limit {
            guard let mine, let theirs else {
                found.append(Difference(path: path, kind: mine == nil ? .removed : .added))
                continue
            }
            let (new, old) = (nodes[mine], older.nodes[theirs])
            if new.contents == old.contents { continue }
            let areDirectories = new.kind == .directory && old.kind == .directory
            if !areDirectories || new.digest != old.digest { found.append(Difference(path: path, kind: .changed)) }
            if areDirectories { rest += pairs(mine, older, theirs, below: path).reversed() }
        }
        return found
    }

    /// The children of two directories by name, in order.
    private func pairs(
        _ mine: Int, _ older: ContentTree, _ theirs: Int, below path: [UInt8]
    ) -> [(path: [UInt8], mine: Int?, theirs: Int?)] {
        var pairs: [(path: [UInt8], mine: Int?, theirs: Int?)] = []
        var (left, right) = (nodes[mine].children, older.nodes[theirs].children)
        while let name = [left.first.map { nodes[$0].name }, right.first.map { older.nodes[$0].name }]
            .compactMap({ $0 }).min(by: { $0.precedes($1) })
        {
            let own = left.first.flatMap { nodes[$0].name == name ? $0 : nil }
            let other = right.first.flatMap { older.nodes[$0].name == name ? $0 : nil }
            pairs.append((path.isEmpty ? name : path + [BytePath.slash] + name, own, other))
            if own != nil { left = left.dropFirst() }
            if other != nil { right = right.dropFirst() }
        }
        return pairs
    }
}
