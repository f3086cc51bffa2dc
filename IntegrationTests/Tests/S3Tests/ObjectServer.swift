@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheS3
@testable import BuildCacheSpec
@testable import BuildCacheTestServers
@testable import BuildCacheClient
import Foundation
import Synchronization
@testable import TestServers

/// A bucket in this process whose objects may be in any storage class and of any age.
///
/// It knows objects in one piece, copies onto themselves, lists in one page, and conditions on writes. Signatures are not checked, times are.
final class ObjectServer: Sendable {
    struct Object: Sendable {
        var bytes: [UInt8]
        var modified: Timestamp
        var number: Int
        var storageClass: String?
        /// The response headers of HEAD beyond the class.
        var headers: [(name: String, value: String)] = []
        /// Whether reads and copies are refused.
        var isArchived = false
    }
    private struct State {
        var objects: [String: Object] = [:]
        var number = 0
        var requests: [String] = []
        var refusedTimes = 0
    }
    private let state = Mutex(State())
    private let instead: @Sendable (ServerRequest) -> ServerResponse?

    /// - Parameter instead: The response in place of the right one; `nil` for that.
    init(instead: @escaping @Sendable (ServerRequest) -> ServerResponse? = { _ in nil }) { self.instead = instead }

    var keys: [String] { state.withLock { $0.objects.keys.sorted() } }
    /// As in `HEAD blobs/sha256:…`; lists as `LIST`.
    var requests: [String] { state.withLock { $0.requests } }
    /// Requests that were refused for the time of their signature.
    var refusedTimes: Int { state.withLock { $0.refusedTimes } }

    func put(_ key: String, _ bytes: [UInt8], modified: Timestamp = .now()) {
        state.withLock { state in
            state.number += 1
            state.objects[key] = Object(bytes: bytes, modified: modified, number: state.number)
        }
    }

    func change(_ key: String, _ change: (inout Object) -> Void) {
        state.withLock { if var object = $0.objects[key] { change(&object); $0.objects[key] = object } }
    }

    /// Runs `body` with a maker of caches of this bucket, and the bucket.
    func run(
        now: @escaping @Sendable () -> Timestamp = { .now() },
        _ body: @escaping @Sendable (_ cache: (ExportOptions) -> S3Cache, _ bucket: S3Bucket) async throws -> Void
    ) async throws {
        var options = S3Options(bucket: "bkt", region: "us-east-1")
        options.usePathStyle = true
        options.accessKeyID = "id"
        options.secretAccessKey = Secret("secret")
        let given = options
        try await withServer {
            try await self.respond($0)
        } _: { address in
            var options = given
            options.endpointURL = try ServiceURL("http://\(address)")
            let changed = options
            var client = S3Client(environment: .empty)
            client.now = now
            let used = client
            try await ScratchStore.withTemporary { scratch in
                try await body(
                    { S3Cache(changed, export: $0, scratch: scratch, client: used) },
                    try await S3Bucket(changed, client: used))
            }
        }
    }

    private func refusal(_ status: Int, _ code: String, _ more: String = "") -> ServerResponse {
        ServerResponse(status, body: Array("<Error><Code>\(code)</Code><Message>no</Message>\(more)</Error>".utf8))
    }

    private func respond(_ request: ServerRequest) async throws -> ServerResponse {
        let body = try await request.bytes()
        if let response = instead(request) { return response }
        let key = String(request.path.dropFirst("/bkt/".count)).removingPercentEncoding ?? ""
        return state.withLock { state in
            state.requests.append(request.query["list-type"] == nil ? "\(request.method) \(key)" : "LIST")
            guard isTimely(request.headers["x-amz-date"] ?? "") else {
                state.refusedTimes += 1
                return request.method == "HEAD" ? ServerResponse(403) : refusal(403, "RequestTimeTooSkewed")
            }
            if let prefix = request.query["prefix"], request.query["list-type"] != nil {
                return list(
                    state.objects.filter { $0.key.hasPrefix(prefix) && $0.key > request.query["start-after"] ?? "" })
            }
            let object = state.objects[key]
            let archived = refusal(
                403, "InvalidObjectState", "<StorageClass>\(object?.storageClass ?? "")</StorageClass>")
            switch request.method {
            case "PUT":
                if request.headers["x-amz-copy-source"] != nil {
                    guard var object else { return refusal(404, "NoSuchKey") }
                    if object.isArchived { return archived }
                    object.modified = .now()
                    state.objects[key] = object
                    return ServerResponse(200, body: Array("<CopyObjectResult/>".utf8))
                }
                let etag = object.map { "\"\($0.number)\"" }
                if let wanted = request.headers["if-match"], wanted != etag {
                    return object == nil ? refusal(404, "NoSuchKey") : refusal(412, "PreconditionFailed")
                }
                if request.headers["if-none-match"] != nil, object != nil { return refusal(412, "PreconditionFailed") }
                state.number += 1
                state.objects[key] = Object(bytes: body, modified: .now(), number: state.number)
                return ServerResponse(200)
            case "GET", "HEAD":
                guard let object else {
                    return request.method == "HEAD" ? ServerResponse(404) : refusal(404, "NoSuchKey")
                }
                var headers: [(name: String, value: String)] = [("ETag", "\"\(object.number)\"")] + object.headers
                if let storageClass = object.storageClass { headers.append(("x-amz-storage-class", storageClass)) }
                if request.method == "HEAD" {
                    return ServerResponse(200, headers: headers + [("Content-Length", "\(object.bytes.count)")])
                }
                return object.isArchived ? archived : ServerResponse(200, headers: headers, body: object.bytes)
            case "DELETE":
                state.objects[key] = nil
                return ServerResponse(204)
            default: return refusal(405, "MethodNotAllowed")
            }
        }
    }

    /// Whether a request was signed within a quarter of an hour of now.
    private func isTimely(_ text: String) -> Bool {
        let now = Timestamp.now().seconds
        return (now - 900...now + 900).contains { Timestamp(seconds: $0)?.amazonText == text }
    }

    private func list(_ objects: [String: Object]) -> ServerResponse {
        let entries = objects.sorted { $0.key < $1.key }.map { key, object in
            "<Contents><Key>\(key)</Key><Size>\(object.bytes.count)</Size><LastModified>\(object.modified.utc)</LastModified>"
                + "<ETag>&quot;\(object.number)&quot;</ETag><StorageClass>\(object.storageClass ?? "STANDARD")</StorageClass></Contents>"
        }
        return ServerResponse(
            200,
            body: Array("<ListBucketResult><IsTruncated>false</IsTruncated>\(entries.joined())</ListBucketResult>".utf8)
        )
    }
}
