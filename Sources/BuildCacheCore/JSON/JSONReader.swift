/// Reads JSON front to back as Go's `encoding/json` does, for documents whose shape the caller knows.
///
/// The caller asks for what it expects (`beginObject`, `nextKey`, `integer` …) and skips the rest. Nothing recurses, nothing is
/// kept but a position, and what is skipped may nest ``maximumDepth`` deep. `null` reads as the zero value.
/// A number with a fraction or exponent is refused where an integer is expected, as in Go. A string with more than 256 combining
/// characters in a row is refused with `.limitExceeded`: see `hasLongCombiningRun`.
///
/// The bytes must outlive the reader; both are used inside one `withUnsafeBytes`.
package struct JSONReader {
    /// Go's own limit on nesting.
    package static let maximumDepth = 10_000

    private static let shortString = 512

    private let bytes: UnsafeRawBufferPointer
    private let document: StaticString
    private var index = 0
    private var justOpened = false

    /// Reads `bytes`; `document` says in errors what they are, as in "cache config".
    package init(_ bytes: UnsafeRawBufferPointer, document: StaticString) {
        self.bytes = bytes
        self.document = document
    }

    // MARK: Structure

    /// Enters an object; `false` if `null` stands there instead.
    package mutating func beginObject() throws(CacheError) -> Bool { try begin(UInt8(ascii: "{"), "an object") }

    /// Enters an array; `false` if `null` stands there instead.
    package mutating func beginArray() throws(CacheError) -> Bool { try begin(UInt8(ascii: "["), "an array") }

    /// The next key of the object entered last, or `nil` at its end, which is then left.
    package mutating func nextKey() throws(CacheError) -> JSONKey? {
        guard try advance(closing: UInt8(ascii: "}")) else { return nil }
        let key = try scanString()
        skipSpace()
        guard index < bytes.count, bytes[index] == UInt8(ascii: ":") else { throw malformed("a ':'") }
        index += 1
        return key
    }

    /// Whether the array entered last has another element; at its end it is left.
    package mutating func nextElement() throws(CacheError) -> Bool { try advance(closing: UInt8(ascii: "]")) }

    /// Checks that nothing but space follows.
    package mutating func finish() throws(CacheError) {
        skipSpace()
        guard index == bytes.count else { throw malformed("the end") }
    }

    /// What kind of value stands next, by its first byte; 0 at the end of the document.
    package mutating func peek() -> UInt8 {
        skipSpace()
        return index < bytes.count ? bytes[index] : 0
    }

    // MARK: Values

    package mutating func integer() throws(CacheError) -> Int64 {
        if try readNull() { return 0 }
        let start = index
        let negative = index < bytes.count && bytes[index] == UInt8(ascii: "-")
        if negative { index += 1 }
        let digits = index
        var value: Int64 = 0
        while index < bytes.count, (48...57).contains(bytes[index]) {
            let digit = Int64(bytes[index] - 48)
            let (tenfold, overflow) = value.multipliedReportingOverflow(by: 10)
            let (next, overflowAgain) =
                negative ? tenfold.subtractingReportingOverflow(digit) : tenfold.addingReportingOverflow(digit)
            guard !overflow, !overflowAgain else {
                index = start
                throw malformed("an integer of 64 bits")
            }
            value = next
            index += 1
        }
        let leadingZero = index > digits + 1 && bytes[digits] == 48
        let continues =
            index < bytes.count && [UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E")].contains(bytes[index])
        guard index > digits, !leadingZero, !continues else {
            index = start
            throw malformed("an integer")
        }
        return value
    }

    /// An integer within `range`; sizes and offsets that outlive the reader are checked here, so that no later sum can overflow.
    ///
    /// - Parameter field: Names the number in errors.
    /// - Throws: `CacheError` `.corrupted` outside of `range`, or if no integer stands next.
    package mutating func integer(
        _ field: StaticString, in range: ClosedRange<Int64>
    ) throws(CacheError) -> Int64 {
        let value: Int64
        do { value = try integer() } catch {
            throw CacheError(error.code, "invalid \(field): \(error.message)")
        }
        guard range.contains(value) else {
            throw invalid("invalid \(field) \(value): expected \(range.lowerBound)...\(range.upperBound)")
        }
        return value
    }

    package mutating func bool() throws(CacheError) -> Bool {
        if try readNull() { return false }
        if consume("true") { return true }
        if consume("false") { return false }
        throw malformed("true or false")
    }

    /// A string, or `nil` for `null`.
    package mutating func string() throws(CacheError) -> String? {
        try readNull() ? nil : scanString().text
    }

    /// Returns what `body` makes of the UTF-8 of a string, escapes resolved; `null` reads as empty.
    ///
    /// Makes a `String` only of a string with escapes: digests and times, which are most of a cache, are parsed where they stand.
    package mutating func string<Value>(_ body: (UnsafeRawBufferPointer) -> Value) throws(CacheError) -> Value {
        if try readNull() { return body(UnsafeRawBufferPointer(rebasing: bytes[index..<index])) }
        return try scanString().withUTF8(body)
    }

    /// Passes over one value of any kind and returns its bytes.
    @discardableResult
    package mutating func skipValue() throws(CacheError) -> UnsafeRawBufferPointer {
        skipSpace()
        let start = index
        var closings: [UInt8] = []
        repeat {
            skipSpace()
            guard index < bytes.count else { throw malformed("a value") }
            switch bytes[index] {
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                guard closings.count < JSONReader.maximumDepth else {
                    throw CacheError(
                        .limitExceeded, "\(document) nests deeper than \(JSONReader.maximumDepth) at byte \(index)")
                }
                closings.append(bytes[index] + 2)  // '[' to ']' and '{' to '}' are two apart in ASCII
                index += 1
                justOpened = true
            case UInt8(ascii: "\""): _ = try scanString()
            default: try skipScalar()
            }
            // A value is complete, or a bracket has just opened: go to the next place where a value is expected.
            while let closing = closings.last {
                guard try advance(closing: closing) else {
                    closings.removeLast()
                    continue
                }
                if closing == UInt8(ascii: "}") {
                    _ = try scanString()
                    skipSpace()
                    guard index < bytes.count, bytes[index] == UInt8(ascii: ":") else { throw malformed("a ':'") }
                    index += 1
                }
                break
            }
        } while !closings.isEmpty
        return UnsafeRawBufferPointer(rebasing: bytes[start..<index])
    }

    /// An error about the value just read, with its place in the document.
    package func invalid(_ problem: String) -> CacheError {
        CacheError(.corrupted, "\(document) is invalid before byte \(index): \(problem)")
    }

    // MARK: Pieces

    private func malformed(_ expected: StaticString) -> CacheError {
        let found = index < bytes.count ? "" : ", but the document ends there"
        return CacheError(
            .corrupted, "\(document) is not the expected JSON: byte \(index) should begin \(expected)\(found)")
    }

    private mutating func begin(_ bracket: UInt8, _ kind: StaticString) throws(CacheError) -> Bool {
        if try readNull() { return false }
        guard index < bytes.count, bytes[index] == bracket else { throw malformed(kind) }
        index += 1
        justOpened = true
        return true
    }

    /// Moves to the next member of a container; `false` at its end, which is consumed.
    private mutating func advance(closing: UInt8) throws(CacheError) -> Bool {
        skipSpace()
        guard index < bytes.count else { throw malformed("more") }
        if bytes[index] == closing {
            index += 1
            justOpened = false
            return false
        }
        if !justOpened {
            guard bytes[index] == UInt8(ascii: ",") else { throw malformed("a ','") }
            index += 1
            skipSpace()
        }
        justOpened = false
        return true
    }

    private mutating func scanString() throws(CacheError) -> JSONKey {
        skipSpace()
        guard index < bytes.count, bytes[index] == UInt8(ascii: "\"") else { throw malformed("a string") }
        let start = index + 1
        var end = start
        var hasEscapes = false
        var allBits: UInt8 = 0
        while end < bytes.count {
            let byte = bytes[end]
            if byte == UInt8(ascii: "\"") {
                index = end + 1
                let key = JSONKey(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), hasEscapes: hasEscapes)
                guard !hasEscapes || key.hasValidEscapes else {
                    throw malformed("a string with valid escapes before it")
                }
                // Each combining character has two bytes at least, so short strings need not be looked at.
                let mayBeLongRun = (hasEscapes || allBits >= 0x80) && end - start > JSONReader.shortString
                if mayBeLongRun, key.text.hasLongCombiningRun {
                    throw CacheError(
                        .limitExceeded,
                        "\(document) has a string with more than 256 combining characters in a row before byte \(index)"
                    )
                }
                return key
            }
            allBits |= byte
            guard byte >= 0x20 else {
                index = end
                throw malformed("a printable character")
            }
            if byte == UInt8(ascii: "\\") {
                hasEscapes = true
                end += 1
            }
            end += 1
        }
        index = bytes.count
        throw malformed("the end of a string")
    }

    private mutating func skipScalar() throws(CacheError) {
        if consume("true") || consume("false") || consume("null") { return }
        let start = index
        guard skipNumber() else {
            index = start
            throw malformed("a value")
        }
    }

    /// Passes over what JSON calls a number, and nothing else: skipped values are written again as they stand.
    private mutating func skipNumber() -> Bool {
        skipByte(UInt8(ascii: "-"))
        let integer = index
        guard skipDigits(), index == integer + 1 || bytes[integer] != UInt8(ascii: "0") else { return false }
        if skipByte(UInt8(ascii: ".")), !skipDigits() { return false }
        guard skipByte(UInt8(ascii: "e")) || skipByte(UInt8(ascii: "E")) else { return true }
        if !skipByte(UInt8(ascii: "-")) { skipByte(UInt8(ascii: "+")) }
        return skipDigits()
    }

    private mutating func skipDigits() -> Bool {
        let start = index
        while index < bytes.count, (48...57).contains(bytes[index]) { index += 1 }
        return index > start
    }

    @discardableResult
    private mutating func skipByte(_ byte: UInt8) -> Bool {
        guard index < bytes.count, bytes[index] == byte else { return false }
        index += 1
        return true
    }

    private mutating func readNull() throws(CacheError) -> Bool {
        skipSpace()
        guard index < bytes.count else { throw malformed("a value") }
        return bytes[index] == UInt8(ascii: "n") && consume("null")
    }

    private mutating func consume(_ literal: StaticString) -> Bool {
        let count = literal.utf8CodeUnitCount
        guard index + count <= bytes.count, bytes[index] == literal.utf8Start.pointee,
            literal.withUTF8Buffer({ bytes[index..<index + count].elementsEqual($0) })
        else { return false }
        index += count
        return true
    }

    private mutating func skipSpace() {
        while index < bytes.count {
            switch bytes[index] {
            case 0x20, 0x0A, 0x0D, 0x09: index += 1
            default: return
            }
        }
    }
}

/// A string of a JSON document, still where it stands there.
package struct JSONKey {
    private let bytes: UnsafeRawBufferPointer
    private let hasEscapes: Bool

    init(_ bytes: UnsafeRawBufferPointer, hasEscapes: Bool) {
        self.bytes = bytes
        self.hasEscapes = hasEscapes
    }

    /// Returns what `body` makes of the string's UTF-8, escapes resolved.
    fileprivate func withUTF8<Value>(_ body: (UnsafeRawBufferPointer) -> Value) -> Value {
        guard hasEscapes else { return body(bytes) }
        var text = text
        return text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
    }

    /// The string, escapes resolved.
    ///
    /// What is no UTF-8 becomes U+FFFD, as in Go.
    package var text: String {
        guard hasEscapes else { return String(decoding: bytes, as: UTF8.self) }
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            guard bytes[index] == UInt8(ascii: "\\") else {
                result.append(bytes[index])
                index += 1
                continue
            }
            let escape = bytes[index + 1]
            index += 2
            switch escape {
            case UInt8(ascii: "b"): result.append(0x08)
            case UInt8(ascii: "f"): result.append(0x0C)
            case UInt8(ascii: "n"): result.append(0x0A)
            case UInt8(ascii: "r"): result.append(0x0D)
            case UInt8(ascii: "t"): result.append(0x09)
            case UInt8(ascii: "u"):
                var unit = hexadecimal(at: index) ?? 0xFFFD
                index += 4
                // A surrogate pair is one character; half a pair is none.
                if (0xD800..<0xDC00).contains(unit), index + 6 <= bytes.count, bytes[index] == UInt8(ascii: "\\"),
                    bytes[index + 1] == UInt8(ascii: "u"), let low = hexadecimal(at: index + 2),
                    (0xDC00..<0xE000).contains(low)
                {
                    unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
                    index += 6
                }
                let scalar = Unicode.Scalar(unit) ?? "\u{FFFD}"
                result.append(contentsOf: Character(scalar).utf8)
            default: result.append(escape)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// Whether every escape is one that JSON has.
    fileprivate var hasValidEscapes: Bool {
        var index = 0
        while index < bytes.count {
            guard bytes[index] == UInt8(ascii: "\\") else {
                index += 1
                continue
            }
            guard index + 1 < bytes.count else { return false }
            switch bytes[index + 1] {
            case UInt8(ascii: "u"):
                guard hexadecimal(at: index + 2) != nil else { return false }
                index += 6
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
                UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
                index += 2
            default: return false
            }
        }
        return true
    }

    private func hexadecimal(at start: Int) -> UInt32? {
        guard start + 4 <= bytes.count else { return nil }
        var value: UInt32 = 0
        for byte in bytes[start..<start + 4] {
            switch byte {
            case 48...57: value = value << 4 | UInt32(byte - 48)
            case 65...70: value = value << 4 | UInt32(byte - 55)
            case 97...102: value = value << 4 | UInt32(byte - 87)
            default: return nil
            }
        }
        return value
    }

    /// Whether this is `name`, upper and lower case of ASCII being equal as in Go.
    package static func ~= (name: StaticString, key: JSONKey) -> Bool {
        key.withUTF8 { matches(name, $0) }
    }

    /// Whether a key of this text is `name` to a reader.
    package static func isKey(_ text: String, _ name: StaticString) -> Bool {
        var text = text
        return text.withUTF8 { matches(name, UnsafeRawBufferPointer($0)) }
    }

    private static func matches(_ name: StaticString, _ key: UnsafeRawBufferPointer) -> Bool {
        guard key.count == name.utf8CodeUnitCount else { return false }
        return name.withUTF8Buffer { name in
            for index in name.indices where key[index] != name[index] {
                let difference = key[index] ^ name[index]
                guard difference == 0x20, (97...122).contains(name[index] | 0x20) else { return false }
            }
            return true
        }
    }
}
