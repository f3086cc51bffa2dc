public import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI

extension StoredName {
    /// Creates a name of a store with manifests, which reaches all that its manifest names.
    ///
    /// The images of an image index are not followed, so such a name keeps every blob; a store that follows them sets ``blobs`` itself.
    ///
    /// - Parameters:
    ///   - name: The name that readers ask for.
    ///   - version: The condition of a removal.
    ///   - modifiedAt: The time of the last write, if the store tells.
    ///   - manifest: The bytes under the name. Bytes that are not a manifest may need any blob.
    public init(_ name: String, version: String, modifiedAt: Timestamp?, manifest: [UInt8]) {
        self.init(
            name, version: version, modifiedAt: modifiedAt, isCache: false, documentBytes: Int64(manifest.count),
            blobs: nil)
        do throws(CacheError) {
            let document = try Document(decoding: manifest, limit: max(manifest.count, Document.defaultLimit))
            switch document {
            case .index:
                isHidden = true
                problem = "the name leads to an image index, whose images are not followed"
                return
            case .image(let image): documentBlobs = Set([image.config?.digest].compactMap { $0 })
            case .cache(let cache):
                documentBlobs = [cache.config.digest]
                isCache = true
            }
            blobs = Dictionary(document.references.map { ($0.digest, $0.size) }) { first, _ in first }
            documentDigest = Digest(of: manifest)
        } catch {
            problem = "\(error)"
        }
    }

    /// Reads the config under a name of a store without manifests.
    ///
    /// - Parameters:
    ///   - name: The key that readers ask for.
    ///   - version: The condition of a removal, where the store has such conditions.
    ///   - modifiedAt: The time of the last write, if the store tells.
    ///   - listedBytes: The number of bytes that the store lists under the name.
    ///   - limits: Limits for decoding the config.
    ///   - read: Reads the config and its version, `nil` if the name is gone meanwhile.
    /// - Returns: `nil` if the name is gone. One that is archived or too large reaches unknown blobs.
    package static func reading(
        _ name: String, version: String, modifiedAt: Timestamp?, listedBytes: Int64, limits: CacheConfigLimits,
        _ read: () async throws -> (bytes: [UInt8], version: String?)?
    ) async throws -> StoredName? {
        do {
            guard let found = try await read() else { return nil }
            // Of one version: what was read is what may be removed.
            return StoredName(
                name, version: found.version ?? version, modifiedAt: modifiedAt, config: found.bytes,
                listedBytes: listedBytes, limits: limits)
        } catch let error as CacheError where error.code == .limitExceeded || error.cause is ArchivedBlob {
            return StoredName(
                name, version: version, modifiedAt: modifiedAt, isCache: error.code == .limitExceeded,
                documentBytes: listedBytes, blobs: nil, problem: error.description)
        }
    }

    /// A name of a store without manifests, which leads to a cache config that describes its layers itself.
    ///
    /// Objects without bytes, such as the placeholders that consoles and file-system tools make for folders, are not caches and need no blob. Any
    /// other bytes that are not a cache config may be one of a later version: which blobs it needs is unknown.
    ///
    /// - Parameters:
    ///   - name: What readers ask for.
    ///   - version: What a removal is tied to, where the store has such conditions.
    ///   - modifiedAt: When it was written last, if the store tells.
    ///   - config: The bytes under the name.
    ///   - listedBytes: The number of bytes that the store lists under the name. A config without bytes whose list tells of some was not
    ///     read, and keeps every blob. Default 0: an empty config is taken for an empty object.
    ///   - limits: How much a config may hold.
    public init(
        _ name: String, version: String, modifiedAt: Timestamp?, config: [UInt8], listedBytes: Int64 = 0,
        limits: CacheConfigLimits = CacheConfigLimits()
    ) {
        self.init(
            name, version: version, modifiedAt: modifiedAt, isCache: config.beginsLikeCacheConfig,
            documentBytes: Int64(config.count), blobs: nil)
        guard !config.isEmpty || listedBytes == 0 else {
            problem = "the object was read without any of the \(listedBytes) bytes that it is listed with"
            return
        }
        guard !config.isEmpty else {
            blobs = [:]
            problem = "the object is empty, as the placeholder of a folder is"
            return
        }
        guard isCache else {
            problem = "the object is not a cache config"
            return
        }
        do throws(CacheError) {
            let graph = try LayerGraph(decodingConfig: config, layers: .annotated, limits: limits)
            blobs = graph.descriptors.mapValues(\.size)
            documentDigest = Digest(of: config)
        } catch {
            problem = "\(error)"
        }
    }
}
