public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI
public import BuildCacheClient
import BuildCacheSigning
import Synchronization

/// A cache in memory that does everything a backend can: to test programs that use backends, or with a ``BackendConformance`` to compare.
///
/// It keeps cache configs under names, as s3, gha and azblob do. Caches with one ``MemoryStore`` share blobs.
public struct MemoryCache: StoredCache, PrunableBackend {
    /// The name that an export publishes.
    public let name: String
    /// The options of an export.
    public let export: ExportOptions
    /// Blobs and names.
    public let store: MemoryStore
    /// Up to this age an export relies on a blob without refreshing it.
    ///
    /// Default one day.
    public var renewalAge: Duration = .seconds(86_400)
    /// Layers that are stored at once.
    public var transfersInFlight = 4
    /// Limits for a cache config, read or written.
    public let limits: CacheConfigLimits
    /// Called before each call to the store, so that a test can decide which writer continues.
    package var beforeStep: @Sendable () async throws -> Void = {}
    /// The store in which layers are converted.
    public let scratch: ScratchStore

    /// Creates a cache of this name.
    ///
    /// - Parameters:
    ///   - name: The name for readers.
    ///   - export: The options of an export.
    ///   - store: The store of its blobs and names.
    ///   - scratch: The store in which layers are converted.
    ///   - limits: Limits for a cache config, read or written.
    public init(
        _ name: String, export: ExportOptions = ExportOptions(), in store: MemoryStore, scratch: ScratchStore,
        limits: CacheConfigLimits = CacheConfigLimits()
    ) {
        self.name = name
        self.export = export
        self.store = store
        self.scratch = scratch
        self.limits = limits
    }

    /// The name `memory`.
    public var traits: BackendTraits { BackendTraits(name: "memory", transfersInFlight: transfersInFlight) }

    /// Opens the store.
    public func openStore(for use: StoreUse) async throws -> some PrunableStore & SwappingStore {
        OpenMemory(store: store, cacheNames: [name], renewalAge: renewalAge, limits: limits, beforeStep: beforeStep)
    }
}

/// The blobs and names of a memory store, as a store over a network has them: to look and to change are two steps, and anything may happen
/// between them.
private struct OpenMemory: SwappingStore, PrunableStore, SignatureFileStore {
    let store: MemoryStore
    let cacheNames: [String]
    let renewalAge: Duration
    let limits: CacheConfigLimits
    let beforeStep: @Sendable () async throws -> Void

    var form: CacheForm { .config }

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await store.open(descriptor, range: range)
    }

    func stat(_ digest: Digest) async throws -> BlobStat? { try await store.stat(digest) }

    func put(_ layer: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await beforeStep()
        return try await store.put(layer, from: source)
    }

    func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
        try await beforeStep()
        let now = store.now()
        let blobs = store.blobs.withLock { $0 }
        let states = layers.map { layer -> (Digest, LayerPresence) in
            guard let blob = blobs[layer.digest] else { return (layer.digest, .absent) }
            return (layer.digest, now.elapsed(since: blob.modifiedAt) <= renewalAge ? .current : .stale)
        }
        return Dictionary(states) { first, _ in first }
    }

    func refresh(_ layer: Descriptor) async throws -> PutOutcome? {
        try await beforeStep()
        return store.renew(layer.digest) ? .refreshed : nil
    }

    func document(named name: String, limit: Int) async throws -> NamedDocument? {
        try await beforeStep()
        return store.configs.withLock { $0[name] }.map {
            NamedDocument(
                name: name, content: .document(RawDocument(mediaType: .cacheConfig, bytes: $0.bytes)),
                version: "\($0.version)")
        }
    }

    func replace(
        _ current: NamedDocument?, named name: String, with documents: CacheDocuments
    ) async throws -> Publication? {
        try await beforeStep()
        // The last moment to leave the cache as it was.
        try Task.checkCancellation()
        let now = store.now()
        return store.configs.withLock { configs in
            guard current?.version == configs[name].map({ "\($0.version)" }) else { return nil }
            configs[name] = MemoryStore.Config(
                bytes: documents.root.bytes, version: (configs[name]?.version ?? 0) + 1, modifiedAt: now)
            return Publication(name: name, root: documents.root.descriptor)
        }
    }

    // MARK: Signatures

    static let signatures = "signatures/"

    func signaturePlace(of name: String) -> String { "memory:" + name }

    func signatureFile(of document: Digest) async throws -> StoredSignatureFile? {
        try await beforeStep()
        return store.signatures.withLock { $0[document] }.map {
            StoredSignatureFile(bytes: $0.bytes, version: "\($0.version)")
        }
    }

    func replaceSignatureFile(
        _ current: StoredSignatureFile?, of document: Digest, with bytes: [UInt8]
    ) async throws -> Bool {
        try await beforeStep()
        let now = store.now()
        return store.signatures.withLock { files in
            guard current?.version == files[document].map({ "\($0.version)" }) else { return false }
            files[document] = MemoryStore.Config(
                bytes: bytes, version: (files[document]?.version ?? 0) + 1, modifiedAt: now)
            return true
        }
    }

    // MARK: Pruning

    func names() async throws -> [StoredName] {
        try await beforeStep()
        return store.configs.withLock { $0 }.map { name, config in
            StoredName(name, version: "\(config.version)", modifiedAt: config.modifiedAt, config: config.bytes)
        }
    }

    func blobs() async throws -> StoredBlobs {
        try await beforeStep()
        let blobs = store.blobs.withLock { $0 }.map { digest, blob in
            StoredBlob(digest: digest, size: Int64(blob.bytes.count), modifiedAt: blob.modifiedAt)
        }
        let signatures = store.signatures.withLock { $0 }.map { digest, file in
            StoredBlob(
                id: OpenMemory.signatures + digest.description, digest: digest, size: Int64(file.bytes.count),
                modifiedAt: file.modifiedAt)
        }
        return .listed(blobs + signatures)
    }

    func remove(_ name: StoredName) async throws -> Bool {
        try await beforeStep()
        return store.configs.withLock { configs in
            guard let config = configs[name.name] else { return true }
            guard "\(config.version)" == name.version else { return false }
            configs[name.name] = nil
            return true
        }
    }

    func remove(_ blob: StoredBlob) async throws -> Bool {
        guard let digest = blob.digest else { return false }
        try await beforeStep()
        guard !blob.id.hasPrefix(OpenMemory.signatures) else {
            return store.signatures.withLock { files in
                guard let found = files[digest] else { return true }
                guard found.modifiedAt == blob.modifiedAt else { return false }
                files[digest] = nil
                return true
            }
        }
        return store.blobs.withLock { blobs in
            guard let found = blobs[digest] else { return true }
            guard found.modifiedAt == blob.modifiedAt else { return false }
            blobs[digest] = nil
            return true
        }
    }
}
