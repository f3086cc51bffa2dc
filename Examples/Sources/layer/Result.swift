import BuildCacheClient
import Foundation

/// The outcome of packing or unpacking, to print.
struct Result: Encodable {
    struct Skipped: Encodable {
        var path: String
        var what: String
        var reason: String

        init(_ part: UnpackReport.Skipped) {
            (path, what, reason) = (part.path, part.what, part.reason)
        }
    }

    var diffID: String?
    var entries: Int64
    var bytes: Int64
    /// The number of parts that were left out; the first 1000 are listed.
    var leftOut: Int64
    var skipped: [Skipped]

    func show(asJSON: Bool) throws {
        guard !asJSON else { return print(try json) }
        let size = bytes.formatted(.byteCount(style: .binary))
        var lines = [
            [diffID.map { "diffID \($0)" }, "\(entries) entries", size, leftOut > 0 ? "\(leftOut) left out" : nil]
                .compactMap { $0 }.joined(separator: "  ")
        ]
        lines += skipped.map { "  \($0.path): \($0.what) (\($0.reason))" }
        print(lines.joined(separator: "\n"))
    }
}

/// An error, to print.
struct Refusal: Encodable {
    /// The code, as in `corrupted`.
    var error: String
    var message: String
}

extension Encodable {
    /// One line of JSON with sorted keys.
    var json: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }
}
