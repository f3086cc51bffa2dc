import BuildCacheCore
import BuildCacheHTTP
import NIOHTTP1

/// One page of a list of blobs.
///
/// - Source: Azure Storage REST API, "List Blobs".
struct BlobPage {
    struct Blob: Hashable {
        var name: String
        var properties: BlobProperties
    }
    var blobs: [Blob]
    /// Where the next page begins, `nil` if this is the last.
    var next: String?

    /// - Throws: `CacheError` `.corrupted`, also for an entry without a name or a valid size: it may be a name that needs layers.
    init(_ bytes: [UInt8]) throws(CacheError) {
        let root = try XMLNode.parse(bytes, "EnumerationResults")
        blobs = try (root.first("Blobs")?.all("Blob") ?? []).map { blob throws(CacheError) in
            // The name as it is: space at its ends is part of it.
            guard let name = blob.first("Name")?.text, let properties = blob.first("Properties"),
                let size = properties.value("Content-Length").flatMap({
                    Int64(decimal: $0, in: 0...Descriptor.maximumSize)
                })
            else {
                throw CacheError(
                    .corrupted,
                    "invalid entry in a list of blobs: expected a name, and a size of 0...\(Descriptor.maximumSize) bytes"
                )
            }
            return Blob(
                name: name,
                properties: BlobProperties(
                    size: size, etag: properties.value("Etag").map(BlobPage.quoted),
                    modifiedAt: properties.value("Last-Modified").flatMap { Timestamp(httpDate: $0) }))
        }
        next = root.value("NextMarker")
    }

    /// Lists give tags without the quotes that headers have.
    private static func quoted(_ etag: String) -> String { etag.hasPrefix("\"") ? etag : "\"\(etag)\"" }
}

extension AzureContainer {
    private static let pageLimit = 64 << 20

    /// All blobs whose names begin with `prefix`.
    ///
    /// - Throws: `CacheError` `.notFound` if the container or a page does not exist, `.corrupted` for an entry without a name or a
    ///   valid size, `.limitExceeded` past a million blobs or 15 minutes.
    func blobs(_ prefix: String) async throws -> [BlobPage.Blob] {
        let list = Paginator("the list of blobs of \(container)", requests.transport)
        return try await list.entries(from: String?.none, name: \.name) { marker in
            let place = marker.map { [(name: "marker", value: $0)] } ?? []
            let page = try await page(
                OutgoingRequest(.GET, try url([("comp", "list"), ("prefix", prefix)] + place)))
            return Paginator.Page(page.blobs, next: page.next)
        }
    }

    private func page(_ request: OutgoingRequest) async throws -> BlobPage {
        let retries = requests.transport.retries()
        return try await retries.retry {
            let response = try await requests.send(request, retries: retries)
            guard response.status == .ok else { throw await requests.failure(response, request).error }
            return try BlobPage(try await response.collect(upTo: Self.pageLimit))
        }
    }
}
