import BuildCacheBytes
import BuildCacheCore
package import BuildCacheHTTP
package import BuildCacheSpec
import Logging
import NIOCore
package import NIOHTTP1
import NIOSSL

/// A request to a bucket before it is signed.
package struct S3Request: Sendable {
    package var method: HTTPMethod
    /// The object, `nil` for the bucket itself.
    var key: String?
    package var query: [(name: String, value: String)] = []
    var headers: [(name: String, value: String)] = []
    var body: OutgoingRequest.Body?
    /// The SHA-256 of the body, or that it is not signed.
    var payloadHash = SignatureV4.emptyPayload
    /// What the credentials must allow, as AWS calls it.
    var permission: String

    package init(_ method: HTTPMethod, _ key: String?, permission: String) {
        self.method = method
        self.key = key
        self.permission = permission
    }
}

/// One bucket, and the cache in it.
///
/// Throws ``S3Failure`` for what the service refuses; ``reporting(_:_:_:)`` makes that an error for others.
package struct S3Bucket: Sendable {
    let options: S3Options
    let client: S3Client
    let transport: HTTPTransport
    let endpoint: S3Endpoint
    package let keys: S3Keys
    let service: S3Service
    private let signer: SignatureV4
    private let credentials: CredentialCache
    /// Slows down while the service throttles.
    private let isAdaptive: Bool
    /// The places that a session token of the environment may be sent to.
    private let sessionTokens: CredentialOrigin
    /// The authorities to trust where those are not the transport's.
    private let tls: TLSConfiguration?

    /// Settles region, address and retries; reads files with profiles, and sends nothing.
    package init(_ options: S3Options, client: S3Client = .shared) async throws {
        self.options = options
        self.client = client
        let settings = try await AWSSettings.read(client.environment)
        let region = try client.region(of: options, settings)
        let endpoints = try settings.endpoints(of: "s3")
        var placed = options
        if placed.endpointURL == nil, endpoints.configured != nil, settings.usesPathStyle { placed.usePathStyle = true }
        endpoint = try S3Endpoint(
            placed, region: region, settings: endpoints, usesARNRegion: try settings.usesARNRegion() ?? true)
        keys = S3Keys(options)
        service = client.service(endpoint)
        signer = SignatureV4(region: endpoint.region)
        var origin = client.sessionTokens
        origin.environment.append(endpoints.configured?.url.base)
        sessionTokens = origin
        tls = try settings.tls()
        credentials = client.credentials(for: options, region: region)
        var transport = client.transport
        transport.retry.attempts = try S3Bucket.attempts(options, settings)
        self.transport = transport
        let mode = options.retryMode?.rawValue ?? settings.text("AWS_RETRY_MODE", "retry_mode") ?? "standard"
        isAdaptive = mode.lowercased() == "adaptive"
    }

    /// - Source: `Documentation/Spec/spec-syntax.md` §4; AWS, "Retry behavior": three, in all languages.
    private static func attempts(_ options: S3Options, _ settings: AWSSettings) throws(CacheError) -> Int {
        if let attempts = options.retryMaxAttempts { return attempts }
        guard let text = settings.text("AWS_MAX_ATTEMPTS", "max_attempts") else { return 3 }
        guard let attempts = Int(decimal: text, in: 1...mostAttempts) else {
            throw CacheError(.invalidSpec, "invalid AWS_MAX_ATTEMPTS \(text.quoted): expected 1...\(mostAttempts)")
        }
        return attempts
    }

    private static let mostAttempts = 1000

    // MARK: Sending

    /// Sends a request until it is answered for good.
    ///
    /// - Returns: An answer of success.
    /// - Throws: ``S3Failure``, `SourceFailure`, `CacheError`, `CancellationError`.
    package func send(_ request: S3Request) async throws -> IncomingResponse { try await send(request) { $0 } }

    /// Sends a request until it is answered for good and the answer is read.
    ///
    /// - Parameters:
    ///   - again: Called before each try but the first.
    ///   - read: Reads an answer of success; what breaks off meanwhile is asked for again.
    func send<Value>(
        _ request: S3Request, again: () throws -> Void = {}, reading read: (IncomingResponse) async throws -> Value
    ) async throws -> Value {
        let retries = transport.retries()
        var spent = 0
        while true {
            do {
                let value = try await read(try await sendOnce(request))
                service.quota.giveBack(max(spent, 1))
                return value
            } catch let failure as S3Failure {
                guard failure.error.retry != .never else { throw failure }
                spent = try await pause(retries, failure.error) { S3Failure(failure, $0) }
            } catch let error as CacheError {
                spent = try await pause(retries, error) { $0 }
            }
            try again()
        }
    }

    /// The document that a request is answered with.
    func document<Value>(
        _ request: S3Request, again: () throws -> Void = {}, _ decode: ([UInt8]) throws -> Value
    ) async throws -> Value {
        try await send(request, again: again) { try decode(try await $0.collect(upTo: S3Bucket.documentLimit)) }
    }

    /// Sends a request whose status comes before the service knows how the operation ends, and checks that it succeeded.
    func sendChecked(_ request: S3Request) async throws {
        try await send(request) { response in
            let answer = try await response.collect(upTo: S3Bucket.documentLimit)
            guard let root = try? XMLNode.parse(answer), let error = root.error else { return }
            throw CacheError(
                .unavailable,
                "\(request.method) of \(request.key ?? "") was answered with "
                    + "\(response.shown(error.value("Code")) ?? "an error"): "
                    + (response.shown(error.value("Message")) ?? "no reason is given"),
                retry: .worthwhile)
        }
    }

    /// Bytes of a document, which has a thousand rows at most.
    private static let documentLimit = 16 << 20

    /// Waits for the next try, if there is to be one.
    private func pause(
        _ retries: Retries, _ error: CacheError, _ wrap: (CacheError) -> any Error
    ) async throws -> Int {
        // A service that fails all the time is not asked more often for it.
        guard error.retry == .never || service.quota.take(RetryQuota.cost) else {
            var last = error
            last.retry = .exhausted
            last.message += "; too many requests failed lately to try again"
            throw wrap(last)
        }
        do { try await retries.pause(after: error) } catch let error as CacheError { throw wrap(error) }
        return RetryQuota.cost
    }

    /// The time at the service, as far as it is known to differ from that of this machine.
    var now: Timestamp { service.clock.corrected(client.now()) }

    /// Signs and sends a request; credentials that have expired are renewed once, and a wrong clock is corrected once.
    func sendOnce(_ request: S3Request) async throws -> IncomingResponse {
        var rejected: AWSCredentials?
        var isCorrected = false
        while true {
            let credentials = try await credentials.current(rejecting: rejected)
            if isAdaptive { try await service.pace.wait(transport.clock) }
            let time = now
            let response = try await transport.sendOnce(try signed(request, with: credentials, at: time))
            service.heard(from: response.headers.first(name: "Server"))
            if (200..<300).contains(response.status.code) {
                if isAdaptive { service.pace.answered(throttled: false) }
                return response
            }
            let failure = await S3Failure(response, request, in: self)
            if isAdaptive { service.pace.answered(throttled: failure.isThrottle) }
            let date = response.headers.first(name: "Date")
            if !isCorrected, failure.mayBeSkew,
                service.clock.learn(from: date, signedAt: time, local: client.now(), transport.logger)
            {
                isCorrected = true
                continue
            }
            // A second refusal of new ones is an answer.
            guard failure.isExpired, rejected == nil else { throw failure }
            rejected = credentials
            transport.logger.debug("credentials have expired and are asked for again")
        }
    }

    private func signed(
        _ request: S3Request, with credentials: AWSCredentials, at now: Timestamp
    ) throws(CacheError) -> OutgoingRequest {
        let path = endpoint.path(request.key)
        let query = request.query.map { "\($0.name.percentEncoded)=\($0.value.percentEncoded)" }.joined(separator: "&")
        var headers = request.headers
        headers.append(("x-amz-date", now.amazonText))
        headers.append(("x-amz-content-sha256", request.payloadHash))
        if !options.disableAcceptEncoding, service.vendor.signsAcceptEncoding {
            // Encoded for the way, bytes would be others than those of the digest.
            headers.append(("Accept-Encoding", "identity"))
        }
        let url = try ServiceURL(endpoint.origin + path + (query.isEmpty ? "" : "?" + query))
        var secrets: [(name: String, value: String)] = []
        if let token = credentials.sessionToken {
            try checkMaySendToken(url)
            secrets.append(("x-amz-security-token", token.exposed))
        }
        let authorization = signer.authorization(
            for: SignatureV4.Message(
                method: request.method.rawValue, path: path, query: request.query,
                headers: headers + secrets + [("host", endpoint.host)], payloadHash: request.payloadHash),
            accessKeyID: credentials.accessKeyID, secretAccessKey: credentials.secretAccessKey, at: now)
        var outgoing = OutgoingRequest(
            request.method, url, headers: HTTPHeaders(headers.map { ($0.name, $0.value) }), body: request.body, tls: tls
        )
        for (name, value) in secrets + [("Authorization", authorization)] {
            try outgoing.credentials.set(name, Secret(value))
        }
        outgoing.returnsEveryAnswer = true
        return outgoing
    }

    /// Checks that a session token may be sent to a URL of this bucket.
    ///
    /// - Throws: `CacheError` `.denied`.
    func checkMaySendToken(_ url: ServiceURL) throws(CacheError) {
        // A token that came with the endpoint is the caller's own, and an endpoint that the spec does not name is the word of the
        // environment, the profile or Amazon.
        guard options.sessionToken == nil, endpoint.isNamedBySpec else { return }
        do { try sessionTokens.check(url, isAmbient: true) } catch {
            // The bucket may stand in front of the host that is allowed.
            guard let named = options.endpointURL, (try? sessionTokens.check(named, isAmbient: true)) != nil else {
                throw error
            }
        }
    }

    /// The error of this machine's clock, in words that follow "is wrong"; empty if the response does not tell.
    func skew(_ response: IncomingResponse) -> String {
        guard let text = response.headers.first(name: "Date"), let theirs = Timestamp(httpDate: text) else { return "" }
        let seconds = client.now().seconds - theirs.seconds
        return " by \(seconds.magnitude / 60) minutes: it is \(seconds < 0 ? "behind" : "ahead of") the service's"
    }

    // MARK: Errors

    /// Runs `body`, and makes refusals of the service a `CacheError` about `subject`.
    ///
    /// - Parameter operation: As in `refresh`; `nil` for a part of an operation that has a name.
    func reporting<Value>(
        _ operation: CacheError.Operation?, _ subject: String? = nil, _ body: () async throws -> Value
    ) async throws -> Value {
        do { return try await body() } catch let failure as SourceFailure {
            throw failure.cause
        } catch let failure as S3Failure {
            throw failure.error.adding(backend: "s3", operation: operation, subject: subject)
        } catch let error as CacheError {
            throw error.adding(backend: "s3", operation: operation, subject: subject)
        }
    }
}

extension S3Failure {
    /// The same refusal, said in other words.
    init(_ failure: S3Failure, _ error: CacheError) {
        self = failure
        self.error = error
    }
}
