public import AsyncHTTPClient
import BuildCacheBytes
public import BuildCacheCore
public import Logging
import Metrics
import NIOCore
import NIOHTTP1
package import NIOSSL
import Synchronization
import Tracing

/// The HTTP of all network backends: one pool of connections, one policy of retries, one way to fail.
///
/// - **Retries**: as ``RetryPolicy`` says, and the body of a request is opened afresh each time.
/// - **Time-outs**: none on the transfer of a layer as a whole, which may take as long as it needs while bytes move, see ``stallTimeout``; a
///   document must arrive within ``documentTimeout``.
/// - **Redirects**: ten at most; credentials never leave the scheme, host and port they were meant for. A redirect of a request with a
///   credential from `https` to `http`, or of one with a credential in its body to another origin, is an error.
/// - **TLS**: 1.2 or later; with a client of your own, whatever that has.
/// - **Proxies and authorities**: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE` of the environment, also in lower case;
///   with a client of your own, whatever that has. An HTTP proxy is asked for a tunnel (`CONNECT`), whatever goes through it. Loopback
///   and link-local addresses, where metadata services are, are never reached through a proxy.
/// - **Observability**: requests are logged at `debug`, without queries, headers and bodies; a span per request, counters and a timer
///   named `build_cache.http.…`.
public struct HTTPTransport: Sendable {
    /// When a request that failed is sent again.
    public var retry: RetryPolicy
    /// The longest time in which a connection may move next to nothing before it counts as broken.
    ///
    /// Default 60 seconds. Next to nothing is not a single byte of an upload, or fewer than 256 bytes a second of a download: a server that sends a
    /// byte now and then is as good as one that sends none.
    public var stallTimeout: Duration
    /// The longest time between the end of a request and the beginning of its response, as when a service assembles a large blob.
    ///
    /// Default 5 minutes.
    public var responseTimeout: Duration
    /// The longest time in which the body of a document must arrive: a manifest, a config, a list, a token.
    ///
    /// Default 10 minutes, which a config of 64 MiB keeps at 110 KiB a second. Layers have no such limit.
    public var documentTimeout: Duration
    /// Where requests are logged.
    public var logger: Logger

    /// Limits of lists that come in pages.
    package var listLimits = ListLimits()
    /// Measures retries and time-outs.
    package var clock: any Clock<Duration> = ContinuousClock()
    /// Measures pauses between tries, in place of ``clock``.
    package var retryClock: (any Clock<Duration>)?
    /// From 0 to 1, for pauses.
    package var jitter: @Sendable () -> Double = { Double.random(in: 0...1) }

    private let clients: HTTPClients
    private let limiter: ExchangeLimiter
    /// Of each host, documents that are large are collected one after the other.
    private let largeDocuments = ExchangeLimiter(limit: 1)

    /// Exchanges with one host at once; others wait for their turn.
    public static let defaultConnectionsPerHost = 8
    private static let maximumRedirects = 10

    /// The transport of this process, made of its environment and never shut down.
    public static let shared = HTTPTransport(environment: .process, connectionsPerHost: defaultConnectionsPerHost)

    /// The transport for the proxies and authorities of an environment: ``shared`` if these are the process's own, or one that is made once for
    /// each such environment and never shut down.
    ///
    /// A program that serves many environments with different proxies uses ``withTransport(environment:connectionsPerHost:_:)``.
    public static func shared(for environment: Environment) -> HTTPTransport {
        let settings = HTTPClients.settings(of: environment)
        if settings == HTTPClients.settings(of: .process) { return shared }
        return sharedByEnvironment.withLock { known in
            if let transport = known[settings] { return transport }
            let transport = HTTPTransport(environment: environment, connectionsPerHost: defaultConnectionsPerHost)
            known[settings] = transport
            return transport
        }
    }

    /// Whether both have the same connections.
    package func isSame(as other: HTTPTransport) -> Bool { clients === other.clients }

    private static let sharedByEnvironment = Mutex<[[String?]: HTTPTransport]>([:])

    /// Speaks through a client of the caller's, who shuts it down when nobody uses it any more.
    ///
    /// Let it have no time-out on reading, follow no redirects and decompress nothing.
    ///
    /// - Parameters:
    ///   - client: The client.
    ///   - connectionsPerHost: Exchanges with one host at once, 1 or more.
    public init(client: HTTPClient, connectionsPerHost: Int = defaultConnectionsPerHost) {
        self.init(HTTPClients(client), connectionsPerHost)
    }

    /// Gives `body` a transport with clients of its own, which are shut down when it returns or throws.
    ///
    /// - Parameters:
    ///   - environment: Where proxies and authorities come from.
    ///   - connectionsPerHost: Exchanges with one host at once, 1 or more.
    ///   - body: What uses the transport; its value is returned.
    public static func withTransport<Value>(
        environment: Environment = .process, connectionsPerHost: Int = defaultConnectionsPerHost,
        _ body: (HTTPTransport) async throws -> Value
    ) async throws -> Value {
        let transport = HTTPTransport(environment: environment, connectionsPerHost: connectionsPerHost)
        do {
            let value = try await body(transport)
            await transport.clients.shutdown()
            return value
        } catch {
            await transport.clients.shutdown()
            throw error
        }
    }

    private init(environment: Environment, connectionsPerHost: Int) {
        // Bodies that are being read have connections beside those of exchanges: who reads slowly must not keep others from sending.
        self.init(HTTPClients(environment, connectionsPerHost: connectionsPerHost * 3), connectionsPerHost)
    }

    private init(_ clients: HTTPClients, _ connectionsPerHost: Int) {
        self.clients = clients
        limiter = ExchangeLimiter(limit: connectionsPerHost)
        retry = RetryPolicy()
        stallTimeout = .seconds(60)
        responseTimeout = .seconds(300)
        documentTimeout = .seconds(600)
        logger = Logger(label: "build-cache.http")
    }

    /// How to connect to a host with options of its own; `nil` where these are the usual ones.
    package func tls(_ options: TLSOptions) throws(CacheError) -> TLSConfiguration? {
        guard options != TLSOptions() else { return nil }
        return try options.configuration(certificateFile: clients.certificateFile)
    }

    /// The tries of a new operation.
    package func retries() -> Retries { Retries(retry, clock: retryClock ?? clock, jitter: jitter) }

    // MARK: Sending

    /// Sends a request until it is answered, not counting answers that ask to come again.
    ///
    /// - Parameter retries: Those of the operation that the request is part of; `nil` makes it one of its own.
    /// - Returns: The answer, which may be a refusal.
    /// - Throws: `CacheError` `.unavailable` when all tries are used up; what the source of the body throws; `CancellationError`.
    package func send(_ request: OutgoingRequest, retries: Retries? = nil) async throws -> IncomingResponse {
        let retries = retries ?? self.retries()
        while true {
            do {
                return try await sendOnce(request)
            } catch let error as SourceFailure {
                throw error.cause
            } catch let error as CacheError {
                count("retries", request.url)
                logger.debug("a request failed", metadata: ["error": "\(error.description)"])
                try await retries.pause(after: error)
            }
        }
    }

    /// Sends a request one time, along redirects.
    ///
    /// - Throws: As ``send(_:retries:)``, at the first failure; ``SourceFailure`` for what the source of the body throws.
    package func sendOnce(_ request: OutgoingRequest) async throws -> IncomingResponse {
        var current = request
        for _ in 0...HTTPTransport.maximumRedirects {
            let response = try await exchange(current)
            if request.returnsEveryAnswer { return response }
            guard let location = response.headers.first(name: "Location"),
                [301, 302, 303, 307, 308].contains(response.status.code)
            else {
                guard isTransient(response.status) else { return response }
                throw await response.failure().error
            }
            await response.discard()
            let target = try response.url.resolving(location)
            let shown = response.secrets.hide(target.base)
            // The older codes let a client change the method, so a request with a body cannot rely on them.
            guard [307, 308].contains(response.status.code) || [.GET, .HEAD].contains(current.method) else {
                throw CacheError(
                    .unsupported,
                    "\(current.summary) returned \(response.status.code) to \(shown), which only reading may follow"
                )
            }
            // A reader of the plain request would learn what the credential was meant to protect.
            guard target.scheme == "https" || current.url.scheme == "http" || !request.carriesCredentials else {
                throw CacheError(
                    .denied,
                    "\(current.summary) redirects to \(shown): a request with credentials does not go on without encryption"
                )
            }
            current = try current.redirected(to: target)
        }
        throw CacheError(
            .unsupported, "\(request.summary) is redirected more than \(HTTPTransport.maximumRedirects) times")
    }

    /// Whether a server responds to a request at all, whatever it responds; sends it once, and follows no redirect.
    ///
    /// - Throws: `CacheError` `.invalidSpec` or `.unsupported` if it cannot be sent; `CancellationError`.
    package func isAnswered(_ request: OutgoingRequest) async throws -> Bool {
        do {
            await (try await exchange(request)).discard()
            return true
        } catch let error as CacheError where error.code == .unavailable {
            return false
        }
    }

    /// One request, one response.
    private func exchange(_ request: OutgoingRequest) async throws -> IncomingResponse {
        let started = ContinuousClock.now
        let client = try clients.client(for: request.url)
        return try await withSpan("HTTP \(request.method)", ofKind: .client) { span in
            span.attributes["http.request.method"] = "\(request.method)"
            span.attributes["server.address"] = request.url.host
            span.attributes["url.full"] = request.shownURL
            count("requests", request.url, [("method", "\(request.method)")])
            TrafficMeter.current?.countRequest()
            do {
                let response = try await limiter.run(request.url.origin) { try await execute(request, client) }
                span.attributes["http.response.status_code"] = Int(response.status.code)
                record(request, status: "\(response.status.code)", started)
                return response
            } catch {
                record(request, status: "none", started)
                throw error
            }
        }
    }

    private func execute(_ request: OutgoingRequest, _ client: HTTPClient) async throws -> IncomingResponse {
        let activity = Activity(patience: stallTimeout, slowestRate: 0)
        var message = HTTPClientRequest(url: request.url.exposed.encodingBehindHost)
        message.method = request.method
        message.headers = request.headers
        message.headers.add(contentsOf: request.credentials.exposed)
        if !message.headers.contains(name: "User-Agent") {
            message.headers.add(name: "User-Agent", value: "swift-build-cache")
        }
        message.tlsConfiguration = request.tls
        var body: OutgoingBody?
        switch request.body {
        case .bytes(let bytes): message.body = .bytes(bytes)
        case .form(let form): message.body = .bytes(form.body.exposed)
        case .stream(let length, let open):
            guard (0...Descriptor.maximumSize).contains(length) else {
                throw CacheError(
                    .limitExceeded,
                    "\(request.summary) cannot be sent with a body of \(length) bytes: expected 0 to \(Descriptor.maximumSize)"
                )
            }
            let stream = OutgoingBody(length: length, activity: activity, patience: responseTimeout, open: open)
            message.body = .stream(stream, length: .known(length))
            body = stream
        case nil: break
        }
        do {
            let prepared = message
            let response = try await withStallTimeout(activity, clock: clock) {
                try await client.execute(prepared, deadline: .distantFuture)
            }
            count("bytes_sent", request.url, by: body?.sent ?? 0)
            return IncomingResponse(
                status: response.status, headers: response.headers, url: request.url, summary: request.summary,
                body: response.body, patience: stallTimeout, documentTimeout: documentTimeout, clock: clock,
                now: { Timestamp.now() }, secrets: RequestSecrets(request), largeDocuments: largeDocuments)
        } catch {
            try Task.checkCancellation()
            if let cause = body?.sourceFailure { throw SourceFailure(cause: cause) }
            throw CacheError(connection: error, request.summary, to: clients.peer(of: request.url))
        }
    }

    // MARK: Observing

    private func record(_ request: OutgoingRequest, status: String, _ started: ContinuousClock.Instant) {
        let elapsed = (ContinuousClock.now - started).components
        let nanoseconds = elapsed.seconds * 1_000_000_000 + elapsed.attoseconds / 1_000_000_000
        logger.debug(
            "\(request.summary)", metadata: ["status": "\(status)", "milliseconds": "\(nanoseconds / 1_000_000)"])
        Timer(
            label: "build_cache.http.duration",
            dimensions: [("method", "\(request.method)"), ("host", request.url.host), ("status", status)]
        ).recordNanoseconds(nanoseconds)
    }

    private func count(_ what: String, _ url: ServiceURL, _ dimensions: [(String, String)] = [], by count: Int64 = 1) {
        guard count > 0 else { return }
        Counter(label: "build_cache.http.\(what)", dimensions: [("host", url.host)] + dimensions).increment(by: count)
    }
}

/// What the source of a body threw.
///
/// A type of its own, because it says nothing about the connection and is no reason to send again.
package struct SourceFailure: Error {
    package var cause: any Error
}
