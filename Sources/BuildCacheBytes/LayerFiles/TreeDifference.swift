import BuildCacheCore
import NIOCore
import Synchronization

/// The changes of a directory against another one, in the order of a layer.
///
/// No file is read unless the comparison takes it.
///
///     for try await change in TreeDifference(.difference(of: "new", from: "old")) { print(change.kind, change.path) }
public struct TreeDifference: AsyncSequence, Sendable {
    /// One change.
    public struct Element: Hashable, Sendable {
        /// The kind of change.
        @nonexhaustive
        public enum Kind: Hashable, Sendable {
            /// Only the new tree has the name.
            case added
            /// Both have it, with other contents, attributes or of another type.
            case changed
            /// Only the base has the name.
            case removed
            /// Another name of a file that changed, which a layer must repeat.
            case linked
        }

        /// The kind of change.
        public var kind: Kind
        /// The path; bytes that are not UTF-8 are replaced.
        public var path: String
        /// The bytes of the path.
        public var pathBytes: [UInt8]
        /// Whether it is a directory: of the new tree, or of the base if it was removed.
        public var isDirectory: Bool
        /// Bytes of a file; 0 for everything else.
        public var size: Int64
    }

    private let tree: LayerPacker.Tree
    private let options: LayerPacker.Options

    /// Creates a difference; nothing is opened yet.
    ///
    /// While reading it throws `CacheError` as ``LayerPacker/open(progress:)``.
    ///
    /// - Parameters:
    ///   - tree: The trees. Of a directory alone everything is added.
    ///   - options: The options that would be packed with.
    public init(_ tree: LayerPacker.Tree, options: LayerPacker.Options = LayerPacker.Options()) {
        self.tree = tree
        self.options = options
    }

    /// Reads the changes in order.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let listing: Listing
        private var ready: [Element] = []

        fileprivate init(listing: Listing) { self.listing = listing }

        /// The next change; `nil` behind the last.
        public mutating func next() async throws -> Element? {
            while ready.isEmpty {
                try Task.checkCancellation()
                let listing = listing
                guard let more = try await Workers.files.run({ () throws(CacheError) in try listing.next() }) else {
                    return nil
                }
                ready = more.reversed()
            }
            return ready.popLast()
        }
    }

    /// Starts reading.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(listing: Listing(tree, options)) }
}

/// The lister of one reading.
private final class Listing: Sendable {
    private let tree: LayerPacker.Tree
    private let options: LayerPacker.Options
    private let lister = Mutex<TreeLister?>(nil)

    init(_ tree: LayerPacker.Tree, _ options: LayerPacker.Options) {
        self.tree = tree
        self.options = options
    }

    func next() throws(CacheError) -> [TreeDifference.Element]? {
        try lister.withLock { lister throws(CacheError) in
            if lister == nil { lister = try TreeLister(tree, options, skipped: SkippedParts()) }
            var changes: [TreeDifference.Element] = []
            var isAtEnd = true
            while changes.count < 256, let item = try lister?.next() {
                isAtEnd = false
                if let change = TreeDifference.Element(item) { changes.append(change) }
            }
            return isAtEnd ? nil : changes
        }
    }
}

extension TreeDifference.Element {
    fileprivate init?(_ item: PackItem) {
        switch item.change {
        case .added: kind = .added
        case .changed: kind = .changed
        case .removed: kind = .removed
        case .linked: kind = .linked
        case .parent: return nil
        }
        pathBytes = item.path
        path = String(decoding: item.path, as: UTF8.self)
        isDirectory = item.status.isDirectory
        size = item.status.isFile ? item.status.size : 0
    }
}
