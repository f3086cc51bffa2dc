import BuildCacheBytes
import BuildCacheCore

/// What lists told of the layers in a bucket: which are there, and which are not.
struct ListedBlobs: Sendable {
    private var found: [Digest: BlobStat] = [:]
    /// Up to where the lists are complete: `nil` for nothing, a key beyond all others for everything.
    private var coveredThrough: [Range<Digest>] = []
    private var isComplete = false
    /// Layers that may be archived, which only a request for each can tell.
    private var doubtful: Set<Digest> = []

    /// What is known of a layer.
    enum Answer: Hashable {
        case present(BlobStat)
        /// It is there, and may be in an archive tier.
        case doubtful
        case absent
        case unknown
    }

    subscript(digest: Digest) -> Answer {
        if doubtful.contains(digest) { return .doubtful }
        if let stat = found[digest] { return .present(stat) }
        return isComplete || coveredThrough.contains { $0.contains(digest) } ? .absent : .unknown
    }

    /// Takes a page that begins behind `start`, `nil` for the beginning.
    ///
    /// - Parameters:
    ///   - isInOrder: Whether the service lists keys in their order, so that what lies between two of them is all there is.
    ///   - now: The time that ages are counted to.
    mutating func add(_ page: ObjectPage, _ keys: S3Keys, after start: Digest?, isInOrder: Bool, now: Timestamp) {
        var last: Digest?
        var isSorted = isInOrder
        for object in page.objects {
            guard let digest = keys.digest(ofBlob: object.key) else { continue }
            found[digest] = BlobStat(size: object.size, modifiedAt: object.modifiedAt)
            if StoredObject.mayBeArchived(object, now: now) { doubtful.insert(digest) }
            if let last, digest < last { isSorted = false }
            last = digest
        }
        if start == nil, !page.isTruncated {
            isComplete = true
        } else if isSorted, let last {
            let first = start ?? .lowest
            if first < last { coveredThrough.append(first..<last) }
            if !page.isTruncated, last < .highest { coveredThrough.append(last..<Digest.highest) }
        } else if isSorted, !page.isTruncated, let start {
            coveredThrough.append(start..<Digest.highest)
        }
    }
}

extension Digest {
    fileprivate static let lowest = Digest(words: (0, 0, 0, 0))
    fileprivate static let highest = Digest(words: (.max, .max, .max, .max))
}
