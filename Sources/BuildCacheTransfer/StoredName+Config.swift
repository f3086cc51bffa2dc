public import BuildCacheCore
public import BuildCacheGraph

extension StoredName {
    /// A name of a store without manifests, which leads to a cache config that describes its layers itself.
    ///
    /// - Parameters:
    ///   - name: What readers ask for.
    ///   - version: What a removal is tied to, where the store has such conditions.
    ///   - modifiedAt: When it was written last, if the store tells.
    ///   - config: The bytes under the name. What is no cache config, as far as anybody can tell now, reaches who knows what.
    ///   - limits: How much a config may hold.
    public init(
        _ name: String, version: String, modifiedAt: Timestamp?, config: [UInt8],
        limits: CacheConfigLimits = CacheConfigLimits()
    ) {
        self.init(
            name, version: version, modifiedAt: modifiedAt, isCache: true, documentBytes: Int64(config.count),
            blobs: nil)
        do throws(CacheError) {
            let graph = try LayerGraph(decodingConfig: config, layers: .annotated, limits: limits)
            blobs = graph.descriptors.mapValues(\.size)
        } catch {
            problem = "\(error)"
        }
    }
}
