import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import NIOCore
import NIOHTTP1

/// The first version: the entries' bytes go to the service itself.
///
/// - Source: `Documentation/Spec/backends.md` §4.2.
struct GitHubProtocolV1: GitHubProtocol {
    var requests: GitHubRequests

    private static let path = "_apis/artifactcache"
    private static let accept = "application/json;api-version=6.0-preview.1"

    func find(_ key: String, isPrefix: Bool, retries: Retries) async throws -> FoundEntry? {
        let query = "keys=\(key.percentEncoded)&version=\(requests.version)"
        let answer = try await send(.GET, "cache?\(query)", retries: retries) { $0 == .notFound }
        guard !answer.body.isEmpty else { return nil }
        var found: String?
        var location: String?
        try JSONReader.read(answer.body, as: "cache entry") { reader throws(CacheError) in
            guard try reader.beginObject() else { return }
            while let key = try reader.nextKey() {
                switch key {
                case "cacheKey": found = try reader.string()
                case "archiveLocation": location = try reader.string()
                default: try reader.skipValue()
                }
            }
        }
        guard let found, let location, !found.isEmpty, !location.isEmpty else { return nil }
        return FoundEntry(key: found, url: try ServiceURL(location))
    }

    func reserve(_ key: String, retries: Retries) async throws -> Reservation? {
        let body = OutgoingRequest.Body.json { writer in
            writer.key("key")
            writer.string(key)
            writer.key("version")
            writer.string(requests.version)
        }
        let answer: GitHubRequests.Answer
        do { answer = try await send(.POST, "caches", body: body, retries: retries) } catch is EntryExists {
            return nil
        }
        var number: Int64 = 0
        try JSONReader.read(answer.body, as: "reservation") { reader throws(CacheError) in
            guard try reader.beginObject() else { return }
            while let key = try reader.nextKey() {
                // Upper and lower case do not count.
                switch key {
                case "cacheID": number = try reader.number(as: "cacheId", in: 0...Int64.max)
                default: try reader.skipValue()
                }
            }
        }
        guard number != 0 else {
            throw CacheError(.unsupported, "\(requests.base.base) reserves an entry without a number")
        }
        return .number(number)
    }

    func upload(_ content: EntryContent, to reservation: Reservation, retries: Retries) async throws {
        guard case .number(let number) = reservation, content.size > 0 else { return }
        let stream =
            switch content {
            case .bytes(let bytes): BlobStream(ByteBuffer(bytes: bytes))
            case .stream(let stream, _): stream
            }
        _ = try await stream.forEachPart(of: BlockBlob.blockSize, limit: BlockBlob.blocksInFlight) { part in
            let headers: HTTPHeaders = [
                "Accept": GitHubProtocolV1.accept, "Content-Type": "application/octet-stream",
                "Content-Range": "bytes \(part.offset)-\(part.offset + part.length - 1)/*",
            ]
            _ = try await requests.send(
                .PATCH, "\(GitHubProtocolV1.path)/caches/\(number)", headers: headers,
                body: .stream(length: part.length) { part.stream }, retries: retries)
            retries.madeProgress()
        }
    }

    func commit(_ key: String, _ reservation: Reservation, size: Int64, retries: Retries) async throws {
        guard case .number(let number) = reservation else { return }
        let body = OutgoingRequest.Body.json { writer in
            writer.key("size")
            writer.integer(size)
        }
        _ = try await send(.POST, "caches/\(number)", body: body, retries: retries)
    }

    private func send(
        _ method: HTTPMethod, _ path: String, body: OutgoingRequest.Body? = nil, retries: Retries,
        expecting isExpected: (HTTPResponseStatus) -> Bool = { _ in false }
    ) async throws -> GitHubRequests.Answer {
        var headers: HTTPHeaders = ["Accept": GitHubProtocolV1.accept]
        if body != nil { headers.add(name: "Content-Type", value: "application/json") }
        return try await requests.send(
            method, "\(GitHubProtocolV1.path)/\(path)", headers: headers, body: body, retries: retries,
            expecting: isExpected)
    }
}
