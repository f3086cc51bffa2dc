import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheOCI
import BuildCacheClient

extension RegistryStore: PrunableStore {
    /// Tags that are read at once.
    private static let readsInFlight = 8

    /// Blobs are not for us to remove.
    var renewalAge: Duration { .zero }
    var removesSharedVersions: Bool { true }

    func names() async throws -> [StoredName] {
        try await repository.tags().mapConcurrently(limit: Self.readsInFlight) { try await self.name($0) }.compactMap {
            $0
        }
    }

    /// `nil` if it is gone meanwhile.
    private func name(_ tag: String) async throws -> StoredName? {
        // Of the registry itself: a mirror may be behind.
        guard
            let document = try await repository.manifest(
                .tag(tag), limit: limits.documentBytes, at: repository.origin)
        else { return nil }
        var name = StoredName(tag, version: "\(document.digest)", modifiedAt: nil, manifest: document.bytes)
        guard let found = try? Document(decoding: document.bytes, limit: limits.documentBytes) else { return name }
        guard case .cache(let cache) = found else {
            // The registry knows itself which blobs an image index needs.
            name.blobs = Dictionary(found.references.map { ($0.digest, $0.size) }) { first, _ in first }
            if case .index(let index) = found { name.documentBlobs = Set(index.manifests.map(\.digest)) }
            (name.isHidden, name.problem) = (false, nil)
            return name
        }
        do {
            // The announcement of another job at this moment is not ours to remove.
            name.isCache = !TagMerge.mayBeUnderWay(tag, at: repository.client.now())
            let config = try await repository.bytes(of: cache.config, limit: limits.documentBytes)
            name.modifiedAt = try LayerGraph(
                decodingConfig: config, layers: .described(cache.layers), limits: limits
            ).newestResult
        } catch let error as CacheError
            where [.corrupted, .notFound, .limitExceeded, .unsupported, .rejected].contains(error.code)
        {
            name.problem = "\(error)"
        }
        return name
    }

    func document(of name: StoredName, limit: Int) async throws -> NamedDocument? {
        try await repository.manifest(.tag(name.name), limit: limit, at: repository.origin).map {
            NamedDocument(name: name.name, content: .document($0), version: $0.digest.description)
        }
    }

    func blobs() async throws -> StoredBlobs {
        .managed("blobs stay until the registry's own garbage collection removes those that no manifest needs")
    }

    func remove(_ name: StoredName) async throws -> Bool {
        let digest = try Digest(name.version)
        // One that went with another tag of its manifest is gone, as it should be.
        guard let found = try await repository.digest(of: .tag(name.name), limit: limits.documentBytes) else {
            return true
        }
        guard found == digest else { return false }
        try await repository.deleteManifest(digest)
        return true
    }

    func remove(_ blob: StoredBlob) async throws -> Bool { false }
}

extension LayerGraph {
    /// When the newest result was made, `nil` if none says.
    fileprivate var newestResult: Timestamp? {
        let times = recordIDs.flatMap { (try? self[$0].results) ?? [] }.map(\.createdAt)
        return times.max().flatMap { $0 > .zero ? $0 : nil }
    }
}
