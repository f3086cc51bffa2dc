package import BuildCacheBytes
package import BuildCacheCore
package import NIOCore
package import NIOHTTP1
package import NIOSSL
import Synchronization

/// A request that can be sent as often as needed: its body is a recipe.
///
/// It prints as method and URL, without query, headers and body.
package struct OutgoingRequest: Sendable {
    /// The bytes that are sent after the head.
    package enum Body: Sendable {
        case bytes(ByteBuffer)
        /// A form with a credential in it, for the origin of the URL alone: a redirect to another one is an error.
        case form(CredentialForm)
        /// `length` bytes of the stream that `open` opens afresh for each try.
        case stream(length: Int64, open: @Sendable () async throws -> BlobStream)
    }

    package var method: HTTPMethod
    package var url: ServiceURL
    package var headers: HTTPHeaders
    /// Headers that only the origin of ``url`` may see: a redirect to another one leaves them behind.
    package var credentials: CredentialHeaders
    package var body: Body?
    /// How to connect, where that is not the transport's usual way.
    package var tls: TLSConfiguration?
    /// Whether redirects and transient failures are returned as they are.
    ///
    /// For requests that are signed anew for each try, or whose failures have a reason to try again in their bodies.
    package var returnsEveryAnswer = false
    /// The credentials of the requests that were redirected to this one.
    private(set) var earlierSecrets: RequestSecrets?

    package init(
        _ method: HTTPMethod, _ url: ServiceURL, headers: HTTPHeaders = [:], body: Body? = nil,
        tls: TLSConfiguration? = nil
    ) {
        self.method = method
        self.url = url
        self.headers = headers
        credentials = CredentialHeaders()
        self.body = body
        self.tls = tls
    }

    /// Method and URL for errors and logs; never with a query, which may be a signature.
    package var summary: String { "\(method) \(shownURL)" }

    /// The URL without its query, or `<redacted>` if it repeats a credential, which a server that named the URL may have put there.
    var shownURL: String { RequestSecrets(self, includesQuery: false).hide(url.base) }

    /// Bytes of the body.
    package var bodyLength: Int64 {
        switch body {
        case .bytes(let bytes): Int64(bytes.readableBytes)
        case .form(let form): Int64(form.body.exposed.readableBytes)
        case .stream(let length, _): length
        case nil: 0
        }
    }

    // MARK: Redirects

    /// Whether the body holds a credential.
    private var hasSecretBody: Bool { if case .form = body { true } else { false } }

    /// Whether the request proves who sends it: by a header, its body or a client certificate.
    var carriesCredentials: Bool {
        !credentials.isEmpty || hasSecretBody || tls?.certificateChain.isEmpty == false
    }

    /// The request for the target of a redirect, without the credentials that belong to another origin.
    ///
    /// - Throws: `CacheError` `.denied` if its body holds a credential and the target is another origin.
    func redirected(to target: ServiceURL) throws(CacheError) -> OutgoingRequest {
        var next = self
        next.url = target
        next.earlierSecrets = RequestSecrets(self)
        guard target.origin != url.origin else { return next }
        guard !hasSecretBody else {
            throw CacheError(
                .denied,
                "\(summary) redirects to \(RequestSecrets(self).hide(target.base)): a request with a password or a token in its body is not sent "
                    + "to another host")
        }
        next.credentials = CredentialHeaders()
        // A client certificate is a credential, too, and an exception for one host does not hold for another.
        next.tls = nil
        return next
    }
}

extension OutgoingRequest: CustomStringConvertible, CustomReflectable {
    /// As ``summary``.
    package var description: String { summary }
    /// A mirror without children.
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// The body of one try: pulled by the connection as fast as it sends.
final class OutgoingBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    // Small enough to tell a slow connection from one that stands still.
    private static let pieceSize = 256 << 10

    private let length: Int64
    private let open: @Sendable () async throws -> BlobStream
    private let activity: Activity
    /// The longest time in which the other side must respond once it has everything.
    private let patience: Duration
    private let failure = Mutex<(any Error)?>(nil)
    private let count = Mutex<Int64>(0)

    init(length: Int64, activity: Activity, patience: Duration, open: @escaping @Sendable () async throws -> BlobStream)
    {
        self.length = length
        self.activity = activity
        self.patience = patience
        self.open = open
    }

    /// The error of the source of the bytes: not a fault of the connection, which breaks off all the same.
    var sourceFailure: (any Error)? { failure.withLock { $0 } }
    /// Bytes handed to the connection.
    var sent: Int64 { count.withLock { $0 } }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self) }

    struct AsyncIterator: AsyncIteratorProtocol {
        let body: OutgoingBody
        private var stream: BlobStream.AsyncIterator?
        private var rest = ByteBuffer()

        init(body: OutgoingBody) { self.body = body }

        mutating func next() async throws -> ByteBuffer? {
            do {
                if rest.readableBytes == 0 { rest = try await nextChunk() }
            } catch {
                body.failure.withLock { $0 = error }
                throw error
            }
            guard let piece = rest.readSlice(length: Swift.min(rest.readableBytes, OutgoingBody.pieceSize)),
                piece.readableBytes > 0
            else {
                body.activity.ended(patience: body.patience)
                return nil
            }
            body.count.withLock { $0 += Int64(piece.readableBytes) }
            body.activity.moved(piece.readableBytes)
            return piece
        }

        /// The next chunk, empty at the end.
        private mutating func nextChunk() async throws -> ByteBuffer {
            var iterator = if let stream { stream } else { try await body.open().makeAsyncIterator() }
            defer { stream = iterator }
            while let chunk = try await iterator.next() {
                guard chunk.readableBytes > 0 else { continue }
                guard body.sent + Int64(chunk.readableBytes) <= body.length else { throw wrongLength("more") }
                return chunk
            }
            guard body.sent == body.length else { throw wrongLength("fewer") }
            return ByteBuffer()
        }

        private func wrongLength(_ word: String) -> CacheError {
            CacheError(.corrupted, "the source gave \(word) than the \(body.length) bytes that were announced")
        }
    }
}
