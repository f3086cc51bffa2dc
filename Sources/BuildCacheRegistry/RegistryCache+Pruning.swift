import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheOCI
import BuildCacheSpec
public import BuildCacheTransfer

extension RegistryCache: PrunableBackend {
    /// Opens the repository of the reference, with all its tags.
    ///
    /// A registry tells neither which blobs it has nor how old anything is. So manifests of tags are removed, and its own garbage
    /// collection frees blobs; the age of a tag is that of the newest result of its cache, which an export of old results does not
    /// change. A manifest goes with all its tags, so it stays if one of them does. Caches only: what is an image stays.
    ///
    /// A tag that is moved to the same manifest at the very moment when that is deleted is lost with it.
    ///
    /// See `PrunableBackend.openForPruning(isReadOnly:)`. Needs `pull` and `delete`.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if the settings of the registry cannot be used.
    public func openForPruning(isReadOnly: Bool) async throws -> any PrunableStore {
        PrunableTags(
            repository: try await RegistryRepository(options.ref, insecure: options.insecure, client: client),
            limits: limits)
    }
}

/// A repository as a prune sees it.
private struct PrunableTags: PrunableStore {
    let repository: RegistryRepository
    let limits: CacheConfigLimits

    /// Tags that are read at once.
    private static let readsInFlight = 8

    /// Blobs are not for us to remove.
    var renewalAge: Duration { .zero }
    var removesSharedVersions: Bool { true }

    func names() async throws -> [StoredName] {
        try await explained {
            try await repository.tags().mapConcurrently(limit: Self.readsInFlight) { try await name($0) }
                .compactMap { $0 }
        }
    }

    /// `nil` if it is gone meanwhile.
    private func name(_ tag: String) async throws -> StoredName? {
        // Of the registry itself: a mirror may be behind.
        guard
            let document = try await repository.manifest(
                .tag(tag), limit: limits.maximumBytes, at: repository.origin)
        else { return nil }
        var name = StoredName(
            tag, version: "\(document.digest)", modifiedAt: nil, isCache: false,
            documentBytes: Int64(document.bytes.count), blobs: nil)
        do {
            let manifest = try Document(decoding: document.bytes, limit: limits.maximumBytes)
            name.blobs = Dictionary(manifest.references.map { ($0.digest, $0.size) }) { first, _ in first }
            guard case .cache(let cache) = manifest else { return name }
            // What another job announces at this moment is none of ours to remove.
            name.isCache = !TagMerge.mayBeUnderWay(tag, at: repository.client.now())
            let config = try await repository.document(cache.config, limit: limits.maximumBytes)
            name.modifiedAt = try LayerGraph(
                decodingConfig: config, layers: .described(cache.layers), limits: limits
            ).newestResult
        } catch let error as CacheError
            where [.corrupted, .notFound, .limitExceeded, .unsupported].contains(error.code)
        {
            name.problem = "\(error)"
        }
        return name
    }

    func blobs() async throws -> StoredBlobs {
        .managed("blobs stay until the registry's own garbage collection removes those that no manifest needs")
    }

    func remove(_ name: StoredName) async throws -> Bool {
        try await explained {
            let digest = try Digest(name.version)
            // One that went with another tag of its manifest is gone, as it should be.
            guard let found = try await repository.digest(of: .tag(name.name), limit: limits.maximumBytes) else {
                return true
            }
            guard found == digest else { return false }
            try await repository.deleteManifest(digest)
            return true
        }
    }

    func remove(_ blob: StoredBlob) async throws -> Bool { false }

    private func explained<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let error as CacheError {
            throw error.adding(backend: "registry", operation: "prune", subject: repository.path)
        }
    }
}

extension LayerGraph {
    /// When the newest result was made, `nil` if none says.
    fileprivate var newestResult: Timestamp? {
        let times = recordIDs.flatMap { (try? self[$0].results) ?? [] }.map(\.createdAt)
        return times.max().flatMap { $0 > .zero ? $0 : nil }
    }
}
