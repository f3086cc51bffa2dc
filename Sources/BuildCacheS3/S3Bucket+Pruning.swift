import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import BuildCacheSpec
import NIOHTTP1

extension S3Bucket {
    /// All objects whose keys begin with `prefix`, by key.
    func objects(_ prefix: String) async throws -> [String: ObjectPage.Object] {
        var objects: [String: ObjectPage.Object] = [:]
        var place: (name: String, value: String)?
        while true {
            var request = S3Request(.GET, nil, permission: "s3:ListBucket on \(options.bucket)")
            request.query = [("list-type", "2"), ("max-keys", "1000"), ("prefix", prefix)]
            if let place { request.query.append(place) }
            let page = try await document(request) { try ObjectPage($0) }
            for object in page.objects { objects[object.key] = object }
            guard page.isTruncated else { return objects }
            // Some services give no token; all go on behind a key.
            let next = page.next.map { ("continuation-token", $0) } ?? page.objects.last.map { ("start-after", $0.key) }
            guard let next, place.map({ $0 != next }) ?? true else {
                throw CacheError(
                    .unsupported, "the service lists objects in pages, and does not say where the next begins")
            }
            place = next
        }
    }

    /// Removes an object unless it has changed since it was listed, and says whether it is gone.
    ///
    /// Looked at just before, because few services delete on a condition. Ages are compared by the second: the answer to a HEAD has no
    /// more of them.
    func remove(_ key: String, listed: StoredObject) async throws -> Bool {
        guard let found = try await head(key) else { return true }
        guard found.size == listed.size, found.modifiedAt?.seconds == listed.modifiedAt?.seconds,
            listed.etag == nil || found.etag == nil || listed.etag == found.etag
        else { return false }
        await (try await send(S3Request(.DELETE, key, permission: "s3:DeleteObject"))).discard()
        return true
    }
}

/// What is known of an object without reading it.
struct StoredObject: Hashable {
    var size: Int64
    var modifiedAt: Timestamp?
    var etag: String?
}
