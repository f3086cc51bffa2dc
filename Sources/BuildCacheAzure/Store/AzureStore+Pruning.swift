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
        let blobs = try await container.blobs(container.names.blobListing).compactMap { blob in
            container.names.digest(ofBlob: blob.name).map {
                StoredBlob(
                    digest: $0, size: blob.properties.size, modifiedAt: blob.properties.modifiedAt,
                    version: blob.properties.etag)
            }
        }
        guard let prefix = container.names.signatureListing else { return .listed(blobs) }
        let signatures = try await container.blobs(prefix).compactMap { blob in
            container.names.document(ofSignature: blob.name).map {
                StoredBlob(
                    id: blob.name, digest: $0, size: blob.properties.size, modifiedAt: blob.properties.modifiedAt,
                    version: blob.properties.etag)
            }
        }
        return .listed(blobs + signatures)
    }

    func remove(_ name: StoredName) async throws -> Bool {
        try await container.blob(named: container.names.manifest(name.name)).remove(
            ifUnchanged: name.version, retries: retries)
    }

    func remove(_ blob: StoredBlob) async throws -> Bool {
        guard let digest = blob.digest, let etag = blob.version else { return false }
        let signature = container.names.signature(digest)
        let name = blob.id == signature ? signature : container.names.blob(digest)
        return try await container.blob(named: name).remove(ifUnchanged: etag, retries: retries)
    }
}
