import BuildCacheBytes
import BuildCacheCore
@_exported public import BuildCacheHTTP
import Logging
import NIOHTTP1
import NIOSSL
import Synchronization

/// The settings, tokens and knowledge about registries that the repositories of all of them share.
///
/// Give all backends of one program the same client: then one login serves all, and a blob that was seen in one repository of a
/// registry is mounted in the next instead of sent.
public struct RegistryClient: Sendable {
    let transport: HTTPTransport
    private let settings: RegistrySettings
    /// Bytes from which on an upload that can go on after a break is worth another request, 16 MiB.
    package var resumableSize: Int64 = 16 << 20
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

    /// Knowledge about registries, for as long as the client lives.
    private final class Known: Sendable {
        struct Key: Hashable {
            var domain: String
            var insecure: Bool
        }
        let servers = Mutex<[Key: RegistryServers]>([:])
        let endpoints = Mutex<[Endpoint.Key: Endpoint]>([:])
        /// The way to send large blobs to a domain that refused another one.
        let uploads = Mutex<[String: RegistryProfile.Upload]>([:])
        let places = BlobPlaces()
        let transfers = SharedWork<SharedUpload.ID, SharedUpload>()
    }

    /// The repositories of blobs.
    var places: BlobPlaces { known.places }

    /// The blobs that are being sent.
    var uploads: SharedWork<SharedUpload.ID, SharedUpload> { known.transfers }

    /// The way in which a domain took the last large blob that it refused in another way, `nil` if it refused none.
    func upload(at domain: String) -> RegistryProfile.Upload? { known.uploads.withLock { $0[domain] } }

    /// Takes note of the way in which a domain takes large blobs.
    func noteUpload(_ mode: RegistryProfile.Upload, at domain: String) {
        known.uploads.withLock { $0[domain] = mode }
    }

    // MARK: Hosts

    /// The servers of a registry, with the settings that there are for it.
    ///
    /// - Parameter insecure: Mirrors do not count, certificates need not be right, and plain HTTP will do.
    func servers(for domain: String, insecure: Bool) async throws -> RegistryServers {
        let key = Known.Key(domain: domain, insecure: insecure)
        if let servers = known.servers.withLock({ $0[key] }) { return servers }
        let (host, problems) = try await settings(for: domain)
        let servers: RegistryServers
        if insecure {
            var endpoint = try await insecureEndpoint(domain, host)
            if let profile = host?.profile { endpoint.profile = profile }
            servers = try RegistryServers(
                [endpoint], for: domain, mountSources: host?.mountSources ?? [],
                problems: problems)
        } else {
            var endpoints: [Endpoint] = []
            for mirror in host?.mirrors ?? [] { endpoints.append(try await endpoint(mirror, for: domain, host)) }
            let own =
                host?.server
                ?? RegistryServer(
                    host: Reference.apiHost(of: domain), connection: connection(host, domain),
                    capabilities: Set(RegistryServer.Capability.allCases))
            endpoints.append(try await endpoint(own, for: domain, host))
            servers = try RegistryServers(
                endpoints, for: domain, mountSources: host?.mountSources ?? [], problems: problems)
        }
        for problem in problems { transport.logger.warning("\(problem)") }
        return known.servers.withLock { known in
            if let other = known[key] { return other }
            known[key] = servers
            return servers
        }
    }

    /// The settings of a domain: those of the program, else of the first directory that has some.
    private func settings(for domain: String) async throws -> (RegistryHost?, problems: [String]) {
        if let host = settings.hosts[domain] { return (host, []) }
        for root in settings.hostDirectories {
            if let entry = try await HostDirectory(root: root).entry(for: domain) {
                return (entry.host, entry.problems)
            }
        }
        return (nil, [])
    }

    /// The connection to a domain; without settings, as Docker has it.
    private func connection(_ host: RegistryHost?, _ domain: String) -> RegistryServer.Connection {
        guard let host else {
            return RegistryServer.Connection(plainHTTP: Reference.isLoopback(domain))
        }
        var connection = RegistryServer.Connection(plainHTTP: host.plainHTTP, tls: host.tls)
        connection.prefersTLS = host.prefersTLS || (host.plainHTTP && !host.tls.verifiesCertificates)
        return connection
    }

    private func endpoint(_ server: RegistryServer, for domain: String, _ host: RegistryHost?) async throws -> Endpoint
    {
        let isOwn = server.host == Reference.apiHost(of: domain)
        let owner = isOwn ? domain : server.host == "registry-1.docker.io" ? "docker.io" : server.host
        let connection: RegistryServer.Connection
        if let own = server.connection {
            connection = own
        } else {
            connection = self.connection(isOwn ? host : try await settings(for: owner).0, owner)
        }
        let tls = try transport.tls(connection.tls)
        let encrypted: ServiceURL
        do {
            encrypted = try ServiceURL(server: server.host)
            if !server.apiPath.isEmpty { _ = try encrypted.appending(server.apiPath) }
        } catch {
            let address = Reference.hidingUserInfo(server.host + server.apiPath)
            throw CacheError(
                .invalidSpec, "invalid server \(address.quoted) of \(domain): \(error.message)")
        }
        var isPlain = connection.plainHTTP
        if isPlain, connection.prefersTLS { isPlain = try await !answers(encrypted, tls) }
        var endpoint = try make(
            Endpoint.Key(owner: owner, host: server.host, connection: connection, isPlain: isPlain, withholds: nil), tls
        )
        if isOwn, let profile = host?.profile { endpoint.profile = profile }
        endpoint.apiPath = server.apiPath
        endpoint.capabilities = server.capabilities
        if !isOwn { endpoint.mirrored = domain }
        return endpoint
    }

    /// The endpoint for a spec with `registry.insecure=true`: over TLS if that can be verified, else over TLS, else over plain HTTP.
    ///
    /// A server that only the text of a spec makes insecure gets no credentials, unless it is this machine.
    private func insecureEndpoint(_ domain: String, _ host: RegistryHost?) async throws -> Endpoint {
        let address = Reference.apiHost(of: domain)
        let encrypted = try ServiceURL(server: address)
        let configured = host?.server?.connection ?? connection(host, domain)
        var connection = RegistryServer.Connection(tls: configured.tls)
        connection.tls.verifiesCertificates = true
        let isLocal = encrypted.isLoopback
        if !isLocal, configured.tls.verifiesCertificates,
            let endpoint = try await verifiedEndpoint(domain, address, connection)
        {
            return endpoint
        }
        connection.tls = TLSOptions(verifiesCertificates: false)
        let tls = try transport.tls(connection.tls)
        let isPlain = try await !answers(encrypted, tls)
        connection.plainHTTP = isPlain
        let isAllowed =
            isLocal || settings.allowedInsecureHosts.contains(encrypted) || configured.plainHTTP
            || !configured.tls.verifiesCertificates
        let why = isPlain ? "it speaks plain http" : "its certificate is not verified"
        return try make(
            Endpoint.Key(
                owner: domain, host: address, connection: connection, isPlain: isPlain,
                withholds: isAllowed ? nil : why), tls)
    }

    /// The endpoint over TLS, `nil` if the server cannot be verified with these options.
    private func verifiedEndpoint(
        _ domain: String, _ address: String, _ connection: RegistryServer.Connection
    ) async throws -> Endpoint? {
        let tls: TLSConfiguration?
        // Files that cannot be read are not a reason to fail where nothing has to be verified.
        do { tls = try transport.tls(connection.tls) } catch { return nil }
        guard try await answers(try ServiceURL(server: address), tls) else { return nil }
        return try make(
            Endpoint.Key(owner: domain, host: address, connection: connection, isPlain: false, withholds: nil), tls)
    }

    /// Makes an endpoint, or takes the one that was made before with the same login.
    private func make(_ key: Endpoint.Key, _ tls: TLSConfiguration?) throws(CacheError) -> Endpoint {
        if let known = known.endpoints.withLock({ $0[key] }) { return known }
        let base = try ServiceURL(server: key.host, isPlain: key.isPlain)
        // The token server has certificates of the same authorities; other exceptions are for the registry alone.
        let elsewhere = try transport.tls(TLSOptions(authorities: key.isPlain ? [] : key.connection.tls.authorities))
        let made = Endpoint(
            domain: key.owner, base: base, tls: key.isPlain ? nil : tls, profile: .known(for: key.owner),
            authenticator: Authenticator(
                domain: key.owner, isPlain: key.isPlain, credentials: settings.credentials, withholds: key.withholds,
                transport: transport
            ) { $0.origin == base.origin && !key.isPlain ? tls : elsewhere })
        return known.endpoints.withLock { endpoints in
            if let other = endpoints[key] { return other }
            endpoints[key] = made
            return made
        }
    }

    /// Whether a server answers an encrypted request, whatever the answer is.
    private func answers(_ server: ServiceURL, _ tls: TLSConfiguration?) async throws -> Bool {
        try await transport.isAnswered(OutgoingRequest(.GET, try server.resolving("/v2/"), tls: tls))
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
        // Credentials and exceptions of TLS are for the registry, not for the addresses that it sends to.
        let isOwn = request.url.origin == endpoint.base.origin
        request.tls = isOwn ? endpoint.tls : nil
        if isOwn, let domain = endpoint.mirrored { request.url = try request.url.adding([(name: "ns", value: domain)]) }
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
