public import BuildCacheCore

/// Puts a ``ContentTree`` together, file by file or layer by layer.
///
/// Layers come bottom first, each as the uncompressed tar; whiteouts, replaced types, hard links and missing parents are understood as
/// a daemon does that unpacks them. No data is kept.
///
/// - Source: `Documentation/Spec/cache-keys.md` §5.3.
public struct ContentTreeBuilder: Sendable {
    /// The origin of the files, which decides how the root counts.
    @nonexhaustive
    public enum Origin: Hashable, Sendable {
        /// Layers of an image or a step.
        case layers
        /// A directory as a client sends it: all files belong to root, and the root itself has no header.
        case localContext
    }

    struct Node {
        var kind: ContentTree.Kind
        var digest: Digest
        var target: [UInt8] = []
        var children: [[UInt8]: Int] = [:]
        /// The number of the layer that brought it.
        var layer: Int
    }

    private let origin: Origin
    private(set) var nodes: [Node]
    private(set) var layer = 0

    fileprivate static let rootDigest = FileMetadata(.directory, permissions: 0o755).digest()

    /// An empty directory.
    public init(_ origin: Origin = .layers) {
        self.origin = origin
        nodes = [Node(kind: .directory, digest: ContentTreeBuilder.rootDigest, layer: 0)]
    }

    /// Begins the next layer.
    public mutating func beginLayer() { layer += 1 }

    /// Adds a file or a directory, or replaces what is at its path.
    ///
    /// Parents that are missing become directories of root with the permissions 0755. A directory keeps what was in the one before; the
    /// root keeps its own metadata.
    ///
    /// - Parameter digest: The result of ``FileMetadata/digest(data:)`` for the file and its data.
    /// - Throws: `CacheError` `.corrupted` if a parent is a file.
    public mutating func add(_ path: [UInt8], _ metadata: FileMetadata, digest: Digest) throws(CacheError) {
        var node = Node(kind: .other, digest: digest, layer: layer)
        switch metadata.kind {
        case .directory: node.kind = .directory
        case .symlink(let target):
            node.kind = .symlink
            node.target = target
        default: break
        }
        try put(node, at: path)
    }

    /// Adds a file whose data is at hand, or a file without data.
    ///
    /// - Throws: `CacheError` `.corrupted` if a parent is a file.
    public mutating func add(
        _ path: [UInt8], _ metadata: FileMetadata, data: some Sequence<UInt8> = []
    ) throws(CacheError) {
        var metadata = metadata
        let data = Array(data)
        if metadata.kind == .regular { metadata.size = Int64(data.count) }
        switch origin {
        case .localContext: (metadata.uid, metadata.gid) = (0, 0)
        // BuildKit does not count those of snapshots.
        default: (metadata.deviceMajor, metadata.deviceMinor) = (0, 0)
        }
        try add(path, metadata, digest: metadata.digest(data: data))
    }

    /// Adds another name of a file of the same layer.
    ///
    /// - Throws: `CacheError` `.corrupted` if the layer has no such file.
    public mutating func addHardLink(_ path: [UInt8], to target: [UInt8]) throws(CacheError) {
        guard let found = try find(target), nodes[found].kind != .directory, nodes[found].layer == layer else {
            throw CacheError(
                .corrupted, "the hard link \(path.shown) leads to \(target.shown), which is not a file of its layer")
        }
        try put(nodes[found], at: path)
    }

    /// Removes a file, or a directory with all that is in it.
    public mutating func remove(_ path: [UInt8]) throws(CacheError) {
        guard let (parent, name) = try place(of: path, makesParents: false) else { return }
        nodes[parent].children[name] = nil
    }

    /// Removes all that a directory has from lower layers.
    public mutating func removeLowerLayers(below path: [UInt8]) throws(CacheError) {
        guard let directory = try find(path) else { return }
        var rest = [directory]
        while let next = rest.popLast() {
            nodes[next].children = nodes[next].children.filter { nodes[$0.value].layer == layer }
            rest += nodes[next].children.values
        }
    }

    private mutating func put(_ node: Node, at path: [UInt8]) throws(CacheError) {
        guard let (parent, name) = try place(of: path, makesParents: true) else { return }
        var node = node
        if let old = nodes[parent].children[name], node.kind == .directory, nodes[old].kind == .directory {
            node.children = nodes[old].children
        }
        nodes[parent].children[name] = nodes.count
        nodes.append(node)
    }

    // MARK: Paths

    private func find(_ path: [UInt8]) throws(CacheError) -> Int? {
        try LinkResolver.resolve(
            BytePath.absolute(path), followsFinal: false, child: { nodes[$0].children[$1] },
            target: { nodes[$0].kind == .symlink ? nodes[$0].target : nil })
    }

    /// The directory that a path's last element is in, and that element; `nil` for the root and where a parent is missing.
    private mutating func place(of path: [UInt8], makesParents: Bool) throws(CacheError) -> (Int, [UInt8])? {
        var parts = BytePath.parts(BytePath.absolute(path))
        guard let name = parts.popLast() else { return nil }
        var parent = 0
        for (depth, part) in parts.enumerated() {
            guard let next = nodes[parent].children[part] else {
                guard makesParents else { return nil }
                nodes[parent].children[part] = nodes.count
                parent = nodes.count
                nodes.append(Node(kind: .directory, digest: ContentTreeBuilder.rootDigest, layer: layer))
                continue
            }
            parent = next
            if nodes[next].kind == .symlink {
                // A layer may name a file through a link of a lower one.
                let joined = Array(parts[...depth].joined(separator: [BytePath.slash]))
                let found = try LinkResolver.resolve(
                    joined, followsFinal: true, child: { nodes[$0].children[$1] },
                    target: { nodes[$0].kind == .symlink ? nodes[$0].target : nil })
                guard let found else { return nil }
                parent = found
            }
            guard nodes[parent].kind == .directory else {
                guard makesParents else { return nil }
                throw CacheError(.corrupted, "a parent of \(path.shown) is not a directory")
            }
        }
        return (parent, name)
    }

    // MARK: Finishing

    /// The tree of all files so far, with the digests of its directories.
    public func finish() -> ContentTree {
        var sorted = [ContentTree.Node(root: origin, isEmpty: self.nodes[0].children.isEmpty)]
        var sources = [0]
        var index = 0
        while index < sources.count {
            let children = self.nodes[sources[index]].children.sorted { $0.key.precedes($1.key) }
            sorted[index].children = sorted.count..<(sorted.count + children.count)
            for (name, child) in children {
                sorted.append(ContentTree.Node(self.nodes[child], name: name))
                sources.append(child)
            }
            index += 1
        }
        return ContentTree(sorted: sorted)
    }
}

extension ContentTree.Node {
    /// The root of a tree.
    init(root origin: ContentTreeBuilder.Origin, isEmpty: Bool) {
        // A client sends no entry for the root itself, unless the context has nothing else.
        let isUnsent = origin == .localContext && !isEmpty
        let digest = isUnsent ? ContentTree.empty : ContentTreeBuilder.rootDigest
        self.init(name: [], kind: .directory, digest: digest, contents: digest)
    }

    fileprivate init(_ node: ContentTreeBuilder.Node, name: [UInt8]) {
        self.init(name: name, kind: node.kind, digest: node.digest, contents: node.digest, target: node.target)
    }
}

extension ContentTree {
    /// Makes the digests of directories, whose children stand behind them, sorted and in a row.
    init(sorted: [Node]) {
        var nodes = sorted
        var budget = ContentTree.maximumRepetitions
        // Going backwards meets the children first.
        for index in nodes.indices.reversed() where nodes[index].kind == .directory {
            nodes[index].contents = ContentTree.directoryDigest(of: index, in: nodes, &budget)
        }
        self.init(nodes: nodes)
    }

    /// The number of names that may be listed twice.
    ///
    /// Directories of such names inside of each other would take hours, in BuildKit too; past the
    /// limit the digest is another one, which matches nothing.
    fileprivate static let maximumRepetitions = 100_000

    /// The digest of a directory, from those of its children.
    ///
    /// - Source: `Documentation/Spec/cache-keys.md` §5.4.
    fileprivate static func directoryDigest(of index: Int, in nodes: [Node], _ budget: inout Int) -> Digest {
        var listing: [UInt8] = [0]
        listing += "\(nodes[index].digest)".utf8
        // A stack, because the quirk below goes as deep as the tree.
        var rest = nodes[index].children.reversed().map { (node: $0, name: nodes[$0].name) }
        while let (node, name) = rest.popLast() {
            listing.append(0)
            listing += name
            listing += "\(nodes[node].contents)".utf8
            // BuildKit goes on behind a directory at the name of byte 0xFF inside of it, and so lists such a child twice.
            guard nodes[node].children.last.map({ nodes[$0].name.first == 0xFF }) == true, budget > 0 else { continue }
            let twice = nodes[node].children.filter { nodes[$0].name.first == 0xFF }
            budget -= twice.count
            rest += twice.reversed().map { (node: $0, name: name + [0] + nodes[$0].name) }
        }
        return Digest(of: listing)
    }
}
