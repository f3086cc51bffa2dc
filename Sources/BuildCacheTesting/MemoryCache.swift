public import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI
public import BuildCacheSpec
public import BuildCacheTransfer
import Synchronization

/// A cache in memory that does all that a backend can: to test what uses backends, or with a ``BackendConformance`` to compare.
///
/// It keeps cache configs under names, as s3, gha and azblob do. Caches with one ``MemoryStore`` share blobs.
public struct MemoryCache: PrunableBackend {
    /// The name that an export publishes.
    public let name: String
    /// What an export takes and how it is written.
    public let export: ExportOptions
    /// Blobs and names.
    public let store: MemoryStore
    /// Up to this age an export relies on a blob without renewing it.
    ///
    /// Default one day.
    public var renewalAge: Duration = .seconds(86_400)
    /// Layers that are stored at once.
    public var transfersInFlight = 4
    /// Called before each call to the store, so that a test can decide who goes next.
    package var beforeStep: @Sendable () async throws -> Void = {}
    private let scratch: ScratchStore

    /// Makes a cache of this name.
    ///
    /// - Parameters:
    ///   - name: What readers ask for.
    ///   - export: What an export takes and how it is written.
    ///   - store: Where its blobs and names are.
    ///   - scratch: Where layers are converted.
    public init(_ name: String, export: ExportOptions = ExportOptions(), in store: MemoryStore, scratch: ScratchStore) {
        self.name = name
        self.export = export
        self.store = store
        self.scratch = scratch
    }

    /// A config that describes its layers itself.
    public var traits: BackendTraits {
        BackendTraits(name: "memory", transfersInFlight: transfersInFlight, envelope: .bareConfig)
    }

    /// Stores the layers, renewing old ones that are there, then publishes the name.
    ///
    /// See `CacheBackend.exportCache(_:from:progress:)`.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        var done = try await BareExport(
            graph, from: source, options: export, scratch: scratch, limits: CacheConfigLimits(),
            limit: transfersInFlight, progress: progress, put: put)
        if let config = done.config {
            try await beforeStep()
            if !export.replacesOtherContent {
                try CacheDocuments.checkReplaceable(config: store.configs.withLock { $0[name]?.bytes } ?? [], name)
            }
            // The last moment to leave the cache as it was.
            try Task.checkCancellation()
            store.publish(config.bytes, as: name)
            done.published(as: name, progress)
        }
        return done.receipt
    }

    /// As a store over a network does it: to look and to renew are two steps, and anything may happen between them.
    private func put(_ layer: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await beforeStep()
        if let modifiedAt = try await store.stat(layer.digest)?.modifiedAt {
            if store.now().elapsed(since: modifiedAt) <= renewalAge { return .alreadyPresent }
            try await beforeStep()
            if store.renew(layer.digest) { return .refreshed }
        }
        try await beforeStep()
        return try await store.put(layer, from: source)
    }

    /// The cache under the name, or `nil`.
    ///
    /// See `CacheBackend.importCache(progress:)`.
    public func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        try await beforeStep()
        guard let config = store.configs.withLock({ $0[name] }) else { return nil }
        var cache = try ImportedCache(configs: [(name, config.bytes)], layers: store)
        try await beforeStep()
        let present = store.digests
        try await cache.removeMissing { layers in present.intersection(layers.map(\.digest)) }
        for problem in cache.problems { progress(.problem(problem)) }
        return cache
    }

    /// The store; see `PrunableBackend.openForPruning(isReadOnly:)`.
    public func openForPruning(isReadOnly: Bool) async throws -> any PrunableStore {
        PrunableMemory(store: store, renewalAge: renewalAge, beforeStep: beforeStep)
    }
}

extension MemoryStore {
    fileprivate func publish(_ bytes: [UInt8], as name: String) {
        let now = now()
        configs.withLock { configs in
            configs[name] = Config(bytes: bytes, version: (configs[name]?.version ?? 0) + 1, modifiedAt: now)
        }
    }
}

/// The store as a prune sees it; what is removed is looked at and removed in one step.
private struct PrunableMemory: PrunableStore {
    let store: MemoryStore
    let renewalAge: Duration
    let beforeStep: @Sendable () async throws -> Void
    var removesSharedVersions: Bool { false }

    func names() async throws -> [StoredName] {
        try await beforeStep()
        return store.configs.withLock { $0 }.map { name, config in
            StoredName(name, version: "\(config.version)", modifiedAt: config.modifiedAt, config: config.bytes)
        }
    }

    func blobs() async throws -> StoredBlobs {
        try await beforeStep()
        return .listed(
            store.blobs.withLock { $0 }.map { digest, blob in
                StoredBlob(digest: digest, size: Int64(blob.bytes.count), modifiedAt: blob.modifiedAt)
            })
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
        return store.blobs.withLock { blobs in
            guard let found = blobs[digest] else { return true }
            guard found.modifiedAt == blob.modifiedAt else { return false }
            blobs[digest] = nil
            return true
        }
    }
}
