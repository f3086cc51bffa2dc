public import BuildCacheCore
public import BuildCacheGraph

extension StoredName {
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
        } catch {
            problem = "\(error)"
        }
    }
}
