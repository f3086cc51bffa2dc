import BuildCacheAzure
public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
import BuildCacheGitHubActions
public import BuildCacheClient
import BuildCacheRegistry
import BuildCacheS3
public import BuildCacheSpec

extension CacheSpec {
    /// The cache that a `cache-to` describes.
    ///
    /// Nothing is opened or contacted yet.
    ///
    /// - Parameters:
    ///   - scratch: Where layers are converted. Give all backends of one build the same, and each layer is converted once.
    ///   - clients: Connections and credentials of the network backends.
    ///   - limits: How much a cache config may hold, read or written.
    /// - Throws: `CacheError` `.invalidSpec` for options that cannot be, and for a `cache-from`.
    public func makeExporter(
        scratch: ScratchStore, clients: BackendClients = .shared, limits: CacheConfigLimits = CacheConfigLimits()
    ) throws(CacheError) -> any CacheExporter {
        guard let export else { throw misplaced("a cache-from is not exported to") }
        if type == .inline { return InlineCache(compression: export.compression, scratch: scratch) }
        return try makeStored(scratch, clients, limits)
    }

    /// The cache that a `cache-from` describes.
    ///
    /// Nothing is opened or contacted yet.
    ///
    /// - Parameters:
    ///   - scratch: A store for layers that are converted.
    ///   - clients: Connections and credentials of the network backends.
    ///   - limits: How much a cache config may hold.
    /// - Throws: `CacheError` `.invalidSpec` for options that cannot be, and for a `cache-to`.
    public func makeImporter(
        scratch: ScratchStore, clients: BackendClients = .shared, limits: CacheConfigLimits = CacheConfigLimits()
    ) throws(CacheError) -> any CacheImporter {
        guard direction == .import else { throw misplaced("a cache-to is not imported from") }
        return try makeStored(scratch, clients, limits)
    }

    /// The cache that a spec of either direction describes, to remove old names and layers from.
    ///
    /// Nothing is opened or contacted yet.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for options that cannot be; `.unsupported` for `inline`.
    public func makePrunable(
        scratch: ScratchStore, clients: BackendClients = .shared, limits: CacheConfigLimits = CacheConfigLimits()
    ) throws(CacheError) -> any PrunableBackend { try makeStored(scratch, clients, limits) }

    private func misplaced(_ reason: String) -> CacheError {
        CacheError(
            .invalidSpec, "\(reason): parse the spec for the other direction", context: .init(backend: type.rawValue))
    }

    private func makeStored(
        _ scratch: ScratchStore, _ clients: BackendClients, _ limits: CacheConfigLimits
    ) throws(CacheError) -> any CacheBackend & PrunableBackend {
        let export = export ?? ExportOptions()
        switch backend {
        case .local(let options):
            return try LocalCache(options, export: export, scratch: scratch, limits: limits)
        case .registry(let options):
            return RegistryCache(options, export: export, scratch: scratch, client: clients.registry, limits: limits)
        case .s3(let options):
            return S3Cache(options, export: export, scratch: scratch, client: clients.s3, limits: limits)
        case .gha(let options):
            return GitHubActionsCache(options, export: export, scratch: scratch, client: clients.gha, limits: limits)
        case .azblob(let options):
            return AzureBlobCache(options, export: export, scratch: scratch, client: clients.azblob, limits: limits)
        case .inline:
            throw CacheError(
                .unsupported,
                "an inline cache is a part of its image: import it with type=registry,ref=IMAGE or type=local,src=LAYOUT, "
                    + "and remove it with the image",
                context: .init(backend: type.rawValue))
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
