package import BuildCacheCore
package import BuildCacheGraph
public import BuildCacheOCI

/// The documents of a cache as a store keeps them.
public struct CacheDocuments: Sendable {
    /// The cache config.
    public let config: RawDocument
    /// The manifest that names config and layers; `nil` in a store without manifests.
    public let manifest: RawDocument?

    /// The document that a name leads to.
    public var root: RawDocument { manifest ?? config }

    /// Encodes a graph whose layers are stored.
    ///
    /// - Throws: `CacheError` `.limitExceeded` for a config past `limits`.
    package init(_ graph: LayerGraph, form: CacheForm, limits: CacheConfigLimits) throws(CacheError) {
        switch form {
        case .config:
            let encoded = try graph.encodeConfig(.annotated, within: limits)
            config = RawDocument(mediaType: .cacheConfig, bytes: encoded.bytes)
            manifest = nil
        case .manifest(let layout):
            let encoded = try graph.encodeConfig(within: limits)
            config = RawDocument(mediaType: .cacheConfig, bytes: encoded.bytes)
            manifest = CacheManifest(
                config: encoded.descriptor, layers: encoded.layers.compactMap { graph.descriptors[$0] }, layout: layout
            ).encode()
        }
    }

    /// The documents that BuildKit will not import.
    package var problems: [CacheProblem] {
        guard let manifest else { return [] }
        return [config, manifest].compactMap { document in
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
