import BuildCacheBytes
import BuildCacheCore
import BuildCacheOCI
import BuildCacheClient
import NIOHTTP1

/// A bucket as the store of a cache.
struct S3Store: SwappingStore {
    let bucket: S3Bucket
    let cacheNames: [String]
    let limits: CacheConfigLimits
    let use: StoreUse

    var form: CacheForm { .config }
    var clock: any Clock<Duration> { bucket.transport.clock }

    // MARK: Layers

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await bucket.open(descriptor, range: range)
    }

    func stat(_ digest: Digest) async throws -> BlobStat? { try await bucket.stat(digest) }

    func put(_ layer: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await bucket.put(layer, from: source)
    }

    func put(
        _ layer: Descriptor, from source: any BlobSource, presence: LayerPresence?
    ) async throws -> PutOutcome {
        guard let presence else { return try await bucket.put(layer, from: source) }
        return try await bucket.upload(layer, from: source, replacing: presence != .absent)
    }

    func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
        // With credentials that may read the config and not list, a layer that is not there looks forbidden.
        let (found, archived) = try await bucket.findAll(layers.map(\.digest), isLenient: use == .import)
        let states = layers.map { layer -> (Digest, LayerPresence) in
            if let archived = archived[layer.digest] { return (layer.digest, .archived(archived)) }
            guard let stat = found[layer.digest] else { return (layer.digest, .absent) }
            guard stat.size == layer.size else { return (layer.digest, .damaged) }
            return (layer.digest, bucket.isStale(stat) ? .stale : .current)
        }
        return Dictionary(states) { first, _ in first }
    }

    func refresh(_ layer: Descriptor) async throws -> PutOutcome? { try await bucket.refresh(layer) }

    // An attempt that broke off may be noticed by the service only after the next one succeeded, and leave less than was there. A layer that
    // was refreshed may be removed by a prune that looked at it just before.
    func lostLayers(among layers: [Descriptor]) async throws -> [Descriptor] {
        let found = try await bucket.find(layers.map(\.digest))
        await bucket.abortLeftovers()
        return layers.filter { found[$0.digest]?.size != $0.size }
    }

    func noteDamage(of layer: Digest) async { bucket.noteDamage(layer) }

    // MARK: Documents

    func document(named name: String, limit: Int) async throws -> NamedDocument? {
        try await bucket.reporting(nil, name) {
            let key = bucket.keys.manifest(name)
            do {
                return try await bucket.taggedObject(key, limit: limit).map {
                    NamedDocument(
                        name: name, content: .document(RawDocument(mediaType: .cacheConfig, bytes: $0.bytes)),
                        version: $0.etag)
                }
            } catch let failure as S3Failure where failure.archived != nil {
                return try await bucket.head(key).map {
                    NamedDocument(name: name, content: .unreadable(failure.error), version: $0.etag)
                }
            }
        }
    }

    /// Services without conditional writes replace documents all the same, and merge none.
    func publish(_ draft: CacheDraft, as name: String) async throws -> Publication {
        try await bucket.reporting("publish", name) {
            let key = bucket.keys.manifest(name)
            guard !draft.merges else {
                try await bucket.requireSwaps(key)
                return try await swap(draft, as: name)
            }
            let documents = try draft.documents()
            try await draft.sign(documents, over: nil)
            let config = documents.config
            try await bucket.putObject(key, config.bytes)
            return Publication(name: name, root: config.descriptor)
        }
    }

    func replace(
        _ current: NamedDocument?, named name: String, with documents: CacheDocuments
    ) async throws -> Publication? {
        guard current == nil || current?.version != nil else { throw S3Bucket.cannotSwap }
        let condition = current?.version.map { (name: "If-Match", value: $0) } ?? ("If-None-Match", "*")
        do {
            try await bucket.putObject(bucket.keys.manifest(name), documents.config.bytes, if: condition)
            return Publication(name: name, root: documents.config.descriptor)
        } catch let failure as S3Failure where failure.isOvertaken {
            return nil
        }
    }
}
