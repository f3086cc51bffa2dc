import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI

extension InlineCache {
    /// Puts the records into an image that is stored somewhere, or into each image of an index.
    ///
    /// Attestations and whatever else an index lists stay as they are; the others' entries name the changed images. The name is
    /// moved last, so until then, and if this throws or is cancelled, it stands for the image that was there before.
    ///
    /// - Parameters:
    ///   - graph: What was built.
    ///   - name: A tag or digest of the store.
    ///   - newName: What the result is called; `nil` replaces `name`.
    ///   - store: Where the image is.
    ///   - progress: Told of each layer that is converted, and of the name.
    /// - Returns: The images, and under `ExportReceipt.published` what the name stands for now.
    /// - Throws: `CacheError` `.notFound` if the name stands for nothing, `.corrupted` for a cache instead of an image,
    ///   and what the store throws.
    @discardableResult
    public func embed(
        _ graph: LayerGraph, into name: String, as newName: String? = nil, in store: some ImageStore,
        progress: ProgressSink = .discarded
    ) async throws -> ExportReceipt {
        guard let descriptor = try await store.resolve(name) else {
            throw CacheError(
                .notFound, "there is no image of this name; push it first, the cache goes into it",
                context: .init(backend: "inline", subject: name))
        }
        var receipt = ExportReceipt()
        let document = try await store.document(descriptor)
        let published: RawDocument
        switch try Document(decoding: document.bytes) {
        case .image(let image):
            published = try await embed(graph, into: image, document, in: store, &receipt, progress)
        case .index(var index):
            for place in index.manifests.indices {
                let entry = index.manifests[place]
                let document = try await store.document(entry)
                guard case .image(let image) = try Document(decoding: document.bytes), image.canHaveCache else {
                    continue
                }
                let embedded = try await embed(graph, into: image, document, in: store, &receipt, progress)
                try await store.publish(embedded, as: nil)
                index.manifests[place].digest = embedded.digest
                index.manifests[place].size = Int64(embedded.bytes.count)
            }
            published = index.encode()
        case .cache:
            throw CacheError(
                .corrupted, "this is a cache of its own, not an image that could carry one",
                context: .init(backend: "inline", subject: name))
        }
        try await store.publish(published, as: newName ?? name)
        receipt.published[newName ?? name] = published.descriptor
        progress(.published(name: newName ?? name, published.digest))
        return receipt
    }

    /// Stores all of one image but its manifest, which is returned.
    private func embed(
        _ graph: LayerGraph, into image: ImageManifest, _ document: RawDocument, in store: some ImageStore,
        _ receipt: inout ExportReceipt, _ progress: ProgressSink
    ) async throws -> RawDocument {
        guard let descriptor = image.config else { return document }
        let config = try await store.bytes(of: descriptor, limit: Document.defaultLimit)
        let source = LayerSource(blobs: store, images: [ImageDocuments(manifest: document.bytes, config: config)])
        let one = try await exportCache(graph, from: source, progress: progress)
        receipt.problems += one.problems
        receipt.converted.formUnion(one.converted)
        receipt.images += one.images
        guard let embedded = one.images.first else { return document }
        for layer in embedded.convertedLayers {
            receipt.transfers[layer.digest] = try await store.put(layer, from: embedded.blobs)
        }
        let newConfig = embedded.config.descriptor
        receipt.transfers[newConfig.digest] = try await store.put(newConfig, from: DocumentSource(embedded.config))
        return embedded.manifest
    }
}

extension ImageManifest {
    /// Whether this is an image and not an attestation, which has the same shape.
    fileprivate var canHaveCache: Bool {
        guard let config, !layers.isEmpty else { return false }
        return [.ociConfig, .dockerConfig].contains(config.mediaType)
            && !layers.contains { $0.mediaType == "application/vnd.in-toto+json" }
    }
}
