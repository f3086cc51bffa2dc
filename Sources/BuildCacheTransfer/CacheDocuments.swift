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

    /// The documents that BuildKit will not import.
    package var problems: [CacheProblem] {
        [config, manifest].compactMap { document in
            document.buildKitLimitWarning.map {
                CacheProblem(.notice, $0, subject: document.digest.description, code: .limitExceeded)
            }
        }
    }
}

extension CacheDocuments {
    /// Checks that the document under a name is a cache, which an export may replace.
    ///
    /// - Throws: `CacheError` `.occupied` for an image, and for anything else that is a document of another kind.
    package static func checkReplaceable(_ document: [UInt8], _ name: String) throws(CacheError) {
        let kind: String
        do throws(CacheError) {
            switch try Document(decoding: document) {
            case .cache: return
            case .image: kind = "an image"
            case .index: kind = "an image index"
            }
        } catch {
            kind = "something that is not a cache"
        }
        throw .occupied(name, by: kind)
    }

    /// Checks that the object under a name, in a store without manifests, is a cache config, which an export may replace.
    ///
    /// A config that is damaged, and an object without bytes, have nothing to keep.
    ///
    /// - Parameter object: Its first bytes, 64 at least.
    /// - Throws: `CacheError` `.occupied`.
    package static func checkReplaceable(config object: [UInt8], _ name: String) throws(CacheError) {
        guard !object.isEmpty, !object.beginsLikeCacheConfig else { return }
        throw .occupied(name)
    }
}

extension CacheError {
    /// The error of an export whose name leads to an object that cannot be read, so that it may be something that is not a cache.
    package static func unreadable(_ name: String, _ archived: ArchivedBlob) -> CacheError {
        CacheError(
            .occupied,
            "\(name.quoted) leads to an object in the archive tier \(archived.tier), which cannot be read and may not be a cache; "
                + "delete it, choose another name, or set replacesOtherContent",
            context: .init(subject: name), cause: archived)
    }
}

extension CacheError {
    /// The error of an export whose name leads to something that is not a cache.
    package static func occupied(_ name: String, by kind: String = "something that is not a cache") -> CacheError {
        CacheError(
            .occupied,
            "\(name.quoted) leads to \(kind), which the export would replace; choose another name"
                + (kind.hasSuffix("cache") ? "" : ", put the cache into the image with type=inline,")
                + " or set replacesOtherContent",
            context: .init(subject: name))
    }
}

extension [UInt8] {
    /// Whether these bytes begin as a cache config does: an object with the member `layers` or `records`, or without any.
    package var beginsLikeCacheConfig: Bool {
        let tokens = String(decoding: prefix(64), as: UTF8.self).filter { !$0.isWhitespace }.lowercased()
        return ["{}", "{\"layers\":", "{\"records\":"].contains { tokens.hasPrefix($0) }
    }
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
