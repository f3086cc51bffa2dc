/// Writes JSON exactly as Go's `encoding/json` does: compact or indented, keys in the order they are written, `<`, `>`,
/// `&`, U+2028 and U+2029 escaped, `/` not.
///
/// It writes what it is told and checks no structure: the documents here are few, and their golden bytes are tested.
///
/// - Source: `Documentation/Spec/cache-format.md` §1; Go `encoding/json` `appendString` with HTML escaping.
package struct JSONWriter {
    package private(set) var bytes: [UInt8] = []
    private var needsComma = false
    private let isIndented: Bool
    private var depth = 0
    private var followsKey = false
    private var hasBegun = false

    /// Starts a document; with `indented`, it is laid out as Go's `MarshalIndent` does with a tab for each level.
    package init(reservingCapacity capacity: Int = 0, indented: Bool = false) {
        isIndented = indented
        bytes.reserveCapacity(capacity)
    }

    /// Returns the bytes written since this was last called, which the writer then forgets.
    package mutating func takeBytes() -> [UInt8] {
        defer { bytes.removeAll(keepingCapacity: true) }
        return bytes
    }

    // MARK: Structure

    package mutating func beginObject() { open(UInt8(ascii: "{")) }
    package mutating func endObject() { close(UInt8(ascii: "}")) }
    package mutating func beginArray() { open(UInt8(ascii: "[")) }
    package mutating func endArray() { close(UInt8(ascii: "]")) }

    /// A key of this package's own, which needs no escapes.
    package mutating func key(_ name: StaticString) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        name.withUTF8Buffer { bytes.append(contentsOf: $0) }
        bytes.append(UInt8(ascii: "\""))
        colon()
    }

    /// A key from outside.
    package mutating func key(_ name: String) {
        string(name)
        colon()
    }

    // MARK: Values

    package mutating func integer(_ value: some BinaryInteger) {
        separate()
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        var digits: (UInt64, UInt64, UInt64) = (0, 0, 0)
        var rest = UInt64(value.magnitude)
        withUnsafeMutableBytes(of: &digits) { buffer in
            var start = buffer.count
            repeat {
                start -= 1
                buffer[start] = 48 + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            bytes.append(contentsOf: buffer[start...])
        }
    }

    package mutating func bool(_ value: Bool) { raw(value ? "true" : "false") }
    package mutating func null() { raw("null") }

    package mutating func digest(_ value: Digest) {
        separate()
        appendInPlace(73) { buffer in
            buffer.copyBytes(from: "\"sha256:".utf8)
            value.writeHex(into: UnsafeMutableRawBufferPointer(rebasing: buffer[8..<72]))
            buffer[72] = UInt8(ascii: "\"")
            return 73
        }
    }

    package mutating func timestamp(_ value: Timestamp) {
        separate()
        appendInPlace(40) { buffer in
            buffer[0] = UInt8(ascii: "\"")
            let length = value.write(into: UnsafeMutableRawBufferPointer(rebasing: buffer[1...]))
            buffer[length + 1] = UInt8(ascii: "\"")
            return length + 2
        }
    }

    package mutating func string(_ value: String) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        var value = value
        value.withUTF8 { utf8 in
            var clean = 0
            var index = 0
            while index < utf8.count {
                let byte = utf8[index]
                if let escape = JSONWriter.escape(of: byte) {
                    bytes.append(contentsOf: utf8[clean..<index])
                    bytes.append(contentsOf: escape)
                    clean = index + 1
                } else if byte == 0xE2, index + 2 < utf8.count, utf8[index + 1] == 0x80, utf8[index + 2] & 0xFE == 0xA8
                {
                    // U+2028 and U+2029, line breaks to JavaScript.
                    bytes.append(contentsOf: utf8[clean..<index])
                    bytes.append(contentsOf: utf8[index + 2] == 0xA8 ? "\\u2028".utf8 : "\\u2029".utf8)
                    clean = index + 3
                    index += 2
                }
                index += 1
            }
            bytes.append(contentsOf: utf8[clean...])
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// A string of bytes that need not be UTF-8; each byte that is none of it becomes the escape `\ufffd`, as in Go.
    package mutating func string(utf8: [UInt8]) {
        if let text = String(validating: utf8, as: UTF8.self) { return string(text) }
        var rest = utf8[...]
        separate()
        bytes.append(UInt8(ascii: "\""))
        while !rest.isEmpty {
            let end = JSONWriter.endOfUTF8(rest)
            var piece = JSONWriter()
            piece.string(String(decoding: rest[..<end], as: UTF8.self))
            bytes.append(contentsOf: piece.bytes.dropFirst().dropLast())
            guard end < rest.endIndex else { break }
            bytes.append(contentsOf: "\\ufffd".utf8)
            rest = rest[(end + 1)...]
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// A value that is JSON already, taken as it is.
    package mutating func verbatim(_ json: some Sequence<UInt8>) {
        separate()
        bytes.append(contentsOf: json)
    }

    // MARK: Pieces

    private mutating func raw(_ literal: StaticString) {
        separate()
        literal.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    private mutating func open(_ bracket: UInt8) {
        separate()
        bytes.append(bracket)
        needsComma = false
        depth += 1
    }

    private mutating func close(_ bracket: UInt8) {
        depth -= 1
        // What is empty stays on one line.
        if needsComma { breakLine() }
        bytes.append(bracket)
        needsComma = true
    }

    private mutating func colon() {
        bytes.append(UInt8(ascii: ":"))
        if isIndented { bytes.append(UInt8(ascii: " ")) }
        needsComma = false
        followsKey = true
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        if !followsKey { breakLine() }
        needsComma = true
        followsKey = false
        hasBegun = true
    }

    private mutating func breakLine() {
        guard isIndented, hasBegun else { return }
        bytes.append(UInt8(ascii: "\n"))
        bytes.append(contentsOf: repeatElement(UInt8(ascii: "\t"), count: depth))
    }

    private mutating func appendInPlace(_ capacity: Int, _ write: (UnsafeMutableRawBufferPointer) -> Int) {
        withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 1) { buffer in
            let count = write(buffer)
            bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }

    /// Where the first byte stands that begins no valid scalar.
    private static func endOfUTF8(_ bytes: ArraySlice<UInt8>) -> Int {
        var index = bytes.startIndex
        while index < bytes.endIndex {
            let length =
                switch bytes[index] {
                case 0..<0x80: 1
                case 0xC0..<0xE0: 2
                case 0xE0..<0xF0: 3
                default: 4
                }
            guard String(validating: bytes[index...].prefix(length), as: UTF8.self) != nil else { break }
            index += length
        }
        return min(index, bytes.endIndex)
    }

    private static func escape(of byte: UInt8) -> [UInt8]? {
        switch byte {
        case UInt8(ascii: "\""): Array("\\\"".utf8)
        case UInt8(ascii: "\\"): Array("\\\\".utf8)
        case 0x08: Array("\\b".utf8)
        case 0x0C: Array("\\f".utf8)
        case UInt8(ascii: "\n"): Array("\\n".utf8)
        case UInt8(ascii: "\r"): Array("\\r".utf8)
        case UInt8(ascii: "\t"): Array("\\t".utf8)
        case UInt8(ascii: "<"): Array("\\u003c".utf8)
        case UInt8(ascii: ">"): Array("\\u003e".utf8)
        case UInt8(ascii: "&"): Array("\\u0026".utf8)
        case 0..<0x20:
            Array("\\u00".utf8) + [48 + byte / 16, byte % 16 < 10 ? 48 + byte % 16 : 87 + byte % 16]
        default: nil
        }
    }
}
