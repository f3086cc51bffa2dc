import BuildCacheCore
import BuildCacheClient

extension S3Store: PrunableStore {
    /// Configs that are read at once.
    private static let readsInFlight = 8

    var renewalAge: Duration { bucket.options.touchRefresh }

    func names() async throws -> [StoredName] {
        let objects = try await bucket.reporting("list") { try await bucket.objects(bucket.keys.manifestListing) }
        return try await objects.values.mapConcurrently(limit: Self.readsInFlight) { object -> StoredName? in
            guard let name = bucket.keys.name(ofManifest: object.key) else { return nil }
            // It changes with every write, except a second one within a second.
            let version = [object.etag, object.modifiedAt.map { "\($0.seconds)" }].compactMap { $0 }
                .joined(separator: " ")
            return try await StoredName.reading(
                name, version: version, modifiedAt: object.modifiedAt, listedBytes: object.size, limits: limits
            ) {
                try await bucket.reporting("read", name) {
                    try await bucket.object(object.key, limit: limits.documentBytes).map { ($0, nil) }
                }
            }
        }.compactMap { $0 }
    }

    func blobs() async throws -> StoredBlobs {
        let objects = try await bucket.reporting("list") { try await bucket.objects(bucket.keys.blobListing) }
        let blobs = objects.values.compactMap { object in
            bucket.keys.digest(ofBlob: object.key).map {
                StoredBlob(digest: $0, size: object.size, modifiedAt: object.modifiedAt, version: object.etag)
            }
        }
        guard let prefix = bucket.keys.signatureListing else { return .listed(blobs) }
        let files = try await bucket.reporting("list") { try await bucket.objects(prefix) }
        let signatures = files.values.compactMap { object in
            bucket.keys.document(ofSignature: object.key).map {
                StoredBlob(
                    id: object.key, digest: $0, size: object.size, modifiedAt: object.modifiedAt, version: object.etag)
            }
        }
        return .listed(blobs + signatures)
    }

    func remove(_ name: StoredName) async throws -> Bool {
        try await bucket.reporting("remove", name.name) {
            try await bucket.remove(
                bucket.keys.manifest(name.name),
                listed: StoredObject(
                    size: name.documentBytes, modifiedAt: name.modifiedAt,
                    etag: name.version.split(separator: " ").first { $0.hasPrefix("\"") }.map(String.init)))
        }
    }

    func remove(_ blob: StoredBlob) async throws -> Bool {
        guard let digest = blob.digest else { return false }
        return try await bucket.reporting("remove", blob.id) {
            try await bucket.remove(
                blob.id == bucket.keys.signature(digest) ? blob.id : bucket.keys.blob(digest),
                listed: StoredObject(size: blob.size, modifiedAt: blob.modifiedAt, etag: blob.version))
        }
    }
}
