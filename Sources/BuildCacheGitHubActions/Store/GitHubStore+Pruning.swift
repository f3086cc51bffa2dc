import BuildCacheClient
import BuildCacheCore
import BuildCacheOCI

extension GitHubStore: PrunableStore {
    /// Indexes that are read at once.
    private static let readsInFlight = 8

    var renewalAge: Duration { GitHubStore.renewalAge }

    /// The versions of one index, oldest first.
    private struct Index {
        var name: String
        var scope: String
        var versions: [(number: Int, entry: GitHubListing.Entry)]
    }

    private func indexes() async throws -> [Index] {
        let found = try await listing.entries(
            GitHubKeys.indexPrefix, in: nil, retries: entries.requests.makeRetries())
        var indexes: [String: Index] = [:]
        for entry in found {
            guard let (name, number) = GitHubKeys.index(of: entry.key) else { continue }
            let title = GitHubKeys.title(ofIndex: name, in: entry.scope)
            indexes[title, default: Index(name: name, scope: entry.scope, versions: [])].versions.append(
                (number, entry))
        }
        for title in indexes.keys { indexes[title]?.versions.sort { $0.number < $1.number } }
        return Array(indexes.values)
    }

    func names() async throws -> [StoredName] {
        try await indexes().mapConcurrently(limit: Self.readsInFlight) { try await self.name($0) }.compactMap { $0 }
    }

    private func name(_ index: Index) async throws -> StoredName? {
        guard let newest = index.versions.last else { return nil }
        let title = GitHubKeys.title(ofIndex: index.name, in: index.scope)
        let version = "\(newest.entry.number)"
        var unread = StoredName(
            title, version: version, modifiedAt: newest.entry.createdAt, isCache: true,
            documentBytes: newest.entry.size, blobs: nil)
        do {
            let bytes = try await entries.read(newest.number, of: index.name, limit: limits.documentBytes)
            if let bytes {
                // No index is empty, whatever the list says: folders have no placeholders here.
                var name = StoredName(
                    title, version: version, modifiedAt: newest.entry.createdAt, config: bytes,
                    listedBytes: max(1, newest.entry.size), limits: limits)
                name.documentBytes = newest.entry.size
                // BuildKit's signature of an index is an entry under the index's digest, counted by its own size.
                name.blobs?[Digest(of: bytes)] = 0
                name.documentBlobs = [Digest(of: bytes)]
                return name
            }
            unread.isHidden = true
            unread.problem = "the runner's token may not read \(index.scope)"
        } catch let error as CacheError where error.code == .limitExceeded {
            unread.problem = error.description
        }
        return unread
    }

    func document(of name: StoredName, limit: Int) async throws -> NamedDocument? {
        let index = try await indexes().first { GitHubKeys.title(ofIndex: $0.name, in: $0.scope) == name.name }
        guard let index, let newest = index.versions.last,
            let bytes = try await entries.read(newest.number, of: index.name, limit: limit)
        else { return nil }
        return NamedDocument(
            name: name.name, content: .document(RawDocument(mediaType: .cacheConfig, bytes: bytes)))
    }

    func blobs() async throws -> StoredBlobs {
        let layers = try await listing.entries(
            GitHubKeys.blobPrefix, in: nil, retries: entries.requests.makeRetries())
        let superseded = try await indexes().flatMap { $0.versions.dropLast().map(\.entry) }
        let signatures = try await listing.entries(
            GitHubKeys.signaturePrefix, in: nil, retries: entries.requests.makeRetries())
        return .listed(
            (layers + superseded + signatures).compactMap { entry in
                let digest = GitHubKeys.digest(ofBlob: entry.key) ?? GitHubKeys.document(ofSignature: entry.key)
                if digest == nil, entry.key.hasPrefix(GitHubKeys.blobPrefix) { return nil }
                return StoredBlob(
                    id: "\(entry.number) \(entry.key)", digest: digest, size: entry.size, modifiedAt: entry.usedAt)
            })
    }

    /// Removes an index with all its versions, the newest last: else an older one would take its place.
    func remove(_ name: StoredName) async throws -> Bool {
        let index = try await indexes().first { GitHubKeys.title(ofIndex: $0.name, in: $0.scope) == name.name }
        guard let index else { return true }
        guard index.versions.last.map({ "\($0.entry.number)" }) == name.version else { return false }
        for version in index.versions {
            try await listing.delete(version.entry, retries: entries.requests.makeRetries())
        }
        return true
    }

    func remove(_ blob: StoredBlob) async throws -> Bool {
        let parts = blob.id.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, let number = Int64(decimal: parts[0], in: 0...Int64.max) else { return false }
        let retries = entries.requests.makeRetries()
        let found = try await listing.entries(String(parts[1]), in: nil, retries: retries)
        guard let entry = found.first(where: { $0.number == number }) else { return true }
        guard entry.usedAt == blob.modifiedAt else { return false }
        try await listing.delete(entry, retries: retries)
        return true
    }
}
