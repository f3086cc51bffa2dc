import BuildCacheBytes
import BuildCacheCore
@_exported public import BuildCacheHTTP
import BuildCacheSpec
import NIOHTTP1
import NIOSSL
import Synchronization

/// What the repositories of all registries share: settings, tokens, and what was learned about each registry.
///
/// Give all backends of one program the same client: then one login serves all, and a blob that was seen in one repository of a
/// registry is mounted in the next instead of sent.
public struct RegistryClient: Sendable {
    let transport: HTTPTransport
    private let settings: RegistrySettings
    /// Bytes from which on an upload that can go on after a break is worth another request, 16 MiB.
    var resumableSize: Int64 = 16 << 20
    /// The clock that announcements of merges are dated by.
    var now: @Sendable () -> Timestamp = { Timestamp.now() }
    private let known: Known

    /// The client of this process: Docker's credentials, the environment's proxies.
    public static let shared = RegistryClient()

    /// Makes a client with an empty memory.
    public init(settings: RegistrySettings = RegistrySettings(), transport: HTTPTransport = .shared) {
        self.settings = settings
        self.transport = transport
        known = Known()
    }

    /// What was learned, for as long as the client lives.
    private final class Known: Sendable {
        struct Key: Hashable {
            var domain: String
            var insecure: Bool
        }
        let endpoints = Mutex<[Key: Endpoint]>([:])
        /// The way to send large blobs to a domain that refused another one.
        let modes = Mutex<[String: RegistryProfile.Upload]>([:])
        let places = BlobPlaces()
        let uploads = SharedWork<SharedUpload.ID, SharedUpload>()
    }

    /// Which repositories have which blobs.
    var places: BlobPlaces { known.places }

    /// The blobs that are being sent.
    var uploads: SharedWork<SharedUpload.ID, SharedUpload> { known.uploads }

    /// The way in which a domain took the last large blob that it refused in another way, `nil` if it refused none.
    func upload(at domain: String) -> RegistryProfile.Upload? { known.modes.withLock { $0[domain] } }

    /// Takes note of the way in which a domain takes large blobs.
    func noteUpload(_ mode: RegistryProfile.Upload, at domain: String) {
        known.modes.withLock { $0[domain] = mode }
    }

    // MARK: Hosts

    /// How a domain is reached.
    ///
    /// - Parameter insecure: The domain's settings do not count, certificates neither, and plain HTTP will do.
    func endpoint(for domain: String, insecure: Bool) async throws -> Endpoint {
        let key = Known.Key(domain: domain, insecure: insecure)
        if let endpoint = known.endpoints.withLock({ $0[key] }) { return endpoint }
        let settings = insecure ? nil : settings.hosts[domain]
        let options = insecure ? TLSOptions(verifiesCertificates: false) : settings?.tls ?? TLSOptions()
        let tls = try transport.tls(options)
        let host = domain == "docker.io" ? "registry-1.docker.io" : domain
        let encrypted = try ServiceURL("https://\(host)")
        let isPlain: Bool
        if insecure || (settings?.plainHTTP == true && !options.verifiesCertificates) {
            isPlain = try await !transport.isAnswered(
                OutgoingRequest(.GET, try ServiceURL("https://\(host)/v2/"), tls: tls))
        } else {
            isPlain = settings?.plainHTTP ?? encrypted.isLoopback
        }
        let made = Endpoint(
            domain: domain, base: isPlain ? try ServiceURL("http://\(host)") : encrypted, tls: isPlain ? nil : tls,
            profile: settings?.profile ?? .known(for: domain),
            mountSources: try mountSources(of: domain),
            authenticator: Authenticator(
                domain: domain, isPlain: isPlain, credentials: self.settings.credentials, transport: transport))
        return known.endpoints.withLock { endpoints in
            if let other = endpoints[key] { return other }
            endpoints[key] = made
            return made
        }
    }

    /// - Throws: `CacheError` `.invalidSpec` if a mount source is not a repository.
    private func mountSources(of domain: String) throws(CacheError) -> [String] {
        var sources: [String] = []
        for source in settings.hosts[domain]?.mountSources ?? [] {
            guard let path = Reference.repositoryPath(source, at: domain) else {
                throw CacheError(
                    .invalidSpec,
                    "invalid mount source \(source.quoted) of \(domain): expected a repository like library/alpine")
            }
            sources.append(path)
        }
        return sources
    }

    /// Where a repository is read: mirrors first, then the registry itself.
    func sources(for domain: String, insecure: Bool) async throws -> [Endpoint] {
        var sources: [Endpoint] = []
        for mirror in insecure ? [] : settings.hosts[domain]?.mirrors ?? [] {
            let slash = mirror.firstIndex(of: "/") ?? mirror.endIndex
            var endpoint = try await endpoint(for: String(mirror[..<slash]), insecure: false)
            endpoint.path = String(mirror[slash...].drop { $0 == "/" })
            endpoint.mirrored = domain
            sources.append(endpoint)
        }
        return sources + [try await endpoint(for: domain, insecure: insecure)]
    }

    // MARK: Requests

    /// The most 401 that one request is answered with, of which ``rejectionLimit`` may be about credentials that were new.
    private static let refusalLimit = 20
    private static let rejectionLimit = 4

    /// Sends a request with what the registry wants to see, and again with something better if it is refused: up to 20 times, and up to
    /// 4 times with credentials that were new.
    ///
    /// - Parameters:
    ///   - scopes: What a token must allow.
    ///   - retries: The tries of the operation; `nil` sends once each time.
    /// - Returns: The answer, also if it is a refusal that is none of ours to mend.
    /// - Throws: `CacheError` `.denied` when there is nothing else to show.
    func send(
        _ request: OutgoingRequest, to endpoint: Endpoint, _ scopes: AuthScopes, retries: Retries?
    ) async throws -> IncomingResponse {
        var request = request
        if let domain = endpoint.mirrored { request.url = try request.url.adding([(name: "ns", value: domain)]) }
        // What belongs to the registry goes to the registry, wherever it sends us.
        let isOwn = request.url.origin == endpoint.base.origin
        request.tls = isOwn ? endpoint.tls : nil
        var refusals = 0
        var rejections = 0
        while true {
            let authorization = isOwn ? try await endpoint.authenticator.authorization(for: scopes) : nil
            request.credentials = CredentialHeaders()
            if let authorization { try request.credentials.set("Authorization", authorization.header) }
            let response =
                if let retries {
                    try await transport.send(request, retries: retries)
                } else {
                    try await transport.sendOnce(request)
                }
            guard response.status == .unauthorized else {
                if let authorization { endpoint.authenticator.accepted(authorization) }
                return response
            }
            refusals += 1
            if let authorization, !endpoint.authenticator.hasEnded(authorization) { rejections += 1 }
            guard isOwn, response.url.origin == endpoint.base.origin, rejections < Self.rejectionLimit,
                refusals < Self.refusalLimit,
                try await endpoint.authenticator.learn(
                    from: response.headers, for: scopes, rejected: authorization, rejections: rejections)
            else {
                var error = await response.failure().error
                error.message += isOwn ? endpoint.authenticator.advice(for: scopes) : ""
                throw error
            }
            await response.discard()
        }
    }
}

/// One server that speaks for a registry.
struct Endpoint: Sendable {
    /// As in a reference.
    let domain: String
    let base: ServiceURL
    let tls: TLSConfiguration?
    let profile: RegistryProfile
    /// Repositories that layers may be mounted from without having been seen there.
    let mountSources: [String]
    let authenticator: Authenticator
    /// Before the path of a repository, at a mirror.
    var path = ""
    /// Whose repositories these are, at a mirror.
    var mirrored: String?

    init(
        domain: String, base: ServiceURL, tls: TLSConfiguration?, profile: RegistryProfile, mountSources: [String],
        authenticator: Authenticator
    ) {
        self.domain = domain
        self.base = base
        self.tls = tls
        self.profile = profile
        self.mountSources = mountSources
        self.authenticator = authenticator
    }

    /// The repository's path at this server.
    func repository(_ path: String) -> String { self.path.isEmpty ? path : "\(self.path)/\(path)" }

    /// As in `/v2/library/app/blobs/…`.
    func url(_ repository: String, _ rest: String) throws(CacheError) -> ServiceURL {
        try ServiceURL("\(base.base)/v2/\(self.repository(repository))/\(rest)")
    }
}
