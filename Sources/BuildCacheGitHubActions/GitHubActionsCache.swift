public import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
import BuildCacheHTTP
import BuildCacheOCI
public import BuildCacheSpec
@_exported public import BuildCacheTransfer
import Logging
import Synchronization

/// A cache in the cache service of GitHub Actions: `type=gha`, both versions of its protocol.
///
/// Layers and indexes are entries that never change: each layer one, each export another version of the index. An export goes to the branch
/// that the runner's token may write; an import unites the branches that it may read, the job's own first.
///
/// - **Permissions**: the runner's own token, `ACTIONS_RUNTIME_TOKEN`. Jobs of forks only read. Listing needs a token with `actions: read`.
/// - **Limits**: 10 GB for a repository, after which GitHub evicts what was not used for long; 200 uploads a minute, which an export keeps
///   to by waiting.
/// - **Concurrency**: of exports to one branch the later wins, or with `WritePolicy.merge` none loses anything: each looks, once its version
///   is stored, for those that others stored meanwhile. A reader sees a version from before or after.
/// - **Faults**: the index is written last, so a failure leaves what was there. An entry that a job began and did not end stays begun until
///   GitHub forgets it; its layer is a miss until then.
/// - **Bounds**: an export or import pauses for as long as the option `timeout` says at most, all its waits together, and then fails with the
///   reason for the last one; see <doc:GitHubActionsBackend>.
/// - **Costs**: versions of the index stay until they are pruned or evicted. An export that changes nothing writes none.
///
/// - Source: `spec/backends.md` §4; `spec/spec-syntax.md` §4, gha.
public struct GitHubActionsCache: CacheBackend {
    /// Where.
    public let options: GitHubActionsOptions
    /// What an export takes and how it is written.
    public let export: ExportOptions
    /// How much a cache config may hold, read or written.
    ///
    /// Default as `CacheConfigLimits.init(maximumBytes:maximumEntries:)`.
    public var limits = CacheConfigLimits()
    private let scratch: ScratchStore
    let client: GitHubActionsClient

    /// Up to this age an export relies on a layer that was listed without looking it up.
    static let renewalAge = Duration.seconds(86_400)

    /// Makes a cache at the service of `options`.
    ///
    /// Contacts nobody yet.
    ///
    /// - Parameters:
    ///   - options: Where.
    ///   - export: What an export takes and how it is written.
    ///   - scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    ///   - client: Connections and the count of uploads; share one.
    public init(
        _ options: GitHubActionsOptions, export: ExportOptions = ExportOptions(), scratch: ScratchStore,
        client: GitHubActionsClient = .shared
    ) {
        self.options = options
        self.export = export
        self.scratch = scratch
        self.client = client
    }

    /// Eight layers at once, because each takes three requests one after the other; a config that describes its layers itself.
    public var traits: BackendTraits { BackendTraits(name: "gha", transfersInFlight: 8, envelope: .bareConfig) }

    // MARK: Exporting

    /// Writes the layers, then the next version of the index.
    ///
    /// See `CacheBackend.exportCache(_:from:progress:)`.
    ///
    /// - Throws: `CacheError` `.denied` if the token has ended or may not write, `.unavailable`, `.busy`.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        try await running("export", at: "gha", progress: progress) {
            let store = try client.store(options)
            guard let scope = store.requests.token.writeScope else {
                throw CacheError(
                    .denied,
                    "the runner's token may not write to any scope: jobs of forks and of pull requests from "
                        + "outside only read")
            }
            let index = GitHubKeys.index(options.scope, in: scope.name)
            let problems = Mutex<[CacheProblem]>([])
            let unconverted = graph.unconverted(export)
            let present = try await present(unconverted, in: store, progress, problems)
            let lookedFor = Set(unconverted.map(\.digest))
            var bare = try await BareExport(
                graph, from: source, options: export, scratch: scratch, limits: limits, limit: traits.transfersInFlight,
                progress: progress
            ) { descriptor, blob in
                if present.contains(descriptor.digest) { return .alreadyPresent }
                let isAbsent = lookedFor.contains(descriptor.digest)
                switch try await store.put(descriptor, from: blob, isAbsent: isAbsent) {
                case .written: return .written
                case .alreadyPresent: return .alreadyPresent
                case .reserved:
                    note(
                        "another job has begun to store layer \(descriptor.digest), which is a miss until it is ready",
                        layer: descriptor.digest, progress, problems)
                    return .alreadyPresent
                case .blocked:
                    note(
                        "the service has begun an entry for layer \(descriptor.digest), but its answer was lost; the layer is a miss until GitHub forgets that entry",
                        layer: descriptor.digest, progress, problems)
                    return .alreadyPresent
                }
            }
            guard let config = bare.config else { return bare.receipt }
            let merges = export.writePolicy == .merge
            let (key, written) = try await store.publish(
                index, limit: limits.maximumBytes, mergesOthers: merges
            ) { current, overlooked, hasSaved in
                if !export.replacesOtherContent {
                    try CacheDocuments.checkReplaceable(config: current ?? [], index)
                }
                return merges
                    ? try bare.config(mergedWith: current, and: overlooked, isNewer: hasSaved) ?? config : config
            }
            bare.published(as: key, leadingTo: written, progress)
            var receipt = bare.receipt
            receipt.problems += problems.withLock { $0 }
            return receipt
        }
    }

    private func note(
        _ message: String, layer: Digest? = nil, _ progress: ProgressSink,
        _ problems: borrowing Mutex<[CacheProblem]>
    ) {
        let problem = CacheProblem(.notice, message, subject: layer?.description)
        problems.withLock { $0.append(problem) }
        progress(.problem(problem))
    }

    /// Those of the layers that are there: listed if that is possible, else looked up one by one.
    private func present(
        _ layers: [Descriptor], in store: GitHubStore, _ progress: ProgressSink,
        _ problems: borrowing Mutex<[CacheProblem]>
    ) async throws -> Set<Digest> {
        guard let listing = client.listing(options), !layers.isEmpty else { return try await store.present(layers) }
        do {
            var used: [String: Timestamp?] = [:]
            for scope in store.requests.token.readScopes {
                let entries = try await listing.entries(
                    GitHubKeys.blobPrefix, in: scope.name, retries: store.requests.makeRetries())
                used.merge(entries.map { ($0.key, $0.usedAt) }) { first, _ in first }
            }
            let listed = layers.filter { used[GitHubKeys.blob($0.digest)] != nil }
            // To list an entry does not count as using it, to look it up does: so no prune takes it for one that nobody needs.
            let old = listed.filter { layer in
                guard let time = used[GitHubKeys.blob(layer.digest)] ?? nil else { return false }
                return store.requests.now().elapsed(since: time) > GitHubActionsCache.renewalAge
            }
            return Set(listed.map(\.digest)).subtracting(old.map(\.digest)).union(try await store.present(old))
        } catch let error as CacheError {
            note(
                "the list of caches cannot be read, so layers are looked up one by one: \(error.description)", progress,
                problems)
            return try await store.present(layers)
        }
    }

    // MARK: Importing

    /// Reads the newest index of every scope that the token may read, the job's own first, and unites what they hold.
    ///
    /// See `CacheBackend.importCache(progress:)`. Results with a layer that was evicted are left out with a warning.
    ///
    /// - Returns: `nil` if no scope has an index.
    /// - Throws: `CacheError` `.corrupted`, `.limitExceeded`, `.denied`, `.unavailable`.
    public func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        try await running("import", at: "gha", progress: progress) {
            let store = try client.store(options)
            let limit = limits.maximumBytes
            let scopes = store.requests.token.readScopes
            let found = try await scopes.mapConcurrently(limit: 8) { scope -> (name: String, bytes: [UInt8])? in
                let index = GitHubKeys.index(options.scope, in: scope.name)
                guard let newest = try await store.newest(index),
                    let bytes = try await store.read(newest.entry, limit: limit)
                else { return nil }
                return (newest.entry.key, bytes)
            }
            let configs = found.compactMap { $0 }
            guard !configs.isEmpty else { return nil }
            var cache = try ImportedCache(configs: configs, layers: VerifiedSource(store.forReading), limits: limits)
            try await cache.removeMissing { layers in try await store.present(layers) }
            for problem in cache.problems { progress(.problem(problem)) }
            return cache
        }
    }
}
