import AsyncHTTPClient
package import BuildCacheBytes
import BuildCacheCore
package import BuildCacheSpec
import NIOCore
package import NIOHTTP1

/// The head of a response, and its body on demand.
package struct IncomingResponse: Sendable {
    package let status: HTTPResponseStatus
    package let headers: HTTPHeaders
    /// Who answered: after redirects not always who was asked.
    package let url: ServiceURL
    let summary: String
    let body: HTTPClientResponse.Body
    let patience: Duration
    let clock: any Clock<Duration>
    let now: @Sendable () -> Timestamp

    /// Bytes of the body, if the server says so.
    package var length: Int64? { headers.first(name: "Content-Length").flatMap { Int64($0) } }

    /// The body, in chunks of some 256 KiB.
    ///
    /// Throws `CacheError` `.unavailable`, worth another try, when the connection breaks or stands still.
    package var stream: BlobStream {
        let response = self
        return BlobStream(length: length) {
            let reader = BodyReader(response.body)
            return {
                // An end that was reached needs no watch, and an empty body is at its end.
                let activity = Activity(patience: response.patience)
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

    /// The whole body.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past `limit`; as ``stream``.
    package func collect(upTo limit: Int) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        for try await chunk in stream {
            guard bytes.count + chunk.readableBytes <= limit else {
                throw CacheError(.limitExceeded, "\(summary) returned more than \(limit) bytes")
            }
            bytes += chunk.readableBytesView
        }
        return bytes
    }

    /// Reads what little there may be, so that the connection can be used again.
    package func discard() async {
        var count = 0
        do {
            for try await chunk in stream {
                count += chunk.readableBytes
                if count > HTTPFailure.bodyLimit { return }
            }
        } catch {
            // Nobody wants these bytes; the next request finds another connection.
        }
    }

    /// The error that this response is.
    ///
    /// - Parameter read: What the service's own form of an error says; `nil` for JSON and text.
    package func failure(
        _ read: ([UInt8]) -> (code: String?, message: String?)? = { _ in nil }
    ) async -> HTTPFailure {
        var bytes: [UInt8] = []
        do {
            for try await chunk in stream {
                bytes += chunk.readableBytesView
                if bytes.count >= HTTPFailure.bodyLimit { break }
            }
        } catch {
            // What came so far has to do.
        }
        let pause = retryAfter(headers.first(name: "Retry-After"), now: now())
        let body = Array(bytes.prefix(HTTPFailure.bodyLimit))
        let said = read(body).map { ServiceFault(code: $0.code, message: $0.message) } ?? ServiceFault(body)
        return HTTPFailure(summary, status: status, retryAfter: pause, said: said)
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
        activity.touch()
        // Small chunks cost more on their way than a copy does.
        while batch.readableBytes < BodyReader.batchSize {
            guard var chunk = try await iterator.next(isolation: self) else { break }
            activity.touch()
            batch.reserveCapacity(BodyReader.batchSize + chunk.readableBytes)
            batch.writeBuffer(&chunk)
        }
        return batch
    }
}
