import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import BuildCacheClient
import NIOHTTP1

extension S3Bucket {
    /// The parameter that a page of a list begins with.
    private struct Place: Hashable {
        var name: String
        var value: String
    }

    /// All objects whose keys begin with `prefix`, by key.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past a million objects or 15 minutes.
    func objects(_ prefix: String) async throws -> [String: ObjectPage.Object] {
        let list = Paginator("the list of objects of \(options.bucket)", transport)
        let objects = try await list.entries(from: Place?.none, name: \.key) { place in
            var request = S3Request(.GET, nil, permission: "s3:ListBucket on \(options.bucket)")
            request.query = [("list-type", "2"), ("max-keys", "1000"), ("prefix", prefix)]
            if let place { request.query.append((place.name, place.value)) }
            let page = try await document(request) { try ObjectPage($0) }
            guard page.isTruncated else { return Paginator.Page(page.objects, next: Place?.none) }
            // Some services give no token; all go on behind a key.
            let next =
                page.next.map { Place(name: "continuation-token", value: $0) }
                ?? page.objects.last.map { Place(name: "start-after", value: $0.key) }
            guard let next else {
                throw CacheError(
                    .unsupported, "the service lists objects in pages, and does not say where the next begins")
            }
            return Paginator.Page(page.objects, next: next)
        }
        return Dictionary(objects.map { ($0.key, $0) }) { _, later in later }
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
    /// The archive tier that keeps it from being read now.
    var archived: ArchivedBlob?

    /// The storage classes and access tiers of objects that must be restored before they are read, the longer names first.
    ///
    /// - Source: S3 API, HeadObject: `x-amz-storage-class`, `x-amz-archive-status`. Other vendors use the first two classes.
    static let archives = ["DEEP_ARCHIVE_ACCESS", "ARCHIVE_ACCESS", "DEEP_ARCHIVE", "GLACIER"]
    /// Days without a read after which an object of the class INTELLIGENT_TIERING may be archived, less one.
    private static let tieringDays: Int64 = 89

    /// Whether a list leaves open if the object can be read: it tells neither of restored copies nor of tiers.
    static func mayBeArchived(_ object: ObjectPage.Object, now: Timestamp) -> Bool {
        switch object.storageClass {
        case "GLACIER", "DEEP_ARCHIVE": true
        case "INTELLIGENT_TIERING":
            object.modifiedAt.map { now.elapsed(since: $0) > .seconds(tieringDays * 86_400) } ?? true
        default: false
        }
    }

    /// The archive tier that the headers of an object tell of; `nil` if it can be read, also for being restored.
    static func archived(_ headers: HTTPHeaders) -> ArchivedBlob? {
        if headers.first(name: "x-amz-restore")?.contains(#"ongoing-request="false""#) == true { return nil }
        let told = ["x-amz-archive-status", "x-amz-storage-class"].compactMap { headers.first(name: $0) }
        return told.first { archives.contains($0) }.map { ArchivedBlob(tier: $0) }
    }
}
