import AsyncHTTPClient
package import BuildCacheBytes
package import BuildCacheCore
import NIOCore
package import NIOHTTP1
import Synchronization

/// The head of a response, and its body on demand.
package struct IncomingResponse: Sendable {
    package let status: HTTPResponseStatus
    package let headers: HTTPHeaders
    /// The URL that produced the response.
    ///
    /// It differs from the requested URL after a redirect.
    package let url: ServiceURL
    let summary: String
    let body: HTTPClientResponse.Body
    let patience: Duration
    let documentTimeout: Duration
    let clock: any Clock<Duration>
    let now: @Sendable () -> Timestamp
    /// The credentials that the request had.
    let secrets: RequestSecrets
    /// The turns of hosts to send a document that is large.
    let largeDocuments: ExchangeLimiter

    /// Bytes of a document up to which it is collected beside all others.
    private static let smallDocument = 1 << 20

    /// Bytes a second of a body that count as a connection that stands still.
    private static let slowestRate: Int64 = 256

    /// Bytes of the body, if the server says so and no blob is larger than that.
    package var length: Int64? {
        headers.first(name: "Content-Length").flatMap { Int64(decimal: $0, in: 0...Descriptor.maximumSize) }
    }

    /// The body, in chunks of some 256 KiB.
    ///
    /// Throws `CacheError` `.unavailable`, worth another try, when the connection breaks or stands still.
    package var stream: BlobStream {
        let response = self
        return BlobStream(length: length) {
            let reader = BodyReader(response.body)
            return {
                // An end that was reached needs no watch, and an empty body is at its end.
                let activity = Activity(patience: response.patience, slowestRate: IncomingResponse.slowestRate)
                do {
                    return try await withStallTimeout(activity, clock: response.clock) {
                        try await reader.next(activity)
                    }
                } catch {
                    try Task.checkCancellation()
                    throw CacheError(connection: error, response.summary)
                }
            }
        }
    }

    /// The whole body of a document.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past `limit` bytes; `.unavailable`, worth another try, if it takes longer than the
    ///   transport's limit for documents; as ``stream``.
    package func collect(upTo limit: Int) async throws -> [UInt8] {
        do {
            return try await withTimeLimit(documentTimeout, clock: clock) {
                var bytes: [UInt8] = []
                var chunks = stream.makeAsyncIterator()
                try await append(&chunks, to: &bytes, upTo: IncomingResponse.smallDocument, limit: limit)
                guard bytes.count > IncomingResponse.smallDocument else { return bytes }
                // Many at once, each as large as one may be, would need more memory than a host program has.
                return try await largeDocuments.run(url.origin) {
                    try await append(&chunks, to: &bytes, upTo: .max, limit: limit)
                    return bytes
                }
            }
        } catch let error as TimeLimitPassed {
            throw CacheError(
                .unavailable, "\(summary): the response did not arrive within \(error.limit)", retry: .worthwhile)
        }
    }

    /// Appends chunks up to the end, or until there are more than `bound` bytes.
    private func append(
        _ chunks: inout BlobStream.AsyncIterator, to bytes: inout [UInt8], upTo bound: Int, limit: Int
    ) async throws {
        while bytes.count <= bound, let chunk = try await chunks.next() {
            guard chunk.readableBytes <= limit - bytes.count else {
                throw CacheError(.limitExceeded, "\(summary) returned more than \(limit) bytes")
            }
            bytes += chunk.readableBytesView
        }
    }

    /// Reads a small rest of the body, so that the connection can be used again.
    package func discard() async { _ = await beginning(upTo: HTTPFailure.bodyLimit) }

    /// The first bytes of the body, as many as arrive before the connection breaks or stands still.
    private func beginning(upTo limit: Int) async -> [UInt8] {
        let read = Mutex<[UInt8]>([])
        do {
            try await withTimeLimit(patience, clock: clock) {
                for try await chunk in stream {
                    let isEnough = read.withLock { bytes in
                        bytes += chunk.readableBytesView.prefix(limit - bytes.count)
                        return bytes.count >= limit
                    }
                    if isEnough { return }
                }
            }
        } catch {
            // The bytes so far have to do; the next request finds another connection.
        }
        return read.withLock { $0 }
    }

    /// A text of the response, such as a header, for an error; `nil` if it repeats a credential of the request.
    package func shown(_ text: String?) -> String? { secrets.occur(in: text) ? nil : text }

    /// The error that this response is.
    ///
    /// - Parameter read: Reads the service's own form of an error; `nil` for JSON and text.
    package func failure(
        _ read: ([UInt8]) -> (code: String?, message: String?)? = { _ in nil }
    ) async -> HTTPFailure {
        let body = await beginning(upTo: HTTPFailure.bodyLimit)
        let pause = retryAfter(headers.first(name: "Retry-After"), now: now())
        var words = read(body) ?? ServiceFault.words(of: body)
        // Searched before and after decoding: the body may not be a document, and escapes of JSON and XML hide a credential.
        if secrets.occur(in: words.code) || secrets.occur(in: words.message) || secrets.occur(in: body) {
            words.code = shown(words.code)
            words.message = "(its words are not shown, because they repeat a credential of the request)"
        }
        let requestID = HTTPFailure.requestIDs.lazy.compactMap { headers.first(name: $0) }.first
        return HTTPFailure(
            summary, status: status, retryAfter: pause, said: ServiceFault(code: words.code, message: words.message),
            requestID: shown(requestID))
    }
}

/// Pulls a body, so that one task may wait for it and another one watch.
private actor BodyReader {
    private static let batchSize = 256 << 10

    private var chunks: HTTPClientResponse.Body.AsyncIterator

    init(_ body: HTTPClientResponse.Body) { chunks = body.makeAsyncIterator() }

    /// Some 256 KiB, fewer at the end, `nil` behind it.
    func next(_ activity: Activity) async throws -> ByteBuffer? {
        var iterator = chunks
        defer { chunks = iterator }
        guard var batch = try await iterator.next(isolation: self) else { return nil }
        activity.moved(batch.readableBytes)
        // Small chunks cost more on their way than a copy does.
        while batch.readableBytes < BodyReader.batchSize {
            guard var chunk = try await iterator.next(isolation: self) else { break }
            activity.moved(chunk.readableBytes)
            batch.reserveCapacity(BodyReader.batchSize + chunk.readableBytes)
            batch.writeBuffer(&chunk)
        }
        return batch
    }
}
