import BuildCacheCore
import BuildCacheGraph
import BuildCacheSpec
public import BuildCacheTransfer

extension S3Cache: PrunableBackend {
    /// Opens the bucket, with all names under the manifests prefix and all layers under the blobs prefix.
    ///
    /// Whoever shares the blobs prefix must share the manifests prefix: layers that only names elsewhere reach look as if nobody needed
    /// them. The grace period must be longer than `touch_refresh`, by the longest export.
    ///
    /// An object is looked at just before it is deleted, so one that is renewed between these two requests is lost; our exports look
    /// again, before they publish a name, for what they have renewed. In a bucket with versions, what is deleted stays as an old version.
    ///
    /// See `PrunableBackend.openForPruning(isReadOnly:)`. Needs `s3:ListBucket`, `s3:GetObject` and
    /// `s3:DeleteObject`.
    public func openForPruning(isReadOnly: Bool) async throws -> any PrunableStore {
        PrunableBucket(bucket: try await S3Bucket(options, client: client), limits: limits)
    }
}

/// A bucket as a prune sees it.
private struct PrunableBucket: PrunableStore {
    let bucket: S3Bucket
    let limits: CacheConfigLimits

    /// Configs that are read at once.
    private static let readsInFlight = 8

    var renewalAge: Duration { bucket.options.touchRefresh }
    var removesSharedVersions: Bool { false }

    func names() async throws -> [StoredName] {
        let objects = try await bucket.reporting("list") { try await bucket.objects(bucket.keys.manifestListing) }
        return try await objects.values.mapConcurrently(limit: Self.readsInFlight) { object -> StoredName? in
            guard let name = bucket.keys.name(ofManifest: object.key) else { return nil }
            return try await bucket.reporting("read", name) { try await self.name(name, object) }
        }.compactMap { $0 }
    }

    /// `nil` if it is gone meanwhile.
    private func name(_ name: String, _ object: ObjectPage.Object) async throws -> StoredName? {
        // What changes with every write, and with none but the last second's.
        let version = [object.etag, object.modifiedAt.map { "\($0.seconds)" }].compactMap { $0 }.joined(separator: " ")
        do {
            guard let bytes = try await bucket.object(object.key, limit: limits.maximumBytes) else { return nil }
            return StoredName(
                name, version: version, modifiedAt: object.modifiedAt, config: bytes, listedBytes: object.size,
                limits: limits)
        } catch let failure as S3Failure where failure.archived != nil {
            return StoredName(
                name, version: version, modifiedAt: object.modifiedAt, isCache: false, documentBytes: object.size,
                blobs: nil, problem: failure.error.description)
        } catch let error as CacheError where error.code == .limitExceeded {
            return StoredName(
                name, version: version, modifiedAt: object.modifiedAt, isCache: true, documentBytes: object.size,
                blobs: nil, problem: error.description)
        }
    }

    func blobs() async throws -> StoredBlobs {
        let objects = try await bucket.reporting("list") { try await bucket.objects(bucket.keys.blobListing) }
        return .listed(
            objects.values.compactMap { object in
                bucket.keys.digest(ofBlob: object.key).map {
                    StoredBlob(digest: $0, size: object.size, modifiedAt: object.modifiedAt, version: object.etag)
                }
            })
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
                bucket.keys.blob(digest),
                listed: StoredObject(size: blob.size, modifiedAt: blob.modifiedAt, etag: blob.version))
        }
    }
}
