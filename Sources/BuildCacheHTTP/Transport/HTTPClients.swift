import AsyncHTTPClient
import BuildCacheCore
import NIOCore
import NIOSSL
import Synchronization

/// The clients behind a transport: one per route, direct or through a proxy, each with its own pool of connections.
final class HTTPClients: Sendable {
    /// How a request leaves the machine.
    private enum Route: Hashable {
        case direct
        case proxy(ProxySettings.Server)
    }

    /// A client that its maker shuts down, for all routes.
    private let foreign: HTTPClient?
    private let proxies: ProxySettings
    /// What is trusted in place of the system's authorities: `SSL_CERT_FILE`.
    let certificateFile: String?
    private let connectionsPerHost: Int
    private let made = Mutex<[Route: HTTPClient]>([:])

    /// Uses `client` for everything; proxies and authorities are its own.
    init(_ client: HTTPClient) {
        foreign = client
        proxies = ProxySettings(.empty)
        certificateFile = nil
        connectionsPerHost = 0
    }

    /// The values of all variables that decide the connections of an environment.
    static func settings(of environment: Environment) -> [String?] {
        let names = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]
        return (names + names.map { $0.lowercased() } + ["REQUEST_METHOD", "SSL_CERT_FILE"]).map { environment[$0] }
    }

    /// Makes clients as `environment` says, when they are needed.
    init(_ environment: Environment, connectionsPerHost: Int) {
        foreign = nil
        proxies = ProxySettings(environment)
        certificateFile = environment["SSL_CERT_FILE"].flatMap { $0.isEmpty ? nil : $0 }
        self.connectionsPerHost = connectionsPerHost
    }

    /// The client that requests of `url` go through.
    func client(for url: ServiceURL) throws(CacheError) -> HTTPClient {
        if let foreign { return foreign }
        let route = try proxies.server(for: url).map { Route.proxy($0) } ?? .direct
        return made.withLock { made in
            if let client = made[route] { return client }
            let client = HTTPClient(
                eventLoopGroupProvider: .singleton, configuration: configuration(route))
            made[route] = client
            return client
        }
    }

    /// The server or proxy that requests of `url` connect to, as far as is known here.
    func peer(of url: ServiceURL) -> ConnectionRefused {
        if let proxy = try? proxies.server(for: url) { return ConnectionRefused(host: proxy.host, port: proxy.port) }
        return ConnectionRefused(host: url.host, port: url.port ?? (url.scheme == "https" ? 443 : 80))
    }

    /// Closes all connections.
    ///
    /// A client that came from outside stays open.
    func shutdown() async {
        let clients = made.withLock { made in
            defer { made = [:] }
            return Array(made.values)
        }
        for client in clients { try? await client.shutdown() }
    }

    private func configuration(_ route: Route) -> HTTPClient.Configuration {
        var tls = TLSConfiguration.client
        if let certificateFile { tls.trustRoots = .file(certificateFile) }
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls,
            // Redirects are followed by the transport, which knows what is a credential.
            redirectConfiguration: .disallow,
            // Reading and writing have no limit here: the transport has one on silence.
            timeout: .init(connect: .seconds(30)),
            connectionPool: .init(
                idleTimeout: .seconds(60), concurrentHTTP1ConnectionsPerHostSoftLimit: connectionsPerHost),
            decompression: .disabled)
        // The windows of HTTP/2 make large transfers slow, and one connection is one place to break.
        configuration.httpVersion = .http1Only
        // A caller that wants to retry does it with pauses that are counted.
        configuration.connectionPool.retryConnectionEstablishment = false
        // The transport has spans of its own; those of the client hold queries, which may be signatures, and its headers go to any host.
        configuration.tracing.tracer = nil
        if case .proxy(let server) = route { configuration.proxy = server.proxy }
        return configuration
    }

    /// The configuration of connections without a proxy.
    var directConfiguration: HTTPClient.Configuration { configuration(.direct) }
}

extension ProxySettings.Server {
    fileprivate var proxy: HTTPClient.Configuration.Proxy {
        if isSOCKS { return .socksServer(host: host, port: port) }
        guard let login else { return .server(host: host, port: port) }
        let parts = login.exposed.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        return .server(
            host: host, port: port,
            authorization: .basic(username: String(parts[0]), password: parts.count > 1 ? String(parts[1]) : ""))
    }
}
