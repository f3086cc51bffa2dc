package import BuildCacheBytes
package import BuildCacheCore
import BuildCacheHTTP
import BuildCacheClient
import Logging
import NIOHTTP1

extension S3Bucket {
    /// A page that answers for fewer layers than this costs more than asking for each.
    private static let usefulPage = 4
    private static let pageSize = 1000
    /// Layers asked for at once, and parts of the list read at once.
    private static let checksInFlight = 16
    private static let listsInFlight = 4

    /// Sizes and ages of those of the layers that are there and can be read.
    ///
    /// One list tells of a thousand at a time; the next begins where the next unknown layer would be. A layer that no list tells of is
    /// asked for by itself, as all are where the credentials may not list.
    ///
    /// - Parameter isLenient: Whether what looks forbidden counts as absent: for who has read something of the bucket already.
    package func find(_ digests: some Sequence<Digest>, isLenient: Bool = false) async throws -> [Digest: BlobStat] {
        try await findAll(digests, isLenient: isLenient).found
    }

    /// The layers that ``find(_:isLenient:)`` finds, and the tiers of those that are archived.
    func findAll(
        _ digests: some Sequence<Digest>, isLenient: Bool
    ) async throws -> (found: [Digest: BlobStat], archived: [Digest: ArchivedBlob]) {
        let wanted = Set(digests).filter { !isDamaged($0) }.sorted()
        let (found, unknown) = try await reporting("list") { try await listed(wanted) }
        let asked = try await unknown.mapConcurrently(limit: S3Bucket.checksInFlight) {
            digest -> (Digest, (object: StoredObject?, archived: ArchivedBlob?)) in
            do {
                return (digest, try await reporting("look up", "\(digest)") { try await readable(digest) })
            } catch let error as CacheError where isLenient && error.code == .denied {
                return (digest, (object: nil, archived: nil))
            }
        }
        var (all, archived) = (found, [Digest: ArchivedBlob]())
        for (digest, told) in asked {
            if let object = told.object { all[digest] = BlobStat(size: object.size, modifiedAt: object.modifiedAt) }
            archived[digest] = told.archived
        }
        return (all, archived)
    }

    /// The layers that lists show, and those that have to be asked for one by one, in their order.
    private func listed(_ wanted: [Digest]) async throws -> (found: [Digest: BlobStat], unknown: [Digest]) {
        guard let first = wanted.first else { return ([:], []) }
        let now = self.now
        var listed = ListedBlobs()
        do {
            let page = try await list(from: first, limit: wanted.count == 1 ? 1 : S3Bucket.pageSize)
            listed.add(page, keys, after: first, isInOrder: service.vendor.listsInOrder, now: now)
        } catch let failure as S3Failure where failure.code == "AccessDenied" {
            transport.logger.debug("the bucket cannot be listed", metadata: ["error": "\(failure.error)"])
            return ([:], wanted)
        }
        let (found, unknown, doubtful) = listed.sort(wanted)
        guard !unknown.isEmpty, wanted.count - unknown.count >= S3Bucket.usefulPage else {
            return (found, unknown + doubtful)
        }
        let length = max(S3Bucket.usefulPage, (unknown.count + S3Bucket.listsInFlight - 1) / S3Bucket.listsInFlight)
        let slices = stride(from: 0, to: unknown.count, by: length).map {
            unknown[$0..<min($0 + length, unknown.count)]
        }
        let rest = try await slices.mapConcurrently(limit: S3Bucket.listsInFlight) { slice in
            var listed = ListedBlobs()
            var unknown = Array(slice)
            while let next = unknown.first {
                let page = try await list(from: next)
                listed.add(page, keys, after: next, isInOrder: service.vendor.listsInOrder, now: now)
                unknown = listed.sort(unknown).unknown
                // A list that does not tell of where it begins is in no order.
                if unknown.first == next { break }
            }
            return listed.sort(slice)
        }
        return rest.reduce((found, doubtful)) { all, part in
            (all.0.merging(part.found) { first, _ in first }, all.1 + part.unknown + part.doubtful)
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
    /// The layers that are known to be there, those of which nothing is known, and those that may be archived.
    fileprivate func sort(
        _ digests: some Sequence<Digest>
    ) -> (found: [Digest: BlobStat], unknown: [Digest], doubtful: [Digest]) {
        var found: [Digest: BlobStat] = [:]
        var unknown: [Digest] = []
        var doubtful: [Digest] = []
        for digest in digests {
            switch self[digest] {
            case .present(let stat): found[digest] = stat
            case .absent: break
            case .unknown: unknown.append(digest)
            case .doubtful: doubtful.append(digest)
            }
        }
        return (found, unknown, doubtful)
    }
}
