import BuildCacheCore
import BuildCacheGraph
import BuildCacheHTTP
import BuildCacheSpec
public import BuildCacheTransfer

extension GitHubActionsCache: PrunableBackend {
    /// Opens the entries of the repository, with the indexes of all scopes and branches.
    ///
    /// A name is a scope and a branch, as in `buildkit@refs/heads/main`; its age is that of its newest index. Of the indexes, older
    /// versions go as blobs do that no name reaches. BuildKit's signature of an index stays as long as that index is the newest of a name. Only what the runner's token may read can be followed: as long as a name of
    /// another branch stays, all layers do. A lookup counts as a use, also by BuildKit; a list does not, and BuildKit with `ghtoken`
    /// lists: where that goes on, let the grace period be longer than layers that are in use get old.
    ///
    /// An export that changes nothing writes no index, so it does not keep a name from being removed by a plan that was made before.
    ///
    /// See `PrunableBackend.openForPruning(isReadOnly:)`. Needs the options `repository` and `ghtoken`, with
    /// `actions: write`.
    ///
    /// - Throws: `CacheError` `.unsupported` without these options.
    public func openForPruning(isReadOnly: Bool) async throws -> any PrunableStore {
        guard let listing = client.listing(options) else {
            throw CacheError(
                .unsupported,
                "GitHub lists and deletes caches for who has a token of its REST API only: set repository and ghtoken",
                context: .init(backend: "gha", operation: "prune"))
        }
        return PrunableRepository(store: try client.store(options), listing: listing, limits: limits)
    }
}

/// The entries of a repository as a prune sees them.
private struct PrunableRepository: PrunableStore {
    let store: GitHubStore
    let listing: GitHubListing
    let limits: CacheConfigLimits

    /// Indexes that are read at once.
    private static let readsInFlight = 8

    var renewalAge: Duration { GitHubActionsCache.renewalAge }
    var removesSharedVersions: Bool { false }

    /// The versions of one index, oldest first.
    private struct Index {
        var name: String
        var scope: String
        var versions: [(number: Int, entry: GitHubListing.Entry)]
    }

    private func indexes() async throws -> [Index] {
        let entries = try await listing.entries(
            GitHubKeys.indexPrefix, in: nil, retries: store.requests.makeRetries())
        var indexes: [String: Index] = [:]
        for entry in entries {
            guard let (name, number) = GitHubKeys.index(of: entry.key) else { continue }
            let title = GitHubKeys.title(ofIndex: name, in: entry.scope)
            indexes[title, default: Index(name: name, scope: entry.scope, versions: [])].versions.append(
                (number, entry))
        }
        for title in indexes.keys { indexes[title]?.versions.sort { $0.number < $1.number } }
        return Array(indexes.values)
    }

    func names() async throws -> [StoredName] {
        try await running("prune", at: "gha") {
            try await indexes().mapConcurrently(limit: Self.readsInFlight) { try await name($0) }.compactMap { $0 }
        }
    }

    private func name(_ index: Index) async throws -> StoredName? {
        guard let newest = index.versions.last else { return nil }
        let title = GitHubKeys.title(ofIndex: index.name, in: index.scope)
        let version = "\(newest.entry.number)"
        var unread = StoredName(
            title, version: version, modifiedAt: newest.entry.createdAt, isCache: true,
            documentBytes: newest.entry.size, blobs: nil)
        do {
            let bytes = try await store.read(newest.number, of: index.name, limit: limits.maximumBytes)
            if let bytes {
                // No index is empty, whatever the list says: folders have no placeholders here.
                var name = StoredName(
                    title, version: version, modifiedAt: newest.entry.createdAt, config: bytes,
                    listedBytes: max(1, newest.entry.size), limits: limits)
                name.documentBytes = newest.entry.size
                // BuildKit's signature of an index is an entry under the index's digest, counted by its own size.
                name.blobs?[Digest(of: bytes)] = 0
                return name
            }
            unread.isHidden = true
            unread.problem = "the runner's token may not read \(index.scope)"
        } catch let error as CacheError where error.code == .limitExceeded {
            unread.problem = error.description
        }
        return unread
    }

    func blobs() async throws -> StoredBlobs {
        try await running("prune", at: "gha") {
            let layers = try await listing.entries(
                GitHubKeys.blobPrefix, in: nil, retries: store.requests.makeRetries())
            let superseded = try await indexes().flatMap { $0.versions.dropLast().map(\.entry) }
            return .listed(
                (layers + superseded).compactMap { entry in
                    let digest = GitHubKeys.digest(ofBlob: entry.key)
                    if digest == nil, entry.key.hasPrefix(GitHubKeys.blobPrefix) { return nil }
                    return StoredBlob(
                        id: "\(entry.number) \(entry.key)", digest: digest, size: entry.size, modifiedAt: entry.usedAt)
                })
        }
    }

    /// Removes an index with all its versions, the newest last: else an older one would take its place.
    func remove(_ name: StoredName) async throws -> Bool {
        try await running("prune", at: "gha") {
            let index = try await indexes().first { GitHubKeys.title(ofIndex: $0.name, in: $0.scope) == name.name }
            guard let index else { return true }
            guard index.versions.last.map({ "\($0.entry.number)" }) == name.version else { return false }
            for version in index.versions {
                try await listing.delete(version.entry, retries: store.requests.makeRetries())
            }
            return true
        }
    }

    func remove(_ blob: StoredBlob) async throws -> Bool {
        let parts = blob.id.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, let number = Int64(decimal: parts[0], in: 0...Int64.max) else { return false }
        return try await running("prune", at: "gha") {
            let retries = store.requests.makeRetries()
            let found = try await listing.entries(String(parts[1]), in: nil, retries: retries)
            guard let entry = found.first(where: { $0.number == number }) else { return true }
            guard entry.usedAt == blob.modifiedAt else { return false }
            try await listing.delete(entry, retries: retries)
            return true
        }
    }
}
