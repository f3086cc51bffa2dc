public import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI
public import BuildCacheSpec
@_exported public import BuildCacheTransfer

/// A cache in a registry: `type=registry`.
///
/// The cache is a manifest in a repository, under a tag; its layers are blobs of that repository. Any number of tags share them. Reading
/// also takes any image with an inline cache, for one platform or several.
///
/// - **Permissions**: `pull` to read, `pull` and `push` to write. Credentials are Docker's, or come from ``RegistrySettings/credentials``.
/// - **Limits**: none on layers. BuildKit reads manifests and configs up to 1 MiB; an export of larger ones says so. Registries limit
///   manifests, too, most to 4 MiB.
/// - **Concurrency**: of writers to one tag the later wins whole, or with `WritePolicy.merge` none loses anything: they
///   tell each other of themselves by tags like `main.merge-…`, which are removed afterwards where the registry allows to delete. A reader
///   sees a cache from before or after, never between.
/// - **Faults**: a connection that breaks costs the bytes under way. The tag is moved last, so a failure leaves what was there.
/// - **Costs**: blobs that no tag needs any more stay until the registry collects them.
///
/// - Source: `spec/backends.md` §1; `spec/spec-syntax.md` §4, registry.
public struct RegistryCache: CacheBackend {
    /// Where.
    public let options: RegistryOptions
    /// What an export takes and how it is written.
    public let export: ExportOptions
    /// How much a cache config may hold, read or written.
    ///
    /// Default as `CacheConfigLimits.init(maximumBytes:maximumEntries:)`.
    public var limits = CacheConfigLimits()
    let client: RegistryClient
    private let scratch: ScratchStore

    /// Existence checks at once: they are small and mostly waiting.
    private static let checksInFlight = 16

    /// Makes a cache at the reference of `options`.
    ///
    /// Contacts nobody yet.
    ///
    /// - Parameters:
    ///   - options: Where.
    ///   - export: What an export takes and how it is written.
    ///   - scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    ///   - client: What is known about registries; share one.
    public init(
        _ options: RegistryOptions, export: ExportOptions = ExportOptions(), scratch: ScratchStore,
        client: RegistryClient = .shared
    ) {
        self.options = options
        self.export = export
        self.scratch = scratch
        self.client = client
    }

    /// Four layers at once, as BuildKit; a manifest of its own.
    public var traits: BackendTraits { BackendTraits(name: "registry", transfersInFlight: 4, envelope: .ociManifest) }

    // MARK: Exporting

    /// Writes the layers, then the config, then the manifest under its tag.
    ///
    /// See `CacheBackend.exportCache(_:from:progress:)`. A reference with a digest gets a manifest of another
    /// digest under that alone, with a warning: its tag stays.
    ///
    /// - Throws: `CacheError` `.denied`, `.unavailable`, `.unsupported` if the registry does not take what `export` asks
    ///   for, `.corrupted` if it stores something else, `.storageFull`.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        try await progress.reportingPauses { try await export(graph, from: source, progress) }
    }

    private func export(
        _ graph: LayerGraph, from source: LayerSource, _ progress: ProgressSink
    ) async throws -> ExportReceipt {
        let repository = try await RegistryRepository(options.ref, insecure: options.insecure, client: client)
        try repository.checkProfile(export)
        try await checkReplaceable(in: repository)

        let known = try await presence(graph, in: repository)
        let layers = try await LayerExport(
            graph, from: source, mode: export.mode, compression: export.compression, scratch: scratch,
            requiresDiffIDs: false, limit: traits.transfersInFlight, progress: progress
        ) { descriptor, blob in
            known[descriptor.digest] == true
                ? .alreadyPresent
                : try await repository.put(descriptor, from: blob, isMissing: known[descriptor.digest] == false)
        }
        var receipt = layers.receipt
        for problem in repository.problems { receipt.add(CacheProblem(.notice, problem), progress) }
        guard layers.hasLayers else { return receipt }

        if export.writePolicy == .merge, options.ref.digest == nil {
            let tag = options.ref.tag ?? "latest"
            let published = try await TagMerge(
                repository: repository, tag: tag, layout: export.layout, limits: limits
            ).publish(layers.graph)
            receipt.transfers.merge(published.transfers) { _, new in new }
            for problem in published.problems { receipt.add(problem, progress) }
            receipt.published[tag] = published.manifest
            progress(.published(name: tag, published.manifest.digest))
            return receipt
        }

        let documents = try CacheDocuments(layers.graph, layout: export.layout, limits: limits)
        let manifest = documents.manifest
        receipt.transfers[documents.config.digest] = try await repository.put(
            documents.config.descriptor, from: DocumentSource(documents.config))
        for problem in documents.problems { receipt.add(problem, progress) }

        let name = name(for: manifest)
        if case .digest = name {
            receipt.add(
                CacheProblem(
                    .notice,
                    "\(options.ref) names another digest, so the manifest is stored as \(manifest.digest) and no tag is moved",
                    subject: manifest.digest.description), progress)
        }
        // Writing what is there would look like a change to whoever watches the tag.
        let limit = limits.maximumBytes
        if try await repository.digest(of: name, limit: limit) == manifest.digest {
            receipt.transfers[manifest.digest] = .alreadyPresent
        } else {
            try await repository.putManifest(manifest, as: name)
            receipt.transfers[manifest.digest] = .written
        }
        receipt.published[name.description] = manifest.descriptor
        progress(.published(name: name.description, manifest.digest))
        return receipt
    }

    /// Checks that the tag, if it leads anywhere, leads to a cache; asked before anything is sent.
    ///
    /// - Throws: `CacheError` `.occupied`.
    private func checkReplaceable(in repository: RegistryRepository) async throws {
        guard !export.replacesOtherContent, options.ref.digest == nil else { return }
        let name = ManifestName(options.ref)
        guard
            let current = try await repository.manifest(name, limit: limits.maximumBytes, at: repository.origin)
        else { return }
        try CacheDocuments.checkReplaceable(current.bytes, options.ref.description)
    }

    /// The tag to move; a digest where the reference has another one than the manifest.
    private func name(for manifest: RawDocument) -> ManifestName {
        if let digest = options.ref.digest, digest != manifest.digest { return .digest(manifest.digest) }
        return options.ref.tag.map { .tag($0) } ?? .digest(manifest.digest)
    }

    /// Whether the registry has the layers that go as they are: asked for all at once, because each answer takes a while.
    private func presence(_ graph: LayerGraph, in repository: RegistryRepository) async throws -> [Digest: Bool] {
        let found = try await graph.unconverted(export).mapConcurrently(limit: RegistryCache.checksInFlight) {
            descriptor in
            (descriptor.digest, try await repository.holds(descriptor, at: repository.origin))
        }
        return Dictionary(found) { first, _ in first }
    }

    // MARK: Importing

    /// Reads the manifest, or the image, that the reference names, and the cache in it.
    ///
    /// See `CacheBackend.importCache(progress:)`. Results with a layer that the registry does not have are left out
    /// with a warning. Layers are read when somebody wants them, large ones in several ranges at once.
    ///
    /// - Returns: `nil` if the repository, the tag or the digest is not there.
    /// - Throws: `CacheError` `.corrupted`, `.limitExceeded`, `.denied`, `.unavailable`.
    public func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        try await progress.reportingPauses { try await imported(progress) }
    }

    private func imported(_ progress: ProgressSink) async throws -> ImportedCache? {
        let repository = try await RegistryRepository(options.ref, insecure: options.insecure, client: client)
        let manifest = try await repository.manifest(ManifestName(options.ref), limit: limits.maximumBytes)
        guard let manifest else {
            for problem in repository.problems { progress(.problem(CacheProblem(.notice, problem))) }
            return nil
        }
        var cache = try await ImportedCache(
            manifest: manifest.descriptor, from: RootedSource(root: manifest, rest: repository),
            layers: VerifiedSource(repository), limits: limits)
        try await cache.removeMissing { layers in
            let found = try await layers.mapConcurrently(limit: RegistryCache.checksInFlight) { layer in
                try await repository.holds(layer) ? layer.digest : nil
            }
            return Set(found.compactMap { $0 })
        }
        cache.problems += repository.problems.map { CacheProblem(.notice, $0) }
        for problem in cache.problems { progress(.problem(problem)) }
        return cache
    }
}

/// A document that was read already, and what it leads to.
struct RootedSource: BlobSource {
    let root: RawDocument
    let rest: RegistryRepository

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        descriptor.digest == root.digest
            ? try await DocumentSource(root).open(descriptor, range: range)
            : try await rest.open(descriptor, range: range)
    }
}
