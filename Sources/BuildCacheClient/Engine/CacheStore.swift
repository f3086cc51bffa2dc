public import BuildCacheBytes
public import BuildCacheCore

/// A place that keeps caches: content-addressed layers, and documents under names.
///
/// This is all that a backend has to provide. ``StoredCache`` exports, imports and merges over it, in one way for all stores; a store that is a
/// ``PrunableStore``, too, can be pruned. One value serves one operation, from ``StoredCache/openStore(for:)`` to ``close()``.
public protocol CacheStore: BlobStore {
    /// The form in which the store keeps a cache.
    var form: CacheForm { get }

    /// The names of this cache: published by an export, in this order, and read by an import.
    var cacheNames: [String] { get }

    /// The state of each of these layers, asked for all of them at once.
    ///
    /// An import leaves out results with a layer that is neither current nor stale; a layer without an answer counts as absent. The default
    /// asks ``stat(_:)`` of `BlobStore` for each, 16 at a time.
    func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence]

    /// Resets the age of a stored layer that is stale.
    ///
    /// - Returns: The outcome, `.refreshed` normally; `nil` if the layer is gone meanwhile.
    func refresh(_ layer: Descriptor) async throws -> PutOutcome?

    /// Stores a layer, as `put(_:from:)`.
    ///
    /// - Parameter presence: The answer of ``presence(of:)``; `nil` for a layer that it was not asked for, such as a converted one.
    func put(
        _ layer: Descriptor, from source: any BlobSource, presence: LayerPresence?
    ) async throws -> PutOutcome

    /// The layers among those that this export stored or refreshed that are missing after all.
    ///
    /// Asked before a name leads to them; the export stores these again. The default is none.
    func lostLayers(among layers: [Descriptor]) async throws -> [Descriptor]

    /// The document under a name, `nil` if there is none.
    ///
    /// - Parameter limit: The most bytes to read.
    /// - Throws: `CacheError` of the store. A document that is there and cannot be read is not an error but a
    ///   ``NamedDocument/Content/unreadable(_:)`` one.
    func document(named name: String, limit: Int) async throws -> NamedDocument?

    /// Checks that a draft may be published under a name, before its layers are converted and stored.
    ///
    /// The default reads the document under the name. A store whose names cannot lead to anything but caches may leave it to
    /// ``publish(_:as:)``.
    ///
    /// - Throws: `CacheError` `.occupied`; what ``document(named:limit:)`` throws.
    func checkReplaceable(_ name: String, by draft: CacheDraft) async throws

    /// Lets a name lead to an export whose layers are stored.
    ///
    /// Atomic: readers see the cache from before, or the new one. The draft makes the documents, over those that are there if it merges.
    func publish(_ draft: CacheDraft, as name: String) async throws -> Publication

    /// The layers for readers of an imported cache: verified, and noted by the store if they prove damaged.
    var layers: any BlobSource { get }

    /// Notes that the bytes of a layer are not those of its digest, so that the next export replaces it.
    func noteDamage(of layer: Digest) async

    /// The problems that the store noticed since it was opened.
    var problems: [CacheProblem] { get }

    /// Ends locks and leases; called once, last.
    func close()
}

extension CacheStore {
    /// Compares sizes; no layer is stale.
    public func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
        try await presence(of: layers) { _ in false }
    }

    fileprivate func presence(
        of layers: [Descriptor], isStale: @escaping @Sendable (BlobStat) -> Bool
    ) async throws -> [Digest: LayerPresence] {
        let states = try await layers.mapConcurrently(limit: 16) { layer -> (Digest, LayerPresence) in
            guard let stat = try await stat(layer.digest) else { return (layer.digest, .absent) }
            guard stat.size == layer.size else { return (layer.digest, .damaged) }
            return (layer.digest, isStale(stat) ? .stale : .current)
        }
        return Dictionary(states) { first, _ in first }
    }

    /// Does nothing: no layer is stale.
    public func refresh(_ layer: Descriptor) async throws -> PutOutcome? { .alreadyPresent }

    /// Stores the layer unless it is there.
    public func put(
        _ layer: Descriptor, from source: any BlobSource, presence: LayerPresence?
    ) async throws -> PutOutcome { try await put(layer, from: source) }

    /// Reads the document under the name.
    public func checkReplaceable(_ name: String, by draft: CacheDraft) async throws {
        guard !draft.replacesOtherContent,
            let found = try await document(named: name, limit: draft.limits.documentBytes)
        else { return }
        draft.signing?.note(found, as: name)
        try draft.checkReplaceable(found)
    }

    /// No layer.
    public func lostLayers(among layers: [Descriptor]) async throws -> [Descriptor] { [] }

    /// Does nothing: the layer stays missing until the store replaces it.
    public func noteDamage(of layer: Digest) async {}

    /// The store's own layers.
    public var layers: any BlobSource { DamageNotingSource(self) { await noteDamage(of: $0) } }

    /// No problem.
    public var problems: [CacheProblem] { [] }

    /// Does nothing: most stores have no locks.
    public func close() {}
}

extension PrunableStore {
    /// Compares sizes; a layer that is older than ``PrunableStore/renewalAge`` is stale.
    public func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
        let (now, limit) = (Timestamp.now(), renewalAge)
        return try await presence(of: layers) { stat in
            limit > .zero && stat.modifiedAt.map { now.elapsed(since: $0) > limit } ?? false
        }
    }

    /// Default `false`.
    public var removesSharedVersions: Bool { false }

    /// The document under the name.
    public func document(of name: StoredName, limit: Int) async throws -> NamedDocument? {
        try await document(named: name.name, limit: limit)
    }
}

/// A store whose documents are replaced by compare-and-swap, as most are.
public protocol SwappingStore: CacheStore {
    /// Replaces the document under a name if it still is the one that was read.
    ///
    /// - Parameters:
    ///   - current: The document that ``document(named:limit:)`` gave; `nil` if there was none.
    ///   - documents: The documents to write, the one that the name leads to last.
    /// - Returns: `nil` if another writer was faster.
    func replace(
        _ current: NamedDocument?, named name: String, with documents: CacheDocuments
    ) async throws -> Publication?

    /// The clock of the pauses between two attempts.
    var clock: any Clock<Duration> { get }
}

extension SwappingStore {
    /// Publishes by compare-and-swap, as often as another writer was faster.
    public func publish(_ draft: CacheDraft, as name: String) async throws -> Publication {
        try await swap(draft, as: name)
    }

    /// As ``publish(_:as:)``, for stores that do more.
    package func swap(_ draft: CacheDraft, as name: String) async throws -> Publication {
        try await SwapLoop(clock: clock).run(name) {
            let current = try await document(named: name, limit: draft.limits.documentBytes)
            guard let documents = try await draft.documents(over: current, in: self) else {
                return current.flatMap { Publication(unchanged: $0, in: form) }
            }
            try await draft.sign(documents, over: current)
            return try await replace(current, named: name, with: documents)
        }
    }

    /// The system's clock.
    public var clock: any Clock<Duration> { ContinuousClock() }
}

/// The form in which a store keeps a cache.
///
/// - Source: `Documentation/Spec/cache-format.md` §5.
@nonexhaustive
public enum CacheForm: Hashable, Sendable {
    /// A manifest that names the config and the layers, as in registries and image layouts.
    case manifest(ManifestLayout)
    /// The config alone, which describes its layers itself, as in s3, gha and azblob.
    case config
}

/// The state of a layer in a store.
@nonexhaustive
public enum LayerPresence: Hashable, Sendable {
    /// Not stored.
    case absent
    /// Stored whole, and young enough to rely on.
    case current
    /// Stored whole, and so old that a prune might take it for unused: an export refreshes it.
    case stale
    /// Stored with another size, or known to be damaged: an export replaces it.
    case damaged
    /// Stored in a tier that cannot be read now: an export replaces it.
    case archived(ArchivedBlob)

    /// Whether readers get the layer.
    public var isReadable: Bool { self == .current || self == .stale }
}

/// A document under a name.
public struct NamedDocument: Sendable {
    /// The bytes of a document, or why it cannot be read.
    @nonexhaustive
    public enum Content: Sendable {
        /// A manifest or a config, by the store's form.
        case document(RawDocument)
        /// A document that is there and cannot be read: damaged, archived or of another kind.
        case unreadable(CacheError)
    }

    /// The name that readers and reports call it by.
    public var name: String
    /// The bytes, or why they cannot be read.
    public var content: Content
    /// The version that a replacement is tied to, such as an ETag.
    public var version: String?

    /// Creates a document.
    public init(name: String, content: Content, version: String? = nil) {
        self.name = name
        self.content = content
        self.version = version
    }

    /// The bytes if they can be read.
    public var document: RawDocument? {
        if case .document(let document) = content { document } else { nil }
    }
}

/// The result of publishing a cache under a name.
public struct Publication: Sendable {
    /// The name that now leads to the cache, as the receipt calls it.
    public var name: String
    /// The document that the name leads to.
    public var root: Descriptor
    /// The outcome for each document that is a blob of the store.
    public var transfers: [Digest: PutOutcome]
    /// Problems that do not fail the export.
    public var problems: [CacheProblem]

    /// Creates a result.
    public init(
        name: String, root: Descriptor, transfers: [Digest: PutOutcome] = [:], problems: [CacheProblem] = []
    ) {
        self.name = name
        self.root = root
        self.transfers = transfers
        self.problems = problems
    }
}

extension Publication {
    /// A name that leads to all of an export already.
    fileprivate init?(unchanged current: NamedDocument, in form: CacheForm) {
        guard let root = current.document?.descriptor else { return nil }
        let isBlob = if case .manifest = form { true } else { false }
        self.init(name: current.name, root: root, transfers: isBlob ? [root.digest: .alreadyPresent] : [:])
    }
}

/// The purpose for which a store is opened.
@nonexhaustive
public enum StoreUse: Hashable, Sendable {
    /// Layers are stored and names published.
    case export
    /// Documents and layers are read; nothing changes.
    case `import`
    /// Names and blobs are listed, and removed unless `isReadOnly`.
    case prune(isReadOnly: Bool)
}
