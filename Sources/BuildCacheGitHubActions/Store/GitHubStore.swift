import BuildCacheBytes
import BuildCacheCore
import BuildCacheOCI
import BuildCacheClient
import Synchronization

/// The entries of a repository as the store of a cache.
final class GitHubStore: CacheStore {
    let entries: GitHubEntries
    /// The list of caches, where the options allow to read it.
    private let knownListing: GitHubListing?
    private let indexes: [String]
    /// Whether signatures are BuildKit's.
    let isBuildKitForm = Mutex(false)
    var cacheNames: [String] {
        let suffix = isBuildKitForm.withLock { $0 } ? GitHubKeys.signatureSuffix : ""
        return indexes.map { $0 + suffix }
    }
    let limits: CacheConfigLimits
    /// The places of the indexes, as signatures state them.
    let places: [String: String]
    private let use: StoreUse
    private let noticed = Mutex<[CacheProblem]>([])

    /// Up to this age an export relies on a layer that was listed without looking it up.
    static let renewalAge = Duration.seconds(86_400)

    /// - Parameters:
    ///   - entries: The entries of the service.
    ///   - listing: The list of caches; `nil` where the options do not allow to read it.
    ///   - scope: The option `scope`.
    ///   - limits: Limits for decoding an index.
    ///   - use: The operation.
    init(
        _ entries: GitHubEntries, _ listing: GitHubListing?, _ scope: String, limits: CacheConfigLimits,
        for use: StoreUse
    ) throws(CacheError) {
        self.entries = entries
        self.limits = limits
        self.use = use
        knownListing = listing
        let token = entries.requests.token
        let namespaces = token.readScopes.map(\.name) + (token.writeScope.map { [$0.name] } ?? [])
        places = Dictionary(namespaces.map { (GitHubKeys.index(scope, in: $0), "gha:\(scope)@\($0)") }) { first, _ in
            first
        }
        switch use {
        case .import: indexes = token.readScopes.map { GitHubKeys.index(scope, in: $0.name) }
        case .export:
            guard let writeScope = token.writeScope else {
                throw CacheError(
                    .denied,
                    "the runner's token may not write to any scope: jobs of forks and of pull requests from "
                        + "outside only read")
            }
            indexes = [GitHubKeys.index(scope, in: writeScope.name)]
        case .prune:
            indexes = []
            _ = try self.listing
        }
    }

    var form: CacheForm { .config }
    var problems: [CacheProblem] { noticed.withLock { $0 } }

    /// The list of caches.
    ///
    /// - Throws: `CacheError` `.unsupported` without the options for it.
    var listing: GitHubListing {
        get throws(CacheError) {
            if let knownListing { return knownListing }
            throw CacheError(
                .unsupported,
                "GitHub lists and deletes caches only with a token of its REST API: set repository and ghtoken")
        }
    }

    // MARK: Layers

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await entries.open(descriptor, range: range)
    }

    /// The pauses of an import are bounded together; those of each read, for as long as a build lasts, on their own.
    var layers: any BlobSource { VerifiedSource(entries.forReading) }

    /// The service does not tell sizes: a layer is stored, or it is not.
    func stat(_ digest: Digest) async throws -> BlobStat? {
        try await entries.holds(digest) ? BlobStat(size: 0) : nil
    }

    func put(_ layer: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await put(layer, from: source, presence: nil)
    }

    func put(
        _ layer: Descriptor, from source: any BlobSource, presence: LayerPresence?
    ) async throws -> PutOutcome {
        switch try await entries.put(layer, from: source, isAbsent: presence != nil) {
        case .written: return .written
        case .alreadyPresent: return .alreadyPresent
        case .reserved:
            note(
                "another job has begun to store layer \(layer.digest), which is a miss until it is ready", about: layer)
        case .blocked:
            note(
                "the service has begun an entry for layer \(layer.digest), but its answer was lost; the layer is a miss until GitHub forgets that entry",
                about: layer)
        }
        return .alreadyPresent
    }

    /// Listed if that is possible, else looked up one by one.
    ///
    /// To list an entry does not count as using it, to look it up does: so an old one is stale.
    func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
        if use == .export, let knownListing, !layers.isEmpty {
            do { return try await listed(layers, in: knownListing) } catch let error as CacheError {
                note("the list of caches cannot be read, so layers are looked up one by one: \(error.description)")
            }
        }
        let found = try await entries.present(layers)
        return Dictionary(layers.map { ($0.digest, found.contains($0.digest) ? .current : .absent) }) { first, _ in
            first
        }
    }

    private func listed(
        _ layers: [Descriptor], in listing: GitHubListing
    ) async throws -> [Digest: LayerPresence] {
        var used: [String: Timestamp?] = [:]
        for scope in entries.requests.token.readScopes {
            let found = try await listing.entries(
                GitHubKeys.blobPrefix, in: scope.name, retries: entries.requests.makeRetries())
            used.merge(found.map { ($0.key, $0.usedAt) }) { first, _ in first }
        }
        let now = entries.requests.now()
        let states = layers.map { layer -> (Digest, LayerPresence) in
            guard let usedAt = used[GitHubKeys.blob(layer.digest)] else { return (layer.digest, .absent) }
            let isOld = usedAt.map { now.elapsed(since: $0) > GitHubStore.renewalAge } ?? false
            return (layer.digest, isOld ? .stale : .current)
        }
        return Dictionary(states) { first, _ in first }
    }

    /// Looks the layer up, which counts as a use.
    func refresh(_ layer: Descriptor) async throws -> PutOutcome? {
        try await entries.holds(layer.digest) ? .alreadyPresent : nil
    }

    private func note(_ message: String, about layer: Descriptor? = nil) {
        noticed.withLock { $0.append(CacheProblem(.notice, message, subject: layer?.digest.description)) }
    }

    // MARK: Documents

    func document(named index: String, limit: Int) async throws -> NamedDocument? {
        guard let newest = try await entries.newest(index),
            let bytes = try await entries.read(newest.entry, limit: limit)
        else { return nil }
        return NamedDocument(
            name: newest.entry.key, content: .document(RawDocument(mediaType: .cacheConfig, bytes: bytes)))
    }

    /// Left to ``publish(_:as:)``, which reads the index anyway: only BuildKit and this library write keys of this form.
    func checkReplaceable(_ name: String, by draft: CacheDraft) async throws {}

    func publish(_ draft: CacheDraft, as index: String) async throws -> Publication {
        let (key, written) = try await entries.publish(
            index, limit: limits.documentBytes, mergesOthers: draft.merges
        ) { current, overlooked, hasSaved in
            func named(_ bytes: [UInt8]) -> NamedDocument {
                NamedDocument(name: index, content: .document(RawDocument(mediaType: .cacheConfig, bytes: bytes)))
            }
            let found = current.map(named)
            let documents = try await draft.documents(
                over: found, in: self, merging: overlooked.map(named), isCurrentNewer: hasSaved)
            guard let documents = try documents ?? (found?.document == nil ? draft.documents() : nil) else {
                return try found?.document ?? draft.documents().config
            }
            try await draft.sign(documents, over: found)
            return documents.config
        }
        return Publication(name: key, root: written.descriptor)
    }
}
