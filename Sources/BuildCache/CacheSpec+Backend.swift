import BuildCacheAzure
public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
import BuildCacheGitHubActions
public import BuildCacheClient
import BuildCacheLocal
import BuildCacheRegistry
import BuildCacheS3
public import BuildCacheSpec

extension CacheSpec {
    /// The backend that the spec describes.
    ///
    /// Nothing is opened or contacted yet.
    ///
    /// - Parameters:
    ///   - scratch: Where layers are converted. Give all backends of one build the same, and each layer is converted once.
    ///   - clients: Connections and credentials of the network backends.
    ///   - limits: How much a cache config may hold, read or written.
    /// - Throws: `CacheError` `.invalidSpec` for options that cannot be.
    public func makeBackend(
        scratch: ScratchStore, clients: BackendClients = .shared, limits: CacheConfigLimits = CacheConfigLimits()
    ) throws(CacheError) -> any CacheBackend {
        let export = export ?? ExportOptions()
        switch backend {
        case .local(let options):
            var cache = try LocalCache(options, export: export, scratch: scratch)
            cache.limits = limits
            return cache
        case .inline:
            return InlineCache(compression: export.compression, scratch: scratch)
        case .registry(let options):
            var cache = RegistryCache(options, export: export, scratch: scratch, client: clients.registry)
            cache.limits = limits
            return cache
        case .s3(let options):
            var cache = S3Cache(options, export: export, scratch: scratch, client: clients.s3)
            cache.limits = limits
            return cache
        case .gha(let options):
            var cache = GitHubActionsCache(options, export: export, scratch: scratch, client: clients.gha)
            cache.limits = limits
            return cache
        case .azblob(let options):
            var cache = AzureBlobCache(options, export: export, scratch: scratch, client: clients.azblob)
            cache.limits = limits
            return cache
        }
    }

    /// Where the image is that the spec names, and its name there: a tag or a digest, in a directory or a repository.
    ///
    /// - Parameter clients: Connections and credentials of the network backends.
    /// - Throws: `CacheError` `.invalidSpec` without a directory, `.unsupported` for a backend that has no images, and what
    ///   opening the store throws.
    public func openImages(clients: BackendClients = .shared) async throws -> (store: any ImageStore, name: String) {
        switch backend {
        case .local(let options):
            guard let path = options.dest ?? options.src, !path.isEmpty else {
                throw CacheError(
                    .invalidSpec, "no directory is named: set src", context: .init(backend: type.rawValue))
            }
            return (LocalImages(path: path), options.digest?.description ?? options.tag)
        case .registry(let options):
            let repository = try await RegistryRepository(
                options.ref, insecure: options.insecure, client: clients.registry)
            return (repository, ManifestName(options.ref).description)
        case .inline, .gha, .s3, .azblob:
            throw CacheError(
                .unsupported, "there are no images in a cache of type=\(type.rawValue)",
                context: .init(backend: type.rawValue))
        }
    }
}
