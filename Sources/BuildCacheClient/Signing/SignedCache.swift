import BuildCacheCore
public import BuildCacheGraph
import BuildCacheSigning

/// A cache whose exports are signed and whose imports are verified, by rules of its own.
///
/// A ``CacheClient`` has these rules for each source and destination. This is for backends that are used directly.
public struct SignedCache<Base: StoredCache>: CacheBackend {
    /// The cache.
    public let base: Base
    /// The rules, for exports and imports.
    public let trust: CacheTrust

    /// Creates a cache with rules.
    public init(_ base: Base, trust: CacheTrust) {
        self.base = base
        self.trust = trust
    }

    /// Those of the cache.
    public var traits: BackendTraits { base.traits }

    /// Exports and signs.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        try await base.exportCache(graph, from: source, trust: trust, progress: progress)
    }

    /// Verifies and imports.
    public func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        try await base.importCache(verification: trust.verification, progress: progress)
    }
}

extension SignedCache: PrunableBackend where Base: PrunableBackend {
    /// The store of the cache.
    public func openForPruning(isReadOnly: Bool) async throws -> any PrunableStore {
        try await base.openForPruning(isReadOnly: isReadOnly)
    }
}
