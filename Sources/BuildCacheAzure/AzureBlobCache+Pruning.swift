import BuildCacheCore
import BuildCacheGraph
import BuildCacheHTTP
import BuildCacheSpec
public import BuildCacheTransfer

extension AzureBlobCache: PrunableBackend {
    /// Opens the container, with all names under the manifests prefix and all layers under the blobs prefix.
    ///
    /// Whoever shares the blobs prefix must share the manifests prefix: layers that only names elsewhere reach look as if nobody needed
    /// them. What is removed is removed as the version that was listed, or not at all. Exports of this library renew layers that are
    /// older than a day; BuildKit's do not: where these go on, let the grace period be longer than layers that are in use get old.
    ///
    /// See `PrunableBackend.openForPruning(isReadOnly:)`. Needs `Storage Blob Data Contributor`, or a signature with
    /// `rld`.
    public func openForPruning(isReadOnly: Bool) async throws -> any PrunableStore {
        PrunableContainer(container: try client.container(options), limits: limits)
    }
}

/// A container as a prune sees it.
private struct PrunableContainer: PrunableStore {
    let container: AzureContainer
    let limits: CacheConfigLimits

    /// Configs that are read at once.
    private static let readsInFlight = 8

    var renewalAge: Duration { AzureContainer.renewalAge }
    var removesSharedVersions: Bool { false }

    func names() async throws -> [StoredName] {
        try await running("prune", at: "azblob") {
            let blobs = try await container.blobs(container.names.manifestListing)
            return try await blobs.mapConcurrently(limit: Self.readsInFlight) { blob -> StoredName? in
                guard let name = container.names.name(ofManifest: blob.name) else { return nil }
                return try await self.name(name, blob)
            }.compactMap { $0 }
        }
    }

    /// `nil` if it is gone meanwhile.
    private func name(_ name: String, _ listed: BlobPage.Blob) async throws -> StoredName? {
        let found = listed.properties
        do {
            let document = try await container.blob(named: listed.name).document(
                limit: limits.maximumBytes, retries: container.requests.transport.retries())
            guard let document else { return nil }
            // Of one version: what was read is what may be removed.
            return StoredName(
                name, version: document.etag ?? found.etag ?? "", modifiedAt: found.modifiedAt, config: document.bytes,
                listedBytes: found.size, limits: limits)
        } catch let error as CacheError where error.cause is ArchivedBlob {
            return StoredName(
                name, version: found.etag ?? "", modifiedAt: found.modifiedAt, isCache: false,
                documentBytes: found.size, blobs: nil, problem: error.description)
        } catch let error as CacheError where error.code == .limitExceeded {
            return StoredName(
                name, version: found.etag ?? "", modifiedAt: found.modifiedAt, isCache: true,
                documentBytes: found.size, blobs: nil, problem: error.description)
        }
    }

    func blobs() async throws -> StoredBlobs {
        let found = try await running("prune", at: "azblob") {
            try await container.blobs(container.names.blobListing)
        }
        return .listed(
            found.compactMap { blob in
                container.names.digest(ofBlob: blob.name).map {
                    StoredBlob(
                        digest: $0, size: blob.properties.size, modifiedAt: blob.properties.modifiedAt,
                        version: blob.properties.etag)
                }
            })
    }

    func remove(_ name: StoredName) async throws -> Bool {
        try await remove(container.names.manifest(name.name), ifUnchanged: name.version)
    }

    func remove(_ blob: StoredBlob) async throws -> Bool {
        guard let digest = blob.digest, let etag = blob.version else { return false }
        return try await remove(container.names.blob(digest), ifUnchanged: etag)
    }

    private func remove(_ blob: String, ifUnchanged etag: String) async throws -> Bool {
        try await running("prune", at: "azblob") {
            try await container.blob(named: blob).remove(
                ifUnchanged: etag, retries: container.requests.transport.retries())
        }
    }
}
