import BuildCache
import ExampleSupport
import Foundation

/// What a cache has otherwise than an older one, to print.
struct Difference: Encodable {
    var added: [String]
    /// Those of the added records with which the difference begins.
    var origins: [String]
    var removed: [String]
    var changed: [String]
    var addedBytes: Int64
    var removedBytes: Int64

    init(of new: LayerGraph, from old: LayerGraph) throws {
        let difference = new.difference(from: old)
        func names(_ records: [RecordID], in graph: LayerGraph) throws -> [String] {
            try records.map { "\(try graph[$0].digest)" }
        }
        added = try names(difference.added, in: new)
        origins = try names(difference.origins, in: new)
        removed = try names(difference.removed, in: old)
        changed = try names(difference.changed, in: new)
        addedBytes = Difference.bytes(of: difference.addedBlobs)
        removedBytes = Difference.bytes(of: difference.removedBlobs)
    }

    // Sizes are what the cache says: their sum may be more than a number holds.
    private static func bytes(of blobs: [Descriptor]) -> Int64 {
        blobs.reduce(0) { sum, blob in
            let (next, isTooLarge) = sum.addingReportingOverflow(blob.size)
            return isTooLarge ? .max : next
        }
    }

    var text: String {
        let begins = Set(origins)
        var lines = added.map { "+ \($0.prefix(19))" + (begins.contains($0) ? "  here it begins" : "") }
        lines += removed.map { "- \($0.prefix(19))" } + changed.map { "~ \($0.prefix(19))  has another result" }
        lines.append(
            "\(added.count) records added, \(removed.count) removed, \(changed.count) changed; "
                + "blobs: \(size(addedBytes)) added, \(size(removedBytes)) removed")
        return lines.joined(separator: "\n")
    }
}
