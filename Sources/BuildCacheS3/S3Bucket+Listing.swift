package import BuildCacheBytes
package import BuildCacheCore
import BuildCacheSpec
import BuildCacheHTTP
import BuildCacheTransfer
import Logging
import NIOHTTP1

extension S3Bucket {
    /// A page that answers for fewer layers than this costs more than asking for each.
    private static let usefulPage = 4
    private static let pageSize = 1000
    /// Layers asked for at once, and parts of the list read at once.
    private static let checksInFlight = 16
    private static let listsInFlight = 4

    /// Sizes and ages of those of the layers that are there.
    ///
    /// One list tells of a thousand at a time; the next begins where the next unknown layer would be. A layer that no list tells of is
    /// asked for by itself, as all are where the credentials may not list.
    ///
    /// - Parameter isLenient: Whether what looks forbidden counts as absent: for who has read something of the bucket already.
    package func find(_ digests: some Sequence<Digest>, isLenient: Bool = false) async throws -> [Digest: BlobStat] {
        let wanted = Set(digests).sorted()
        let (found, unknown) = try await reporting("list") { try await listed(wanted) }
        let asked = try await unknown.mapConcurrently(limit: S3Bucket.checksInFlight) {
            digest -> (Digest, BlobStat)? in
            do {
                return try await stat(digest).map { (digest, $0) }
            } catch let error as CacheError where isLenient && error.code == .denied {
                return nil
            }
        }
        return found.merging(asked.compactMap { $0 }) { listed, _ in listed }
    }

    /// What lists tell of these, in their order, and those of which they tell nothing.
    private func listed(_ wanted: [Digest]) async throws -> (found: [Digest: BlobStat], unknown: [Digest]) {
        guard let first = wanted.first else { return ([:], []) }
        var listed = ListedBlobs()
        do {
            let page = try await list(from: first, limit: wanted.count == 1 ? 1 : S3Bucket.pageSize)
            listed.add(page, keys, after: first, isInOrder: service.vendor.listsInOrder)
        } catch let failure as S3Failure where failure.code == "AccessDenied" {
            transport.logger.debug("the bucket cannot be listed", metadata: ["error": "\(failure.error)"])
            return ([:], wanted)
        }
        let (found, unknown) = listed.sort(wanted)
        guard !unknown.isEmpty, wanted.count - unknown.count >= S3Bucket.usefulPage else { return (found, unknown) }
        let length = max(S3Bucket.usefulPage, (unknown.count + S3Bucket.listsInFlight - 1) / S3Bucket.listsInFlight)
        let slices = stride(from: 0, to: unknown.count, by: length).map {
            unknown[$0..<min($0 + length, unknown.count)]
        }
        let rest = try await slices.mapConcurrently(limit: S3Bucket.listsInFlight) { slice in
            var listed = ListedBlobs()
            var unknown = Array(slice)
            while let next = unknown.first {
                listed.add(try await list(from: next), keys, after: next, isInOrder: service.vendor.listsInOrder)
                unknown = listed.sort(unknown).unknown
                // A list that does not tell of where it begins is in no order.
                if unknown.first == next { break }
            }
            return listed.sort(slice)
        }
        return rest.reduce((found, [])) { all, part in
            (all.0.merging(part.found) { first, _ in first }, all.1 + part.unknown)
        }
    }

    /// A page of the list of layers, beginning with this one.
    private func list(from digest: Digest, limit: Int = S3Bucket.pageSize) async throws -> ObjectPage {
        var request = S3Request(.GET, nil, permission: "s3:ListBucket on \(options.bucket)")
        request.query = [
            ("list-type", "2"), ("max-keys", "\(limit)"), ("prefix", keys.blobListing),
            // Behind all that comes before it, as lists begin behind a key.
            ("start-after", String(keys.blob(digest).dropLast())),
        ]
        return try await document(request) { try ObjectPage($0) }
    }
}

extension ListedBlobs {
    /// What is known to be there of these, and of which nothing is known.
    fileprivate func sort(_ digests: some Sequence<Digest>) -> (found: [Digest: BlobStat], unknown: [Digest]) {
        var found: [Digest: BlobStat] = [:]
        var unknown: [Digest] = []
        for digest in digests {
            switch self[digest] {
            case .present(let stat): found[digest] = stat
            case .absent: break
            case .unknown: unknown.append(digest)
            }
        }
        return (found, unknown)
    }
}
