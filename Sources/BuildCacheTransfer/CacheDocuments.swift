package import BuildCacheBytes
package import BuildCacheCore
package import BuildCacheGraph
package import BuildCacheOCI

/// The documents of a cache in a store with manifests: its config, and the manifest that names config and layers.
package struct CacheDocuments: Sendable {
    package var config: RawDocument
    package var manifest: RawDocument

    /// Encodes a graph whose layers are stored.
    ///
    /// - Throws: `CacheError` `.limitExceeded` for a config past `limits`.
    package init(_ graph: LayerGraph, layout: ManifestLayout, limits: CacheConfigLimits) throws(CacheError) {
        let encoded = try graph.encodeConfig(within: limits)
        config = RawDocument(mediaType: .cacheConfig, bytes: encoded.bytes)
        manifest = CacheManifest(
            config: encoded.descriptor, layers: encoded.layers.compactMap { graph.descriptors[$0] }, layout: layout
        ).encode()
    }

    /// What BuildKit will not import of these.
    package var warnings: [String] { [config, manifest].compactMap(\.buildKitLimitWarning) }
}

extension LayerGraph {
    /// The records of a cache that is under a name, or in the images there, for an export that merges with it.
    ///
    /// - Returns: `nil` for a cache that is damaged: it has nothing to keep.
    /// - Throws: `CacheError` `.limitExceeded`, and what the store throws.
    package static func known(
        _ manifest: Descriptor, in store: some BlobSource, limits: CacheConfigLimits
    ) async throws -> LayerGraph? {
        do {
            return try await ImportedCache(manifest: manifest, from: store, layers: store, limits: limits).graph
        } catch let error as CacheError where error.code == .corrupted || error.code == .notFound {
            return nil
        }
    }
}
