import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import BuildCacheOCI
import BuildCacheClient

/// A container as the store of a cache.
struct AzureStore: SwappingStore {
    let container: AzureContainer
    let cacheNames: [String]
    let limits: CacheConfigLimits

    /// Existence checks at once: they are small and mostly waiting.
    private static let checksInFlight = 16

    var form: CacheForm { .config }
    var clock: any Clock<Duration> { container.requests.transport.clock }
    var retries: Retries { container.requests.transport.retries() }

    // MARK: Layers

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await container.open(descriptor, range: range)
    }

    func stat(_ digest: Digest) async throws -> BlobStat? { try await container.stat(digest) }

    func put(_ layer: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await container.put(layer, from: source)
    }

    func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
        let states = try await layers.mapConcurrently(limit: AzureStore.checksInFlight) { layer in
            (layer.digest, try await presence(of: layer))
        }
        return Dictionary(states) { first, _ in first }
    }

    private func presence(of layer: Descriptor) async throws -> LayerPresence {
        guard let found = try await container.properties(layer.digest) else { return .absent }
        if found.isArchived { return .archived(BlobProperties.archived) }
        guard found.size == layer.size, !container.isDamaged(layer.digest) else { return .damaged }
        return container.isStale(found.modifiedAt) ? .stale : .current
    }

    func refresh(_ layer: Descriptor) async throws -> PutOutcome? { try await container.refresh(layer.digest) }

    func noteDamage(of layer: Digest) async { container.noteDamage(layer) }

    // MARK: Documents

    func document(named name: String, limit: Int) async throws -> NamedDocument? {
        let blob = try blob(name)
        do {
            return try await blob.document(limit: limit, retries: retries).map {
                NamedDocument(
                    name: name, content: .document(RawDocument(mediaType: .cacheConfig, bytes: $0.bytes)),
                    version: $0.etag)
            }
        } catch let error as CacheError where error.cause is ArchivedBlob {
            return NamedDocument(
                name: name, content: .unreadable(error), version: try await blob.properties(retries: retries)?.etag)
        }
    }

    /// The condition makes a request harmless that was sent again because its answer got lost: it cannot undo a later write.
    func replace(
        _ current: NamedDocument?, named name: String, with documents: CacheDocuments
    ) async throws -> Publication? {
        let done = Publication(name: name, root: documents.config.descriptor)
        if current?.document?.bytes == documents.config.bytes { return done }
        let blob = try blob(name)
        if case .unreadable? = current?.content {
            // The service refuses to replace an archived blob.
            if let etag = current?.version { _ = try await blob.remove(ifUnchanged: etag, retries: retries) }
            return nil
        }
        let condition: BlockBlob.Condition =
            if let current { current.version.map { .unchanged(etag: $0) } ?? .none } else { .absent }
        let written = try await container.makingContainer {
            try await blob.put(documents.config.bytes, condition, retries: retries)
        }
        return written == .written ? done : nil
    }

    private func blob(_ name: String) throws(CacheError) -> BlockBlob {
        try container.blob(named: container.names.manifest(name))
    }
}
