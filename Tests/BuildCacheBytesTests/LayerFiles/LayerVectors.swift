import Foundation
import TestTools
import Testing

@testable import BuildCacheBytes

/// The cases of `spec/vectors/layer-files/cases.json`, which says how to read them.
struct LayerVectors: Decodable {
    struct Node: Decodable {
        var type: String
        var text: String?
        var target: String?
        var to: String?
        var mode: String?
        var uid: UInt32?
        var gid: UInt32?
        var mtime: Time?
        var implicit: Bool?
        var anyTime: Bool?
        var xattrs: [String: String]?
        var opaque: Bool?
        var major: UInt32?
        var minor: UInt32?
    }

    /// Seconds, a text if there is a fraction.
    struct Time: Decodable {
        var time: FileTime

        init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            if let seconds = try? value.decode(Int64.self) {
                time = FileTime(seconds: seconds)
                return
            }
            let parts = try value.decode(String.self).split(separator: ".")
            let digits = String(parts[1]).padding(toLength: 9, withPad: "0", startingAt: 0)
            let seconds = try #require(Int64(parts[0]))
            let nanoseconds = try #require(Int32(digits))
            time =
                parts[0].hasPrefix("-")
                ? FileTime(seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds)
                : FileTime(seconds: seconds, nanoseconds: nanoseconds)
        }
    }

    struct Options: Decodable {
        struct Limits: Decodable {
            var bytes: Int64?
            var entries: Int64?
        }
        var limits: Limits?
    }

    struct Unpack: Decodable, CustomTestStringConvertible, Sendable {
        var name: String
        var tar: String
        var base: String?
        var mode: String?
        var options: Options?
        var expect: String
        var error: String?
        var tree: [String: Node]?
        var treeIsPartial: Bool?
        var rootOpaque: Bool?
        var skipped: [[String]]?
        var withDevices: [String: Node]?
        var testDescription: String { name }
    }

    struct Pack: Decodable, CustomTestStringConvertible, Sendable {
        var name: String
        var kind: String
        var tree: [String: Node]
        var base: [String: Node]?
        var latestTime: Int64?
        var tar: String
        var diffID: String
        var testDescription: String { name }
    }

    var unpack: [Unpack]
    var pack: [Pack]

    static let folder = FixtureArchive.vectors.path + "/layer-files"

    static let all: LayerVectors = {
        do {
            let text = try String(contentsOf: URL(filePath: folder + "/cases.json"), encoding: .utf8)
            return try JSONDecoder().decode(LayerVectors.self, from: Data(ascii(text).utf8))
        } catch { fatalError("the vectors cannot be read: \(error)") }
    }()

    /// The same JSON with `%uXXXX` for characters that are not ASCII: strings that are spelled otherwise are equal in Swift.
    private static func ascii(_ text: String) -> String {
        let escaped = text.replacing(#/\\u([0-9a-f]{4})/#) { match in
            (UInt32(match.1, radix: 16) ?? 0) < 0x80 ? String(match.0) : "%u\(match.1)"
        }
        return escaped.unicodeScalars.map { scalar in
            let digits = String(scalar.value, radix: 16)
            let zeros = String(repeating: "0", count: max(0, 4 - digits.count))
            return scalar.isASCII ? String(scalar) : "%u\(zeros)\(digits)"
        }.joined()
    }

    /// The bytes of a name or a text.
    static func bytes(_ name: String) -> [UInt8] {
        guard name.hasPrefix("%hex:") else {
            let text = name.replacing(#/%u([0-9a-f]{4})/#) { match in
                UInt32(match.1, radix: 16).flatMap(Unicode.Scalar.init).map { String($0) } ?? ""
            }
            return Array(text.utf8)
        }
        var digits = Substring(name.dropFirst(5))
        var bytes: [UInt8] = []
        while let byte = UInt8(digits.prefix(2), radix: 16) {
            bytes.append(byte)
            digits = digits.dropFirst(2)
        }
        return bytes
    }

    /// The name of some bytes in a tree, the same for the same bytes.
    static func name(_ bytes: some Collection<UInt8>) -> String {
        let bytes = Array(bytes)
        if bytes.allSatisfy({ $0 < 0x80 }) { return String(decoding: bytes, as: UTF8.self) }
        return "%hex:" + bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// The same tree under the names of ``name(_:)``.
    static func named(_ tree: [String: Node]) -> [String: Node] {
        Dictionary(uniqueKeysWithValues: tree.map { (name(bytes($0)), $1) })
    }
}
