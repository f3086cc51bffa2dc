import BuildCacheCore
import BuildCacheHTTP
import Foundation
import NIOCore
import NIOHTTP1

/// A request as a test's server gets it.
package struct ServerRequest: Sendable {
    package var method: String
    /// Without the query.
    package var path: String
    /// In their order; a name may occur twice.
    package var parameters: [(name: String, value: String)]
    /// The first value of each.
    package var query: [String: String] { Dictionary(parameters.map { ($0.name, $0.value) }) { first, _ in first } }
    /// Path and query as they were sent, which is what signatures are over.
    package var target: String
    /// By lower-case name.
    package var headers: [String: String]
    /// The host that the request names, as in `127.0.0.1:4711`.
    package var host: String
    private let body: RequestParts

    init(_ head: HTTPRequestHead, _ body: RequestParts) {
        let parts = head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        method = head.method.rawValue
        path = String(parts[0])
        parameters = (parts.count > 1 ? parts[1] : "").split(separator: "&").map { pair in
            let pair = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map {
                String($0).replacing("+", with: " ").removingPercentEncoding ?? String($0)
            }
            return (pair[0], pair.count > 1 ? pair[1] : "")
        }
        target = head.uri
        headers = [:]
        for (name, value) in head.headers { headers[name.lowercased()] = value }
        host = head.headers.first(name: "Host") ?? ""
        self.body = body
    }

    /// Reads the body up to `limit` bytes.
    package func bytes(upTo limit: Int = .max) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(min(limit, headers["content-length"].flatMap { Int($0) } ?? 0))
        while let chunk = try await body.nextChunk() {
            bytes += chunk.readableBytesView
            if bytes.count >= limit { return Array(bytes.prefix(limit)) }
        }
        return bytes
    }
}

/// A response of a test's server.
package struct ServerResponse: Sendable {
    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]
    /// Closes the connection after so many bytes of the body, with a reset.
    package var resetAfter: Int?
    /// Announces so many bytes, whatever the body has.
    package var announcedLength: Int?
    /// Stands still before the body ends, until the server does.
    package var stallsAfter: Int?

    package init(_ status: Int, headers: [(name: String, value: String)] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    package init(_ status: Int, headers: [(name: String, value: String)] = [], json: String) {
        self.init(status, headers: headers + [("Content-Type", "application/json")], body: Array(json.utf8))
    }

    /// Closes the connection instead of an answer.
    package static let reset: ServerResponse = {
        var response = ServerResponse(0)
        response.resetAfter = 0
        return response
    }()
}

/// A response of a ``RawServer``: a proper one, or any bytes.
package enum RawResponse: Sendable {
    /// Written as HTTP, and the connection stays open.
    case proper(ServerResponse)
    /// Written step by step, and the connection is closed then.
    case raw([RawStep])
}

/// A step of a response that need not be HTTP.
package enum RawStep: Sendable {
    case bytes([UInt8])
    /// The same bytes until the other side closes the connection, with a pause after each time.
    case endless([UInt8], pause: Duration = .zero)
    /// Nothing until the other side closes the connection.
    case silence
    /// The other side sees a reset.
    case reset

    package static func text(_ text: String) -> RawStep { .bytes(Array(text.utf8)) }
}

extension ServerResponse {
    /// As it goes over the wire.
    package func encoded(isHead: Bool) -> [UInt8] {
        var text = "HTTP/1.1 \(status) \(HTTPResponseStatus(statusCode: status).reasonPhrase)\r\n"
        let hasBody = status >= 200 && status != 204 && status != 304
        var hasLength = false
        for (name, value) in headers {
            let isLength = name.lowercased() == "content-length"
            if isLength, hasLength || !isHead { continue }
            hasLength = hasLength || isLength
            text += "\(name): \(value)\r\n"
        }
        if !headers.contains(where: { $0.name.lowercased() == "date" }) {
            text += "Date: \(Timestamp.now().httpDate)\r\n"
        }
        let isChunked = headers.contains { $0.name.lowercased() == "transfer-encoding" }
        if hasBody, !hasLength, !(isHead && isChunked) {
            text += "Content-Length: \(announcedLength ?? body.count)\r\n"
        }
        return Array((text + "\r\n").utf8) + (isHead || !hasBody ? [] : body)
    }
}
