public import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI

extension ImportedCache {
    /// The most images that an index may lead to.
    private static let maximumImages = 1000
    /// The most lost layers that are listed one by one.
    private static let maximumListedLayers = 100

    /// Finds the cache that a manifest is or leads to: a cache of its own, or those inside the images of an index.
    ///
    /// An image without a cache gives no part. An entry of an index that cannot be used, and an image whose cache cannot be read, give a
    /// warning: the other platforms' count all the same. So does a layer of a cache whose descriptor cannot be used.
    ///
    /// - Parameters:
    ///   - manifest: Where to start.
    ///   - blobs: Manifests, configs and layers.
    ///   - stored: The source of layers for later; it verifies them.
    ///   - limits: Limits of each cache config, and of all documents below an index together.
    /// - Throws: `CacheError` `.corrupted` if the manifest or its cache config is broken, `.notFound` if they are gone.
    /// - Source: `spec/cache-format.md` §6.1 and §6.2.
    package init(
        manifest: Descriptor, from blobs: some BlobSource, layers stored: any BlobSource,
        limits: CacheConfigLimits
    ) async throws {
        let bytes = try await blobs.document(manifest, limit: limits.maximumBytes)
        var unusable = UnusableEntries()
        switch try Document(decoding: bytes, limit: limits.maximumBytes, leavingOut: &unusable) {
        case .cache(let cache):
            let config = try await blobs.document(cache.config, limit: limits.maximumBytes)
            let graph = try LayerGraph(decodingConfig: config, layers: .described(cache.layers), limits: limits)
            try self.init(
                parts: [Part(manifest: manifest, graph: graph)], blobs: stored,
                problems: unusable.problems(about: "a layer of the cache"))
        case .image(let image):
            if let error = unusable.errors.first { throw error }
            var reader = InlineReader(blobs: blobs, limits: limits)
            let part = try await reader.part(manifest, image)
            try self.init(parts: part.map { [$0] } ?? [], blobs: stored)
        case .index(let index):
            var reader = InlineReader(blobs: blobs, limits: limits)
            let (parts, problems) = try await reader.parts(below: index.manifests, maximumImages: Self.maximumImages)
            try self.init(
                parts: parts, blobs: stored, problems: unusable.problems(about: InlineReader.entry) + problems)
        }
    }
}

extension UnusableEntries {
    fileprivate func problems(about subject: String) -> [CacheProblem] {
        warnings(about: subject).map { CacheProblem(.unreadableCache, $0) }
    }
}

/// Reads the caches inside images.
private struct InlineReader {
    /// An entry of an index, in problems.
    static let entry = "an entry of the index"

    private let blobs: any BlobSource
    private let limits: CacheConfigLimits
    // Bytes of documents that may still be read.
    private var rest: Int

    init(blobs: any BlobSource, limits: CacheConfigLimits) {
        self.blobs = blobs
        self.limits = limits
        rest = limits.maximumBytes
    }

    /// The caches of all images that these entries lead to, in their order.
    mutating func parts(
        below entries: [Descriptor], maximumImages: Int
    ) async throws -> (parts: [ImportedCache.Part], problems: [CacheProblem]) {
        var parts: [ImportedCache.Part] = []
        var problems: [CacheProblem] = []
        var waiting = Array(entries.reversed())
        var seen: Set<Digest> = []
        while let entry = waiting.popLast() {
            guard seen.insert(entry.digest).inserted else { continue }
            guard seen.count <= maximumImages else {
                throw CacheError(.limitExceeded, "the index leads to more than \(maximumImages) images")
            }
            do {
                var unusable = UnusableEntries()
                let bytes = try await document(entry)
                switch try Document(decoding: bytes, limit: limits.maximumBytes, leavingOut: &unusable) {
                case .image(let image):
                    // The cache names layers by their position.
                    if let error = unusable.errors.first { throw error }
                    if let part = try await part(entry, image) { parts.append(part) }
                case .index(let index):
                    waiting += index.manifests.reversed()
                    problems += unusable.problems(about: InlineReader.entry)
                case .cache:
                    problems.append(
                        CacheProblem(
                            .unreadableCache,
                            "the index leads to a cache of its own, \(entry.digest), which is not read; import it by digest",
                            subject: entry.digest.description))
                }
            } catch let error as CacheError where InlineReader.concernsOne.contains(error.code) {
                problems.append(
                    CacheProblem(
                        .unreadableCache,
                        "the cache of \(entry.platform?.description.quoted ?? "an image") is left out", because: error))
            }
        }
        return (parts, problems)
    }

    /// The codes of errors that say something of one entry and nothing of the others.
    private static let concernsOne: Set<CacheError.Code> = [.corrupted, .notFound, .unsupported, .limitExceeded]

    private mutating func document(_ descriptor: Descriptor) async throws -> [UInt8] {
        let bytes = try await blobs.document(descriptor, limit: rest)
        rest -= bytes.count
        return bytes
    }

    /// The cache inside an image, `nil` if it has none.
    mutating func part(_ manifest: Descriptor, _ image: ImageManifest) async throws -> ImportedCache.Part? {
        // Attestations are images too, by their shape; their config is no image config.
        guard let descriptor = image.config, !image.layers.isEmpty,
            [.ociConfig, .dockerConfig, ""].contains(descriptor.mediaType)
        else { return nil }
        let config = try ImageConfig(decoding: try await document(descriptor), limit: limits.maximumBytes)
        guard let records = config.inlineCache, let layers = config.cacheLayers(of: image) else { return nil }
        let graph = try LayerGraph(decodingConfig: records, layers: .image(layers), limits: limits)
        return ImportedCache.Part(manifest: manifest, graph: graph)
    }
}

extension ImportedCache {
    /// Reads cache configs that stand alone and describe their layers themselves, as s3, gha and azblob keep them.
    ///
    /// Of several, one that cannot be read is left out with a warning.
    ///
    /// - Parameters:
    ///   - configs: What was found, with the name that it was found under.
    ///   - layers: The source of layers for later; it verifies them.
    ///   - limits: How much a config may hold.
    /// - Throws: `CacheError` `.corrupted` or `.limitExceeded` if none of them can be read.
    /// - Source: `spec/cache-format.md` §5.2.
    public init(
        configs: [(name: String, bytes: [UInt8])], layers: any BlobSource,
        limits: CacheConfigLimits = CacheConfigLimits()
    ) throws {
        var parts: [Part] = []
        var failures: [CacheError] = []
        for (name, bytes) in configs {
            do throws(CacheError) {
                let graph = try LayerGraph(decodingConfig: bytes, layers: .annotated, limits: limits)
                let document = RawDocument(mediaType: .cacheConfig, bytes: bytes)
                parts.append(Part(manifest: document.descriptor, graph: graph))
            } catch {
                failures.append(error.adding(subject: name))
            }
        }
        if parts.isEmpty, let failure = failures.first { throw failure }
        try self.init(
            parts: parts, blobs: layers,
            problems: failures.map {
                CacheProblem(.unreadableCache, "one of the caches is left out", because: $0)
            })
    }

    /// Leaves out the results with a layer that the store does not have, or not whole, so that a hit is one.
    ///
    /// - Throws: What the store throws.
    public mutating func removeMissing(from store: any BlobStore) async throws {
        try await removeMissing { descriptors in
            let found = try await descriptors.mapConcurrently(limit: 16) { descriptor in
                try await store.stat(descriptor.digest)?.size == descriptor.size ? descriptor.digest : nil
            }
            return Set(found.compactMap { $0 })
        }
    }

    /// Leaves out the results with a layer that is not among those which `present` finds whole.
    ///
    /// - Parameters:
    ///   - archived: Asked after `present` for the tier of a layer that it left out.
    ///   - present: Finds the layers that are there whole.
    package mutating func removeMissing(
        archived: (Digest) -> ArchivedBlob? = { _ in nil },
        keeping present: (_ layers: [Descriptor]) async throws -> Set<Digest>
    ) async throws {
        let descriptors = Array(graph.descriptors.values)
        guard !descriptors.isEmpty else { return }
        let missing = Set(descriptors.map(\.digest)).subtracting(try await present(descriptors))
        guard !missing.isEmpty else { return }
        func isMissing(_ layer: Layer) -> Bool {
            if case .blob(let digest) = layer.content { missing.contains(digest) } else { false }
        }
        for part in parts.indices { parts[part].graph = parts[part].graph.removingResults(where: isMissing) }
        graph = graph.removingResults(where: isMissing)
        // A store that lost everything is worth a few lines, not a million.
        for digest in missing.sorted().prefix(ImportedCache.maximumListedLayers) {
            let state = archived(digest).map { "in the archive tier \($0.tier)" } ?? "missing or cut short"
            problems.append(
                CacheProblem(
                    .lostLayer, "layer \(digest) is \(state), so the results with it are left out",
                    subject: digest.description, code: .notFound))
        }
        if missing.count > ImportedCache.maximumListedLayers {
            problems.append(
                CacheProblem(
                    .lostLayer,
                    "\(missing.count - ImportedCache.maximumListedLayers) more of \(descriptors.count) layers are missing or cut short",
                    code: .notFound))
        }
    }
}
