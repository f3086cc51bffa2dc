import BuildCacheCore
import BuildCacheHTTP
import BuildCacheJSON
import BuildCacheSpec
import NIOCore
import NIOHTTP1

/// Sends requests to GitHub's cache service, with the runner's token.
struct GitHubRequests: Sendable {
    let transport: HTTPTransport
    let base: ServiceURL
    let token: RunnerToken
    let makeRetries: @Sendable () -> Retries
    let now: @Sendable () -> Timestamp

    /// The most that is read of an answer.
    static let answerLimit = 1 << 20

    /// Sends a request until it is answered.
    ///
    /// - Parameters:
    ///   - path: What follows the service's URL, with a query if there is one.
    ///   - accept: The `Accept` header.
    /// - Returns: The answer, which may be a refusal.
    func send(
        _ method: HTTPMethod, _ path: String, headers: HTTPHeaders = [:], body: OutgoingRequest.Body? = nil,
        retries: Retries
    ) async throws -> IncomingResponse {
        try token.check(now())
        let root = base.base.hasSuffix("/") ? String(base.base.dropLast()) : base.base
        var request = OutgoingRequest(method, try ServiceURL("\(root)/\(path)"), headers: headers, body: body)
        request.credentials = ["Authorization": "Bearer \(token.text.exposed)"]
        return try await transport.send(request, retries: retries)
    }

    /// The error that an answer is.
    func failure(_ response: IncomingResponse) async -> GitHubFailure {
        let failure = await response.failure()
        var error = failure.error
        let said = ((failure.code ?? "") + " " + error.message).lowercased()
        if failure.status == 401 {
            error.message += "; the service does not take the runner's token, which lasts as long as the job"
        } else if failure.status == 403 {
            error.message += "; the token may not do this: jobs of forks and of pull requests from outside only read"
        }
        return GitHubFailure(
            error: error,
            // One version says it in a name, the other in a code, both in words, and a byte order mark may stand before.
            isExistence: ["already exists", "already_exists", "alreadyexists"].contains { said.contains($0) })
    }

    /// The body of an answer that must be a success.
    func body(of response: IncomingResponse) async throws -> [UInt8] {
        guard (200..<300).contains(response.status.code) else { throw await failure(response).error }
        let bytes = try await response.collect(upTo: GitHubRequests.answerLimit)
        return bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes
    }
}

/// How the service refused.
struct GitHubFailure: Sendable {
    var error: CacheError
    /// Whether it has what was to be made.
    var isExistence: Bool
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
