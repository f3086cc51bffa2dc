package import Foundation

/// A JSON document of inputs and right answers, as a value that tests can pass around.
package enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    case number(Int64)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    package init(_ data: Data) throws {
        self = JSONValue(try JSONSerialization.jsonObject(with: data, options: .fragmentsAllowed))
    }

    private init(_ value: Any) {
        switch value {
        case let text as String: self = .string(text)
        case let number as NSNumber:
            // A boolean is a number, too, and tells itself by its type alone.
            let isBool = String(cString: number.objCType) == "c"
            self = isBool ? .bool(number.boolValue) : .number(number.int64Value)
        case let array as [Any]: self = .array(array.map { JSONValue($0) })
        case let object as [String: Any]: self = .object(object.mapValues { JSONValue($0) })
        default: self = .null
        }
    }

    package subscript(key: String) -> JSONValue {
        if case .object(let object) = self { object[key] ?? .null } else { .null }
    }
    package var object: [String: JSONValue] { if case .object(let object) = self { object } else { [:] } }
    package var array: [JSONValue] { if case .array(let array) = self { array } else { [] } }
    package var string: String? { if case .string(let string) = self { string } else { nil } }
    package var number: Int64? { if case .number(let number) = self { number } else { nil } }
    package var bool: Bool { if case .bool(let bool) = self { bool } else { false } }
    package var strings: [String] { array.compactMap(\.string) }
    /// The bytes of text in base64.
    package var base64: [UInt8]? { string.flatMap { Data(base64Encoded: $0) }.map { Array($0) } }
    /// Whether the key was absent or null.
    package var isNull: Bool { self == .null }
}

extension FixtureArchive {
    /// A file of inputs and right answers, as in `cache-keys/exec-ops.json`.
    package static func document(_ path: String) throws -> JSONValue {
        try JSONValue(Data(contentsOf: vectors.appending(path: path)))
    }
}
