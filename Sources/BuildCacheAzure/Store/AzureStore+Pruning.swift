import BuildCacheCore
import BuildCacheClient

extension AzureStore: PrunableStore {
    /// Configs that are read at once.
    private static let readsInFlight = 8

    var renewalAge: Duration { AzureContainer.renewalAge }

    func names() async throws -> [StoredName] {
        let blobs = try await container.blobs(container.names.manifestListing)
        return try await blobs.mapConcurrently(limit: Self.readsInFlight) { blob -> StoredName? in
            guard let name = container.names.name(ofManifest: blob.name) else { return nil }
            let found = blob.properties
            return try await StoredName.reading(
                name, version: found.etag ?? "", modifiedAt: found.modifiedAt, listedBytes: found.size, limits: limits
            ) {
                try await container.blob(named: blob.name).document(limit: limits.documentBytes, retries: retries)
                    .map { ($0.bytes, $0.etag) }
            }
        }.compactMap { $0 }
    }

    func blobs() async throws -> StoredBlobs {
        .listed(
            try await container.blobs(container.names.blobListing).compactMap { blob in
                container.names.digest(ofBlob: blob.name).map {
                    StoredBlob(
                        digest: $0, size: blob.properties.size, modifiedAt: blob.properties.modifiedAt,
                        version: blob.properties.etag)
                }
            })
    }

    func remove(_ name: StoredName) async throws -> Bool {
        try await container.blob(named: container.names.manifest(name.name)).remove(
            ifUnchanged: name.version, retries: retries)
    }

    func remove(_ blob: StoredBlob) async throws -> Bool {
        guard let digest = blob.digest, let etag = blob.version else { return false }
        return try await container.blob(named: container.names.blob(digest)).remove(ifUnchanged: etag, retries: retries)
    }
}
