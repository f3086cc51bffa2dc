import BuildCacheCore

/// The files of an input that a step uses, as its content key hashes them.
public struct ContentSelector: Hashable, Sendable {
    /// The path, or the wildcard, relative to the input's root.
    public var path: [UInt8]
    /// Whether a link at the path's end is followed.
    public var followsLinks: Bool
    /// Whether the path is a wildcard.
    public var isWildcard = false
    /// Patterns of which a file must match one; empty for all files.
    public var include: [String] = []
    /// Patterns of which a file must match none.
    public var exclude: [String] = []
    /// Paths that must be among the files.
    public var required: [String] = []

    /// The files at a path.
    public init(_ path: [UInt8], followsLinks: Bool = false) {
        self.path = path
        self.followsLinks = followsLinks
    }

    /// The files at a path.
    public init(_ path: String, followsLinks: Bool = false) { self.init(Array(path.utf8), followsLinks: followsLinks) }

    /// The whole tree.
    public static let everything = ContentSelector("/")

    /// Whether files are selected one by one rather than as a whole tree.
    package var isFiltered: Bool { isWildcard || !include.isEmpty || !exclude.isEmpty }

    /// Compares paths and patterns as bytes.
    public static func == (left: ContentSelector, right: ContentSelector) -> Bool { left.identity == right.identity }

    /// Hashes the bytes of paths and patterns.
    public func hash(into hasher: inout Hasher) { hasher.combine(identity) }

    private var identity: [[[UInt8]]] {
        [
            [path, [followsLinks ? 1 : 0, isWildcard ? 1 : 0]], include.map { Array($0.utf8) },
            exclude.map { Array($0.utf8) }, required.map { Array($0.utf8) },
        ]
    }
}
