public import BuildCacheAzure
public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGitHubActions
import BuildCacheInline
import BuildCacheLocal
public import BuildCacheRegistry
public import BuildCacheSpec
public import BuildCacheTransfer

extension CacheSpec {
    /// The backend that the spec describes.
    ///
    /// Nothing is opened or contacted yet.
    ///
    /// - Parameters:
    ///   - scratch: Where layers are converted. Give all backends of one build the same, and each layer is converted once.
    ///   - registries: What is known about registries, for `type=registry`.
    ///   - github: Connections and the count of uploads, for `type=gha`.
    ///   - azure: Connections and credentials, for `type=azblob`.
    /// - Throws: ``/BuildCacheCore/CacheError`` `.invalidSpec` for options that cannot be, `.unsupported` for a backend that this version
    ///   does not have.
    public func makeBackend(
        scratch: ScratchStore, registries: RegistryClient = .shared, github: GitHubActionsClient = .shared,
        azure: AzureClient = .shared
    ) throws(CacheError) -> any CacheBackend {
        switch backend {
        case .local(let options):
            return try LocalCache(options, export: export ?? ExportOptions(), scratch: scratch)
        case .inline:
            return InlineCache(compression: (export ?? ExportOptions()).compression, scratch: scratch)
        case .registry(let options):
            return RegistryCache(options, export: export ?? ExportOptions(), scratch: scratch, client: registries)
        case .gha(let options):
            return GitHubActionsCache(options, export: export ?? ExportOptions(), scratch: scratch, client: github)
        case .azblob(let options):
            return AzureBlobCache(options, export: export ?? ExportOptions(), scratch: scratch, client: azure)
        case .s3:
            throw CacheError(
                .unsupported,
                "this version knows no type=\(type.rawValue); use a local cache and copy it with a tool that does",
                context: .init(backend: type.rawValue))
        }
    }

    /// Where the image is that the spec names, and its name there: for `type=local` the tag or digest in the directory.
    ///
    /// - Throws: ``/BuildCacheCore/CacheError`` `.invalidSpec` without a directory, `.unsupported` for a backend that has no images, and what
    ///   opening the store throws.
    public func openImages() async throws -> (store: any ImageStore, name: String) {
        switch backend {
        case .local(let options):
            guard let path = options.dest ?? options.src, !path.isEmpty else {
                throw CacheError(
                    .invalidSpec, "no directory is named: set src", context: .init(backend: type.rawValue))
            }
            return (try await LocalImages(path: path), options.digest?.description ?? options.tag)
        case .inline, .registry, .gha, .s3, .azblob:
            throw CacheError(
                .unsupported, "there are no images in a cache of type=\(type.rawValue)",
                context: .init(backend: type.rawValue))
        }
    }
}
