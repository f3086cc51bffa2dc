import BuildCacheCore
import BuildCacheHTTP
import NIOCore
import NIOHTTP1

/// Sends requests to GitHub's cache service, with the runner's token.
struct GitHubRequests: Sendable {
    let transport: HTTPTransport
    let base: ServiceURL
    let token: RunnerToken
    let policy: RetryPolicy
    let clock: any Clock<Duration>
    let now: @Sendable () -> Timestamp
    /// The pauses of the export, import or prune that the requests belong to, bounded by the option `timeout`; `nil` bounds those of each
    /// layer on its own.
    var pauses: PauseBudget?
    /// The namespace of the entries.
    var version = GitHubKeys.version

    /// The tries of one part of the operation.
    func makeRetries() -> Retries { Retries(policy, clock: clock, pauses: pauses, jitter: transport.jitter) }

    /// The most that is read of an answer.
    static let answerLimit = 1 << 20

    /// An answer that was read whole.
    struct Answer: Sendable {
        var response: IncomingResponse
        var body: [UInt8]
        var status: HTTPResponseStatus { response.status }
    }

    /// Sends a request until it is answered, and reads a small answer.
    ///
    /// - Parameters:
    ///   - path: What follows the service's URL, with a query if there is one.
    ///   - isExpected: Whether an answer that is no success is one that the caller knows what to do with.
    /// - Throws: `CacheError`, as the service refused; ``EntryExists``.
    func send(
        _ method: HTTPMethod, _ path: String, headers: HTTPHeaders = [:], body: OutgoingRequest.Body? = nil,
        retries: Retries, expecting isExpected: (HTTPResponseStatus) -> Bool = { _ in false }
    ) async throws -> Answer {
        var request = OutgoingRequest(method, try base.appending("/\(path)"), headers: headers, body: body)
        try request.credentials.set("Authorization", Secret("Bearer \(token.text.exposed)"))
        return try await retries.retry {
            try token.check(now())
            let response = try await transport.send(request, retries: retries)
            let status = response.status
            if isExpected(status) {
                await response.discard()
                return Answer(response: response, body: [])
            }
            guard (200..<300).contains(status.code) else { throw await failure(response) }
            // A response that breaks off is requested again, though the service has acted.
            let bytes = try await response.collect(upTo: GitHubRequests.answerLimit)
            // A byte order mark is not JSON.
            let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
            return Answer(response: response, body: bytes.starts(with: mark) ? Array(bytes.dropFirst(3)) : bytes)
        }
    }

    /// The error that an answer is.
    private func failure(_ response: IncomingResponse) async -> any Error {
        let failure = await response.failure()
        var error = failure.error
        let said = ((failure.code ?? "") + " " + error.message).lowercased()
        if failure.status == 401 {
            error.message += "; the service does not take the runner's token, which lasts as long as the job"
        } else if failure.status == 403 {
            error.message += "; the token may not do this: jobs of forks and of pull requests from outside only read"
        }
        // One version says it in a name, the other in a code, both in words, and a byte order mark may stand before.
        if ["already exists", "already_exists", "alreadyexists"].contains(where: { said.contains($0) }) {
            return EntryExists(cause: error)
        }
        return error
    }
}

/// The service has what was to be made, or somebody else is making it.
struct EntryExists: Error {
    var cause: CacheError
}

extension OutgoingRequest.Body {
    /// A JSON object.
    static func json(_ write: (inout JSONWriter) -> Void) -> OutgoingRequest.Body {
        var writer = JSONWriter()
        writer.beginObject()
        write(&writer)
        writer.endObject()
        return .bytes(ByteBuffer(bytes: writer.bytes))
    }
}
