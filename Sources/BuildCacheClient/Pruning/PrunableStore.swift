public import BuildCacheCore

/// A backend whose store can be pruned: names by a ``Retention``, blobs that no name reaches.
///
/// A backend of your own says how its store is looked at and what can be removed from it; what to remove is decided by
/// ``planPrune(_:now:)`` and done by ``prune(_:progress:)``, alike for all.
public protocol PrunableBackend: CacheBackend {
    /// Opens the store that this backend shares with all caches of other names.
    ///
    /// - Parameter isReadOnly: Whether nothing will be removed. A store with locks takes those of a reader then, else those that keep
    ///   exporters out, until ``CacheStore/close()``.
    /// - Throws: `CacheError` `.unsupported` if nothing can be removed there, with what to do instead; `.notFound` if there is no such
    ///   store; `.busy` if others keep its lock; what the store throws.
    func openForPruning(isReadOnly: Bool) async throws -> any PrunableStore
}

/// A store as a prune sees it: names that reach blobs.
///
/// What makes a prune safe beside exports that go on meanwhile: an export that finds a blob present renews it if it is older than
/// ``renewalAge``, and publishes its name last; a blob or name that changed since it was listed is not removed.
public protocol PrunableStore: CacheStore {
    /// Up to this age exports rely on a blob without renewing it; zero if they renew it always, or are locked out.
    var renewalAge: Duration { get }
    /// Whether removing a name also removes the others of the same version.
    var removesSharedVersions: Bool { get }

    /// All names, with what they reach; none twice.
    ///
    /// A name whose documents cannot be read is among them, without ``StoredName/blobs``; so is one that is not a cache.
    func names() async throws -> [StoredName]

    /// The document that a listed name leads to, `nil` if the name is gone meanwhile.
    ///
    /// The default asks ``CacheStore/document(named:limit:)`` for it; a store that lists names in another form than
    /// ``CacheStore/cacheNames`` has its own.
    ///
    /// - Parameter limit: The most bytes to read.
    func document(of name: StoredName, limit: Int) async throws -> NamedDocument?

    /// All blobs that could be removed, the documents of names too where these are blobs; not those that an imported cache still reads.
    func blobs() async throws -> StoredBlobs

    /// Removes a name unless it has changed since it was listed, or is being read, and says whether it is gone.
    func remove(_ name: StoredName) async throws -> Bool

    /// Removes a blob unless it has changed since it was listed, be it only its age, and says whether it is gone.
    func remove(_ blob: StoredBlob) async throws -> Bool
}

/// A name in a store, and what it reaches.
public struct StoredName: Hashable, Sendable {
    /// The tag, the key or the scope; unique in its store.
    public var name: String
    /// What changes whenever the name is written: an ETag, a digest.
    public var version: String
    /// When it was written last; `nil` counts as now.
    public var modifiedAt: Timestamp?
    /// Whether it is known to be a cache: others, such as images, are never removed.
    public var isCache: Bool
    /// Bytes that go with the name itself, because its documents are no blobs.
    public var documentBytes: Int64
    /// All that it reaches, with sizes; `nil` if that cannot be found out, which keeps every blob.
    public var blobs: [Digest: Int64]?
    /// Those of ``blobs`` that are documents, such as a manifest and its config; all others are layers.
    ///
    /// Default none, as in a store that keeps documents under names only.
    public var documentBlobs: Set<Digest> = []
    /// The digest of the document under the name, where that is not one of ``blobs``.
    ///
    /// Blobs that are listed under it, such as its signatures, live as long as the name.
    public var documentDigest: Digest?
    /// Whether the documents are hidden from the credentials in use: others can read the cache, so its age counts and it is not unreadable.
    ///
    /// Default `false`. Where it is `true`, ``blobs`` is `nil`, and every blob stays as long as the name does.
    public var isHidden = false
    /// Why ``blobs`` are not known, or what is odd about the name.
    public var problem: String?

    /// Makes a name.
    public init(
        _ name: String, version: String, modifiedAt: Timestamp?, isCache: Bool, documentBytes: Int64 = 0,
        blobs: [Digest: Int64]?, problem: String? = nil
    ) {
        self.name = name
        self.version = version
        self.modifiedAt = modifiedAt
        self.isCache = isCache
        self.documentBytes = documentBytes
        self.blobs = blobs
        self.problem = problem
    }
}

/// A blob in a store.
public struct StoredBlob: Hashable, Sendable {
    /// What the store calls it; unique there.
    public var id: String
    /// Its digest; `nil` for what no name can reach, as an index that a newer one superseded.
    public var digest: Digest?
    /// Bytes as stored.
    public var size: Int64
    /// When it was written or renewed last; `nil` keeps it.
    public var modifiedAt: Timestamp?
    /// What changes whenever it is written or renewed, where the time alone does not tell.
    public var version: String?

    /// Makes a blob.
    ///
    /// - Parameters:
    ///   - id: The digest's text if it is `nil`.
    ///   - digest: What is in it, if its name says so.
    ///   - size: Bytes as stored.
    ///   - modifiedAt: When it was written or renewed last, if the store tells.
    ///   - version: What a removal is tied to, where the store has such conditions.
    public init(
        id: String? = nil, digest: Digest?, size: Int64, modifiedAt: Timestamp?, version: String? = nil
    ) {
        self.id = id ?? digest?.description ?? ""
        self.digest = digest
        self.size = size
        self.modifiedAt = modifiedAt
        self.version = version
    }
}

/// The blobs of a store, as far as they can be listed.
@nonexhaustive
public enum StoredBlobs: Hashable, Sendable {
    /// All of them.
    case listed([StoredBlob])
    /// They cannot be: who removes them instead, and how.
    case managed(String)
}
