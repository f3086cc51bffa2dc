@testable import BuildCacheCore
import Foundation
import Synchronization
@testable import TestServers

/// A bucket in this process that is as it should be, and takes every signature.
///
/// - Source: S3 API.
final class BucketServer: Sendable {
    private struct State {
        var objects: [String: [UInt8]] = [:]
        var uploads: [String: [Int: [UInt8]]] = [:]
        var lastUpload = 0
    }
    private let state = Mutex(State())

    func respond(_ request: ServerRequest) async throws -> ServerResponse {
        let body = try await request.bytes()
        let path = request.path.split(separator: "/", maxSplits: 1).map { String($0).removingPercentEncoding ?? "" }
        guard path.count == 2 else { return list(request.query) }
        return state.withLock { answer(request, path[1], body, &$0) }
    }

    private func answer(
        _ request: ServerRequest, _ key: String, _ body: [UInt8], _ state: inout State
    ) -> ServerResponse {
        let query = request.query
        switch request.method {
        case "POST" where query["uploads"] != nil:
            state.lastUpload += 1
            state.uploads["u\(state.lastUpload)"] = [:]
            return xml(
                "<InitiateMultipartUploadResult><UploadId>u\(state.lastUpload)</UploadId></InitiateMultipartUploadResult>"
            )
        case "POST":
            guard let id = query["uploadId"], let parts = state.uploads.removeValue(forKey: id) else {
                return refusal(404, "NoSuchUpload")
            }
            state.objects[key] = parts.sorted { $0.key < $1.key }.flatMap(\.value)
            return xml(
                "<CompleteMultipartUploadResult><ETag>\(tag(state.objects[key]))</ETag></CompleteMultipartUploadResult>"
            )
        case "PUT":
            if let id = query["uploadId"], let number = query["partNumber"].flatMap({ Int($0) }) {
                state.uploads[id]?[number] = body
                return ServerResponse(200, headers: [("ETag", tag(body))])
            }
            if request.headers["x-amz-copy-source"] != nil {
                return xml("<CopyObjectResult><ETag>\(tag(state.objects[key]))</ETag></CopyObjectResult>")
            }
            let current = state.objects[key]
            if let wanted = request.headers["if-match"], wanted != tag(current) {
                return refusal(412, "PreconditionFailed")
            }
            if request.headers["if-none-match"] != nil, current != nil { return refusal(412, "PreconditionFailed") }
            state.objects[key] = body
            return ServerResponse(200, headers: [("ETag", tag(body))])
        case "DELETE":
            if let id = query["uploadId"] { state.uploads[id] = nil } else { state.objects[key] = nil }
            return ServerResponse(204)
        default:
            guard let bytes = state.objects[key] else { return refusal(404, "NoSuchKey") }
            return object(bytes, request.headers["range"])
        }
    }

    private func object(_ bytes: [UInt8], _ range: String?) -> ServerResponse {
        var headers = [(name: "ETag", value: tag(bytes)), ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")]
        let ends = (range ?? "").trimmingPrefix("bytes=").split(separator: "-").compactMap { Int($0) }
        guard ends.count == 2, ends[0] < bytes.count else { return ServerResponse(200, headers: headers, body: bytes) }
        let last = min(ends[1], bytes.count - 1)
        headers.append(("Content-Range", "bytes \(ends[0])-\(last)/\(bytes.count)"))
        return ServerResponse(206, headers: headers, body: Array(bytes[ends[0]...last]))
    }

    private func list(_ query: [String: String]) -> ServerResponse {
        if query["uploads"] != nil {
            return xml("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>")
        }
        let (prefix, after) = (query["prefix"] ?? "", query["start-after"] ?? query["continuation-token"] ?? "")
        let entries = state.withLock { $0.objects }.filter { $0.key.hasPrefix(prefix) && $0.key > after }.sorted {
            $0.key < $1.key
        }
        let page = entries.prefix(min(3, query["max-keys"].flatMap { Int($0) } ?? 1000))
        let contents = page.map { key, bytes in
            "<Contents><Key>\(key)</Key><Size>\(bytes.count)</Size><ETag>\(tag(bytes))</ETag>"
                + "<LastModified>1994-11-06T08:49:37.000Z</LastModified></Contents>"
        }
        let rest = page.count < entries.count
        let next = rest ? page.last.map { "<NextContinuationToken>\($0.key)</NextContinuationToken>" } ?? "" : ""
        return xml("<ListBucketResult><IsTruncated>\(rest)</IsTruncated>\(next)\(contents.joined())</ListBucketResult>")
    }

    private func tag(_ bytes: [UInt8]?) -> String { "\"\(Digest(of: bytes ?? []).hex.prefix(32))\"" }

    private func xml(_ text: String) -> ServerResponse {
        ServerResponse(200, headers: [("Content-Type", "application/xml")], body: Array(text.utf8))
    }

    private func refusal(_ status: Int, _ code: String) -> ServerResponse {
        ServerResponse(
            status, headers: [("Content-Type", "application/xml")],
            body: Array("<Error><Code>\(code)</Code><Message>no</Message></Error>".utf8))
    }
}
