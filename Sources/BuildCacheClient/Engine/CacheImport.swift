package import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
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
    /// - Source: `Documentation/Spec/cache-format.md` §6.1 and §6.2.
    package init(
        manifest: Descriptor, from blobs: some BlobSource, layers stored: any BlobSource,
        limits: CacheConfigLimits
    ) async throws {
        let (parts, problems) = try await ImportedCache.parts(of: manifest, from: blobs, limits: limits)
        try self.init(parts: parts, blobs: stored, problems: problems)
    }

    private static func parts(
        of manifest: Descriptor, from blobs: some BlobSource, limits: CacheConfigLimits
    ) async throws -> (parts: [Part], problems: [CacheProblem]) {
        let bytes = try await blobs.bytes(of: manifest, limit: limits.documentBytes)
        var unusable = UnusableEntries()
        var reader = InlineReader(blobs: blobs, limits: limits)
        switch try Document(decoding: bytes, limit: limits.documentBytes, leavingOut: &unusable) {
        case .cache(let cache):
            let config = try await blobs.bytes(of: cache.config, limit: limits.documentBytes)
            let graph = try LayerGraph(decodingConfig: config, layers: .described(cache.layers), limits: limits)
            return ([Part(manifest: manifest, graph: graph)], unusable.problems(about: "a layer of the cache"))
        case .image(let image):
            if let error = unusable.errors.first { throw error }
            return (try await reader.part(manifest, image).map { [$0] } ?? [], [])
        case .index(let index):
            let (parts, problems) = try await reader.parts(below: index.manifests, maximumImages: Self.maximumImages)
            return (parts, unusable.problems(about: InlineReader.entry) + problems)
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
        rest = limits.documentBytes
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
                switch try Document(decoding: bytes, limit: limits.documentBytes, leavingOut: &unusable) {
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
            } catch let error as CacheError where ImportedCache.concernsOne(error) {
                problems.append(
                    CacheProblem(
                        .unreadableCache,
                        "the cache of \(entry.platform?.description.quoted ?? "an image") is left out", because: error))
            }
        }
        return (parts, problems)
    }

    private mutating func document(_ descriptor: Descriptor) async throws -> [UInt8] {
        let bytes = try await blobs.bytes(of: descriptor, limit: rest)
        rest -= bytes.count
        return bytes
    }

    /// The cache inside an image, `nil` if it has none.
    mutating func part(_ manifest: Descriptor, _ image: ImageManifest) async throws -> ImportedCache.Part? {
        // Attestations are images too, by their shape; their config is no image config.
        guard let descriptor = image.config, !image.layers.isEmpty,
            [.ociConfig, .dockerConfig, ""].contains(descriptor.mediaType)
        else { return nil }
        let config = try ImageConfig(decoding: try await document(descriptor), limit: limits.documentBytes)
        guard let records = config.inlineCache, let layers = config.cacheLayers(of: image) else { return nil }
        let graph = try LayerGraph(decodingConfig: records, layers: .image(layers), limits: limits)
        return ImportedCache.Part(manifest: manifest, graph: graph)
    }
}

extension ImportedCache {
    /// Reads the caches under several names of a store, in the store's form.
    ///
    /// Of several, one that cannot be read is left out with a problem.
    ///
    /// - Throws: The error of the first one if none of them can be read; what the store throws.
    /// - Source: `Documentation/Spec/cache-format.md` §5.2 for configs that stand alone.
    package init(_ documents: [NamedDocument], in store: some CacheStore, limits: CacheConfigLimits) async throws {
        var parts: [Part] = []
        var problems: [CacheProblem] = []
        var failures: [CacheError] = []
        for found in documents {
            do {
                let read = try await ImportedCache.parts(of: found, in: store, limits: limits)
                parts += read.parts
                problems += read.problems
            } catch let error as CacheError where ImportedCache.concernsOne(error) {
                failures.append(error.adding(subject: found.name))
            }
        }
        if failures.count == documents.count, let failure = failures.first { throw failure }
        try self.init(
            parts: parts, blobs: store.layers,
            problems: problems
                + failures.map { CacheProblem(.unreadableCache, "one of the caches is left out", because: $0) })
    }

    /// The caches that a document is or leads to, and what was left out of them.
    static func parts(
        of found: NamedDocument, in store: some CacheStore, limits: CacheConfigLimits
    ) async throws -> (parts: [Part], problems: [CacheProblem]) {
        switch (found.content, store.form) {
        case (.unreadable(let error), _): throw error
        case (.document(let document), .config):
            let graph = try LayerGraph(decodingConfig: document.bytes, layers: .annotated, limits: limits)
            return ([Part(manifest: document.descriptor, graph: graph)], [])
        case (.document(let document), .manifest):
            return try await parts(
                of: document.descriptor, from: RootedSource(root: document, rest: store), limits: limits)
        }
    }

    /// Whether an error says something about one cache and nothing about the store.
    static func concernsOne(_ error: CacheError) -> Bool {
        [.corrupted, .notFound, .unsupported, .rejected, .limitExceeded].contains(error.code)
            || error.cause is ArchivedBlob
    }

    /// Leaves out the results with a layer that the store does not have, or not whole, so that a hit is one.
    ///
    /// - Parameter presence: The states of layers, as ``CacheStore/presence(of:)`` gives them.
    package mutating func removeMissing(
        _ presence: (_ layers: [Descriptor]) async throws -> [Digest: LayerPresence]
    ) async throws {
        let descriptors = Array(graph.descriptors.values)
        guard !descriptors.isEmpty else { return }
        let states = try await presence(descriptors)
        let missing = Set(descriptors.map(\.digest)).filter { states[$0]?.isReadable != true }
        guard !missing.isEmpty else { return }
        removeResults { layer in
            if case .blob(let digest) = layer.content { missing.contains(digest) } else { false }
        }
        // A store that lost everything is worth a few lines, not a million.
        for digest in missing.sorted().prefix(ImportedCache.maximumListedLayers) {
            let state =
                if case .archived(let blob) = states[digest] { "in the archive tier \(blob.tier)" } else {
                    "missing or cut short"
                }
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
