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

    private static let defaultScope = "buildkit"
    private static let defaultTimeout = Duration.seconds(600)

    /// Makes options; one of `url` and `urlV2` is required.
    public init(
        token: Secret<String>, url: ServiceURL? = nil, urlV2: ServiceURL? = nil, version: Int? = nil,
        scope: String = "buildkit",
        timeout: Duration = .seconds(600), repository: String? = nil, ghtoken: Secret<String>? = nil
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

    // MARK: Attributes

    private static func token(from reader: inout AttributeReader) throws(CacheError) -> Secret<String>? {
        try reader.secret("token", else: ["ACTIONS_RUNTIME_TOKEN"])
    }

    private static func urlV2(from reader: inout AttributeReader) throws(CacheError) -> ServiceURL? {
        let version = try reader.string("version")
        let wantsV2 =
            version == "2"
            || (version == nil && GoText.bool(reader.environment["ACTIONS_CACHE_SERVICE_V2"] ?? "") == true)
        return try reader.url("url_v2", else: wantsV2 ? ["ACTIONS_RESULTS_URL"] : [])
    }

    private static func url(from reader: inout AttributeReader) throws(CacheError) -> ServiceURL? {
        try reader.url("url", else: ["ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL"])
    }

    /// What is missing to use the service, if anything is: outside of a workflow that is not an error to buildx.
    static func inactivity(_ reader: inout AttributeReader) throws(CacheError) -> CacheError? {
        if try token(from: &reader) == nil { return reader.missing("token", else: ["ACTIONS_RUNTIME_TOKEN"]) }
        if try url(from: &reader) == nil, try urlV2(from: &reader) == nil {
            return reader.missing("url", else: ["ACTIONS_RESULTS_URL"])
        }
        return nil
    }

    init(from reader: inout AttributeReader) throws(CacheError) {
        scope = try reader.nonEmpty("scope") ?? GitHubActionsOptions.defaultScope
        url = try GitHubActionsOptions.url(from: &reader)
        urlV2 = try GitHubActionsOptions.urlV2(from: &reader)
        guard let token = try GitHubActionsOptions.token(from: &reader) else {
            throw reader.missing("token", else: ["ACTIONS_RUNTIME_TOKEN"])
        }
        self.token = token
        version = try reader.integer("version")
        timeout = try reader.duration("timeout", default: GitHubActionsOptions.defaultTimeout)
        repository = try reader.nonEmpty("repository")
        ghtoken = try reader.secret("ghtoken")

        if let version {
            try reader.refuse("\"version\" is \(version), it must be 1 or 2", when: ![1, 2].contains(version))
        }
        try reader.refuse(
            "\"url_v2\" has no effect with version=1: remove one of them", when: version == 1 && reader.has("url_v2"))
        try reader.refuse(
            "\"repository\" and \"ghtoken\" have an effect only together: write both or none",
            when: (repository == nil) != (ghtoken == nil))
        guard service != nil else { throw reader.missing("url", else: ["ACTIONS_RESULTS_URL"]) }
    }

    func write(to writer: inout AttributeWriter) {
        writer.text("scope", scope, default: GitHubActionsOptions.defaultScope)
        writer.url("url", url)
        writer.url("url_v2", urlV2)
        writer.secret("token", token)
        writer.text("version", version.map(String.init))
        writer.duration("timeout", timeout, default: GitHubActionsOptions.defaultTimeout)
        writer.text("repository", repository)
        writer.secret("ghtoken", ghtoken)
    }
}
