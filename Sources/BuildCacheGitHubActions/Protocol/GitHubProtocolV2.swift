import BuildCacheCore
import BuildCacheHTTP
import NIOHTTP1

/// The second version: the service gives signed URLs, and the bytes go to Azure.
///
/// - Source: `Documentation/Spec/backends.md` §4.3.
struct GitHubProtocolV2: GitHubProtocol {
    var requests: GitHubRequests

    private static let path = "twirp/github.actions.results.api.v1.CacheService"

    /// What the methods answer, of all of them together.
    private struct Answer {
        var isOK = false
        var uploadURL: String?
        var downloadURL: String?
        var matchedKey: String?
        var message: String?
    }

    func find(_ key: String, isPrefix: Bool, retries: Retries) async throws -> FoundEntry? {
        let answer = try await call("GetCacheEntryDownloadURL", key, retries: retries) { writer in
            writer.key("restore_keys")
            writer.beginArray()
            // The key itself must match whole, these only begin like what is found.
            if isPrefix { writer.string(key) }
            writer.endArray()
        } expecting: {
            // What a service may answer that has no such entry, if it does not say ok: false.
            $0 == .notFound
        }
        guard answer.isOK, let url = answer.downloadURL, let found = answer.matchedKey else { return nil }
        return FoundEntry(key: found, url: try ServiceURL(url))
    }

    func reserve(_ key: String, retries: Retries) async throws -> Reservation? {
        let answer: Answer
        do { answer = try await call("CreateCacheEntry", key, retries: retries) } catch is EntryExists { return nil }
        guard answer.isOK, let url = answer.uploadURL else { throw refused("begin", key, answer) }
        return .url(try ServiceURL(url))
    }

    func upload(_ content: EntryContent, to reservation: Reservation, retries: Retries) async throws {
        guard case .url(let url) = reservation else { return }
        let blob = BlockBlob(url, BlobRequests(SignedURL(), transport: requests.transport, now: requests.now))
        let written =
            switch content {
            case .bytes(let bytes): try await blob.put(bytes, .none, retries: retries)
            case .stream(let stream, let size): try await blob.put(stream, size: size, .none, retries: retries)
            }
        guard written == .written else {
            throw CacheError(.unavailable, "\(url.base) is being written by somebody else, too")
        }
    }

    func commit(_ key: String, _ reservation: Reservation, size: Int64, retries: Retries) async throws {
        let answer = try await call("FinalizeCacheEntryUpload", key, retries: retries) { writer in
            writer.key("size_bytes")
            writer.integer(size)
        }
        guard answer.isOK else { throw refused("end", key, answer) }
    }

    private func refused(_ verb: String, _ key: String, _ answer: Answer) -> CacheError {
        let reason = answer.message.map { ": \($0.prefix(300))" } ?? ""
        return CacheError(.unavailable, "\(requests.base.base) does not \(verb) the entry \(key)\(reason)")
    }

    /// Calls a method about a key; `write` adds parameters.
    private func call(
        _ method: String, _ key: String, retries: Retries, _ write: (inout JSONWriter) -> Void = { _ in },
        expecting isExpected: (HTTPResponseStatus) -> Bool = { _ in false }
    ) async throws -> Answer {
        let body = OutgoingRequest.Body.json { writer in
            writer.key("key")
            writer.string(key)
            write(&writer)
            writer.key("version")
            writer.string(requests.version)
        }
        let sent = try await requests.send(
            .POST, "\(GitHubProtocolV2.path)/\(method)", headers: ["Content-Type": "application/json"], body: body,
            retries: retries, expecting: isExpected)
        var answer = Answer()
        guard (200..<300).contains(sent.status.code) else { return answer }
        try JSONReader.read(sent.body, as: "answer") { reader throws(CacheError) in
            guard try reader.beginObject() else { return }
            while let key = try reader.nextKey() {
                switch key {
                case "ok": answer.isOK = try reader.bool()
                case "signed_upload_url": answer.uploadURL = try reader.nonEmpty()
                case "signed_download_url": answer.downloadURL = try reader.nonEmpty()
                case "matched_key": answer.matchedKey = try reader.nonEmpty()
                case "message": answer.message = sent.response.shown(try reader.nonEmpty())
                default: try reader.skipValue()
                }
            }
        }
        return answer
    }
}

extension JSONReader {
    fileprivate mutating func nonEmpty() throws(CacheError) -> String? {
        try string().flatMap { $0.isEmpty ? nil : $0 }
    }
}
