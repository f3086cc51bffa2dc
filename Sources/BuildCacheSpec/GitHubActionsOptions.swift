public import BuildCacheCore

/// The options of `type=gha`.
///
/// - Source: `Documentation/Spec/spec-syntax.md` §2 and §4, gha.
public struct GitHubActionsOptions: Hashable, Sendable {
    /// `scope`: free text in the names of the cache.
    ///
    /// Default `buildkit`.
    public var scope: String
    /// `url`: the cache service.
    ///
    /// Else `ACTIONS_CACHE_URL`, else `ACTIONS_RESULTS_URL`.
    public var url: ServiceURL?
    /// `url_v2`: the cache service of version 2.
    ///
    /// Else `ACTIONS_RESULTS_URL` where version 2 is asked for.
    public var urlV2: ServiceURL?
    /// `token`: the runner's token.
    ///
    /// Else `ACTIONS_RUNTIME_TOKEN`.
    public var token: Secret<String>
    /// `version`: 1 or 2; `nil` to tell it by the URLs, see ``service``.
    public var version: Int?
    /// `timeout`: the bound of all pauses of an export, import or prune together, whatever they wait for.
    ///
    /// Default 10 minutes.
    public var timeout: Duration
    /// `repository`: `owner/name`, export only.
    ///
    /// With ``ghtoken``, what exists is listed instead of asked for one by one.
    public var repository: String?
    /// `ghtoken`: a token for GitHub's REST API, export only.
    public var ghtoken: Secret<String>?

    /// Makes options; one of `url` and `urlV2` is required.
    public init(
        token: Secret<String>, url: ServiceURL? = nil, urlV2: ServiceURL? = nil, version: Int? = nil,
        scope: String = "buildkit", timeout: Duration = .seconds(600), repository: String? = nil,
        ghtoken: Secret<String>? = nil
    ) {
        self.token = token
        self.url = url
        self.urlV2 = urlV2
        self.version = version
        self.scope = scope
        self.timeout = timeout
        self.repository = repository
        self.ghtoken = ghtoken
    }

    /// The service to talk to and the version of its protocol, 1 or 2; `nil` without a URL for the version asked for.
    ///
    /// ``urlV2`` is taken unless the version is 1. Without both, version 2 is told by GitHub's host name.
    public var service: (url: ServiceURL, version: Int)? {
        if version != 1, let urlV2 { return (urlV2, 2) }
        guard let url else { return nil }
        let looksLikeV2 = url.base.contains("results-receiver.actions.githubusercontent.com")
        return (url, version ?? (looksLikeV2 ? 2 : 1))
    }
}

extension GitHubActionsOptions: OptionTable {
    static let table: [Option<GitHubActionsOptions>] = [
        Option(\.scope, .both("scope"), .nonEmpty.tolerated(as: "")),
        Option(\.url, .both("url", else: ["ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL"]), .url),
        Option(\.urlV2, .both("url_v2", else: ["ACTIONS_RESULTS_URL"], when: asksForV2), .url),
        Option(\.token, .both("token", else: ["ACTIONS_RUNTIME_TOKEN"], isRequired: true), .secret),
        Option(
            \.version, .both("version"),
            .integer.refusing(isTolerated: true) { value, _ in
                [1, 2].contains(value) ? nil : "\(value), it must be 1 or 2"
            }),
        Option(\.timeout, .both("timeout"), .duration),
        Option(\.repository, .export("repository"), .nonEmpty.tolerated(as: "")),
        Option(\.ghtoken, .export("ghtoken"), .secret),
    ]

    @Sendable private static func asksForV2(_ reader: AttributeReader) -> Bool {
        if let version = reader.attributes["version"] { return version == "2" }
        return GoText.bool(reader.environment["ACTIONS_CACHE_SERVICE_V2"] ?? "") == true
    }

    /// The fault of a missing token or URL; outside of a workflow buildx leaves such a cache out instead.
    static func inactivity(_ reader: AttributeReader) -> CacheError? {
        if !reader.isFilled("token") { return reader.missing("token") }
        return reader.isFilled("url") || reader.isFilled("url_v2") ? nil : reader.missing("url")
    }

    var defaults: GitHubActionsOptions { GitHubActionsOptions(token: token) }

    init(from reader: inout AttributeReader) throws(CacheError) {
        self.init(token: Secret(""))
        try read(from: &reader)
    }

    func check(_ reader: inout AttributeReader) throws(CacheError) {
        try reader.refuse(
            "\"url_v2\" has no effect with version=1: remove one of them",
            when: version == 1 && reader.attributes["url_v2"] != nil)
        try reader.refuse(
            "\"repository\" and \"ghtoken\" have an effect only together: write both or none",
            when: (repository == nil) != (ghtoken == nil))
        guard service != nil else { throw reader.missing("url") }
    }
}
