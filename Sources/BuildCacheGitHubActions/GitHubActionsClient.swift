package import BuildCacheCore
@_exported public import BuildCacheHTTP
import BuildCacheSpec
import Synchronization

/// The state that all caches at GitHub share: connections, and the count of uploads.
///
/// Give all backends of one program the same client: the service counts their uploads together, too.
public struct GitHubActionsClient: Sendable {
    /// GitHub's REST API, for listing: `https://api.github.com`, or that of a GitHub Enterprise Server.
    public var api: ServiceURL?

    let transport: HTTPTransport
    /// The places that the runner's token may be sent to.
    private let tokenOrigin: CredentialOrigin
    /// The runner's token of the environment.
    private let ambientToken: Secret<String>?
    /// What pauses are measured with.
    package var clock: any Clock<Duration> = ContinuousClock()
    /// How long an upload that was begun may go on after it was cancelled, in real time.
    package var grace = Duration.seconds(30)
    /// What the token's times are compared with.
    package var now: @Sendable () -> Timestamp = { .now() }
    private let known: Known

    /// The client of this process: the environment's proxies, and the API that a runner names.
    public static let shared = GitHubActionsClient()

    private static let publicAPI = "https://api.github.com"

    /// Makes a client with an empty memory.
    ///
    /// - Parameters:
    ///   - api: GitHub's REST API; else `GITHUB_API_URL`, else that of github.com.
    ///   - allowedHosts: Hosts of a `url` or `url_v2` that the token of the environment may be sent to beside GitHub's own and those that
    ///     the environment names, and any token without TLS; default none.
    ///   - environment: The source of `GITHUB_API_URL`, `ACTIONS_RUNTIME_TOKEN`, `ACTIONS_RESULTS_URL` and `ACTIONS_CACHE_URL`: that which
    ///     specs are parsed with.
    ///   - transport: The connections.
    public init(
        api: ServiceURL? = nil, allowedHosts: CredentialHosts = .none, environment: Environment = .process,
        transport: HTTPTransport = .shared
    ) {
        tokenOrigin = CredentialOrigin(
            "the runner's token", domains: [".actions.githubusercontent.com"],
            environment: [environment["ACTIONS_RESULTS_URL"], environment["ACTIONS_CACHE_URL"]],
            remedy: "set ACTIONS_RESULTS_URL or ACTIONS_CACHE_URL", allowed: allowedHosts)
        ambientToken = environment["ACTIONS_RUNTIME_TOKEN"].map { Secret($0) }
        let named = environment["GITHUB_API_URL"] ?? ""
        self.api = api ?? (try? ServiceURL(named.isEmpty ? GitHubActionsClient.publicAPI : named))
        self.transport = transport
        known = Known()
    }

    /// What was learned, for as long as the client lives.
    private final class Known: Sendable {
        let budgets = Mutex<[String: UploadBudget]>([:])
    }

    // MARK: Services

    /// The entries at the service of `options`.
    ///
    /// - Throws: `CacheError` `.invalidSpec` without a URL for the version asked for or with an invalid token, `.denied` with one that is
    ///   not valid now or is not sent to that URL.
    func entries(_ options: GitHubActionsOptions) throws(CacheError) -> GitHubEntries {
        guard let (url, version) = options.service else {
            throw CacheError(.invalidSpec, "no URL of the cache service is set: set url, or url_v2 for version 2")
        }
        // Told by its value, whichever way it came into the options.
        try tokenOrigin.check(url, isAmbient: options.token == ambientToken)
        let token = try RunnerToken(options.token)
        try token.check(now())
        // Pauses that the service asks for count, and it may ask for long ones.
        var policy = transport.retry
        if policy.attempts > 1 {
            policy.attempts = max(policy.attempts, 8)
            policy.firstPause = max(policy.firstPause, .milliseconds(500))
        }
        policy.longestPause = .seconds(90)
        policy.budget = options.timeout
        let pauses = PauseBudget(options.timeout, clock: clock)
        let requests = GitHubRequests(
            transport: transport, base: url, token: token, policy: policy, clock: clock, now: now, pauses: pauses)
        return GitHubEntries(
            requests: requests,
            service: version == 1 ? GitHubProtocolV1(requests: requests) : GitHubProtocolV2(requests: requests),
            budget: budget(of: url), pauses: pauses, grace: grace)
    }

    /// The listing of `options`, `nil` without a repository and a token for it.
    func listing(_ options: GitHubActionsOptions) -> GitHubListing? {
        guard let repository = options.repository, let token = options.ghtoken, let api else { return nil }
        return GitHubListing(transport: transport, api: api, repository: repository, token: token)
    }

    private func budget(of service: ServiceURL) -> UploadBudget {
        known.budgets.withLock { budgets in
            if let budget = budgets[service.base] { return budget }
            let budget = UploadBudget(clock: clock)
            budgets[service.base] = budget
            return budget
        }
    }
}
