public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
@_exported public import BuildCacheSpec
@_exported public import BuildCacheClient

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
/// - Source: `Documentation/Spec/backends.md` §4; `Documentation/Spec/spec-syntax.md` §4, gha.
public struct GitHubActionsCache: StoredCache, PrunableBackend {
    /// Where.
    public let options: GitHubActionsOptions
    /// The options of an export.
    public let export: ExportOptions
    /// Limits for a cache config, read or written.
    public let limits: CacheConfigLimits
    /// The store in which layers are converted.
    public let scratch: ScratchStore
    private let client: GitHubActionsClient

    /// Makes a cache at the service of `options`.
    ///
    /// Contacts nobody yet.
    ///
    /// - Parameters:
    ///   - options: Where.
    ///   - export: What an export takes and how it is written.
    ///   - scratch: Where layers are converted. One store for all exports of a build converts each layer once.
    ///   - client: Connections and the count of uploads; share one.
    ///   - limits: Limits for a cache config, read or written.
    public init(
        _ options: GitHubActionsOptions, export: ExportOptions = ExportOptions(), scratch: ScratchStore,
        client: GitHubActionsClient = .shared, limits: CacheConfigLimits = CacheConfigLimits()
    ) {
        self.options = options
        self.export = export
        self.scratch = scratch
        self.client = client
        self.limits = limits
    }

    /// Eight layers at once, because each takes three requests one after the other.
    public var traits: BackendTraits { BackendTraits(name: "gha", transfersInFlight: 8) }

    /// Opens the entries of the repository.
    ///
    /// An import reads the newest index of every scope that the token may read, the job's own first.
    ///
    /// A prune sees the indexes of all scopes and branches: a name is a scope and a branch, as in `buildkit@refs/heads/main`, and its age is
    /// that of its newest index. Older versions of an index are removed as blobs are that no name reaches. BuildKit's signature of an index
    /// stays as long as that index is the newest of a name. Only indexes that the runner's token may read can be followed: as long as a name
    /// of another branch stays, all layers do. A lookup counts as a use, also by BuildKit; a list does not, and BuildKit with `ghtoken` lists:
    /// where that goes on, let the grace period be longer than layers that are in use get old. An export that changes nothing writes no
    /// index, so it does not keep a name from being removed by a plan that was made before. A prune needs the options `repository` and
    /// `ghtoken`, with `actions: write`.
    ///
    /// - Throws: `CacheError` `.denied` if the token has ended, or may not write for an export; `.unsupported` for a prune without its
    ///   options; `.invalidSpec`.
    public func openStore(for use: StoreUse) async throws -> some PrunableStore {
        try GitHubStore(try client.entries(options), client.listing(options), options.scope, limits: limits, for: use)
    }
}
