import BuildCacheCore

/// A parser of bytes from outside, as the fuzzer and the replay of its corpus call it.
///
/// Inputs may be refused with a `CacheError`, in one line. Every other error, and every end of the process, is a fault.
public struct FuzzTarget: Sendable, CustomStringConvertible {
    /// Its name, and that of its folder in `Fuzz/Corpus`.
    public let name: String
    /// Reads one input.
    private let read: @Sendable (FuzzInput) async throws -> Void
    /// Whether a file of the fixtures is worth beginning with.
    private let isSeed: @Sendable (_ path: String, _ bytes: [UInt8]) -> Bool
    /// The name.
    public var description: String { name }

    init(
        _ name: String, seeds isSeed: @escaping @Sendable (_ path: String, _ bytes: [UInt8]) -> Bool,
        _ read: @escaping @Sendable (FuzzInput) async throws -> Void
    ) {
        self.name = name
        self.isSeed = isSeed
        self.read = read
    }

    /// All targets.
    public static let all = text + documents + layers + trees + servers + keys + signatures

    /// Reads one input.
    ///
    /// - Throws: `FuzzFault` if the input makes the library break one of its promises.
    public func run(_ bytes: [UInt8]) async throws {
        do {
            try await read(FuzzInput(bytes))
        } catch let error as CacheError {
            for text in [error.description, error.message] {
                let isOneLine = text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }
                guard isOneLine else { throw FuzzFault("an error has control characters: \(text.debugDescription)") }
                guard text.utf8.count <= 8192 else { throw FuzzFault("an error has \(text.utf8.count) bytes") }
            }
        }
    }

    /// Whether to begin with a file of the fixtures.
    public func begins(with path: String, _ bytes: [UInt8]) -> Bool { bytes.count <= 64 << 10 && isSeed(path, bytes) }
}

/// A promise that the library broke.
public struct FuzzFault: Error, CustomStringConvertible {
    /// In one line.
    public let description: String

    init(_ description: String) { self.description = description }
}

/// Fails the input unless `isKept`.
func check(_ isKept: Bool, _ fault: @autoclosure () -> String) throws(FuzzFault) {
    guard isKept else { throw FuzzFault(fault()) }
}

/// The bytes that the fuzzer made, whole or in parts.
struct FuzzInput: Sendable {
    let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The bytes as text, with replacement characters for what is not UTF-8.
    var text: String { String(decoding: bytes, as: UTF8.self) }
    /// The first byte, which chooses between ways to read the rest.
    var choice: UInt8 { bytes.first ?? 0 }
    /// All but the first byte.
    var rest: FuzzInput { FuzzInput(Array(bytes.dropFirst())) }
    /// The parts between bytes of 0.
    var parts: [FuzzInput] {
        bytes.split(separator: 0, omittingEmptySubsequences: false).map { FuzzInput(Array($0)) }
    }
    /// A part as text, empty if there are fewer.
    func text(_ part: Int) -> String {
        let parts = parts
        return parts.indices.contains(part) ? parts[part].text : ""
    }
}
