import BuildCacheCore

/// A table of a TOML document, with its keys in the order in which they were written.
///
/// A class, so that a document grows in place however it is nested.
final class TOMLTable {
    /// The form that a table was written in, which decides what may still be added to it.
    enum Origin {
        /// A part of the name of another table.
        case implied
        /// A header of its own.
        case header
        /// Dotted keys.
        case dotted
        /// Braces; nothing can be added.
        case inline
    }

    fileprivate(set) var keys: [String] = []
    fileprivate var origin: Origin
    private var values: [String: TOMLValue] = [:]

    fileprivate init(_ origin: Origin) { self.origin = origin }

    /// The value of a key, `nil` if the table does not have it.
    subscript(key: String) -> TOMLValue? { values[key] }

    fileprivate func set(_ key: String, _ value: TOMLValue) {
        keys.append(key)
        values[key] = value
    }
}

/// A list of a TOML document.
final class TOMLList {
    fileprivate(set) var elements: [TOMLValue] = []
    /// Whether the list is made of `[[headers]]`.
    fileprivate let isOfTables: Bool

    fileprivate init(isOfTables: Bool) { self.isOfTables = isOfTables }
}

/// A value of a TOML document.
enum TOMLValue {
    case string(String)
    case boolean(Bool)
    /// A number or a time, as it was written.
    case other(String)
    case list(TOMLList)
    case table(TOMLTable)
}

/// Reads TOML 1.0: the syntax is checked whole, while numbers and times stay text, as no setting of a registry is one.
///
/// Time and memory are in proportion to the document. Nesting has the limit ``maximumDepth``.
///
/// - Source: toml.io, "TOML v1.0.0".
struct TOMLReader {
    /// The most levels of lists, tables in braces, and parts of a key.
    static let maximumDepth = 32

    private let bytes: [UInt8]
    private var index = 0

    /// Reads a document.
    ///
    /// - Throws: `CacheError` `.invalidSpec`, with the number of the line and without any text of the document.
    static func read(_ bytes: [UInt8]) throws(CacheError) -> TOMLTable {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw CacheError(.invalidSpec, "not valid UTF-8")
        }
        var reader = TOMLReader(bytes: bytes)
        return try reader.document()
    }

    private init(bytes: [UInt8]) {
        self.bytes = bytes
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { index = 3 }
    }

    // MARK: Structure

    private mutating func document() throws(CacheError) -> TOMLTable {
        let root = TOMLTable(.header)
        var current = root
        while true {
            skipBlankLines()
            guard let byte = peek() else { return root }
            if byte == UInt8(ascii: "[") {
                current = try header(in: root)
            } else {
                try keyAndValue(in: current, depth: 0)
            }
            try endOfLine()
        }
    }

    /// `[a.b]` or `[[a.b]]`.
    private mutating func header(in root: TOMLTable) throws(CacheError) -> TOMLTable {
        index += 1
        let isList = skip(UInt8(ascii: "["))
        let path = try keyPath()
        guard skip(UInt8(ascii: "]")), !isList || skip(UInt8(ascii: "]")) else { throw fault("a header is not closed") }
        guard let last = path.last else { throw fault("a header has no name") }
        var table = root
        for key in path.dropLast() {
            switch table[key] {
            case nil:
                let next = TOMLTable(.implied)
                table.set(key, .table(next))
                table = next
            case .table(let next)? where next.origin != .inline: table = next
            case .list(let list)? where list.isOfTables:
                guard case .table(let next)? = list.elements.last else { throw fault("a header is below a list") }
                table = next
            default: throw fault("a header is below a key that is not a table")
            }
        }
        let new = TOMLTable(.header)
        switch table[last] {
        case nil where isList:
            let list = TOMLList(isOfTables: true)
            list.elements.append(.table(new))
            table.set(last, .list(list))
        case .list(let list)? where isList && list.isOfTables: list.elements.append(.table(new))
        case nil: table.set(last, .table(new))
        case .table(let known)? where !isList && known.origin == .implied:
            known.origin = .header
            return known
        default: throw fault("a table is defined twice")
        }
        return new
    }

    /// `a.b = value`.
    private mutating func keyAndValue(in table: TOMLTable, depth: Int) throws(CacheError) {
        let path = try keyPath()
        guard skip(UInt8(ascii: "=")) else { throw fault("a key has no \"=\" behind it") }
        skipSpace()
        let value = try self.value(depth: depth)
        guard let last = path.last else { throw fault("a value has no key") }
        var table = table
        for key in path.dropLast() {
            switch table[key] {
            case nil:
                let next = TOMLTable(.dotted)
                table.set(key, .table(next))
                table = next
            case .table(let next)? where next.origin == .dotted: table = next
            default: throw fault("a dotted key adds to something that is complete")
            }
        }
        guard table[last] == nil else { throw fault("a key is defined twice") }
        table.set(last, value)
    }

    /// Keys with dots between them, and the space around.
    private mutating func keyPath() throws(CacheError) -> [String] {
        var path: [String] = []
        repeat {
            skipSpace()
            path.append(try key())
            guard path.count <= TOMLReader.maximumDepth else { throw fault("a key has too many parts") }
            skipSpace()
        } while skip(UInt8(ascii: "."))
        return path
    }

    private mutating func key() throws(CacheError) -> String {
        switch peek() {
        case UInt8(ascii: "\""): return try basicString()
        case UInt8(ascii: "'"): return try literalString()
        default:
            let start = index
            while let byte = peek(), TOMLReader.isBareKeyByte(byte) { index += 1 }
            guard index > start else { throw fault("a key is missing") }
            return String(decoding: bytes[start..<index], as: UTF8.self)
        }
    }

    private static func isBareKeyByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 45, 95, 48...57, 65...90, 97...122: true
        default: false
        }
    }

    // MARK: Values

    private mutating func value(depth: Int) throws(CacheError) -> TOMLValue {
        guard depth < TOMLReader.maximumDepth else { throw fault("lists and tables nest too deep") }
        switch peek() {
        case UInt8(ascii: "\""): return .string(starts(with: "\"\"\"") ? try longBasicString() : try basicString())
        case UInt8(ascii: "'"): return .string(starts(with: "'''") ? try longLiteralString() : try literalString())
        case UInt8(ascii: "["): return .list(try list(depth: depth + 1))
        case UInt8(ascii: "{"): return .table(try inlineTable(depth: depth + 1))
        default: return try scalar()
        }
    }

    private mutating func list(depth: Int) throws(CacheError) -> TOMLList {
        index += 1
        let list = TOMLList(isOfTables: false)
        while true {
            skipBlankLines()
            if skip(UInt8(ascii: "]")) { return list }
            list.elements.append(try value(depth: depth))
            skipBlankLines()
            guard skip(UInt8(ascii: ",")) else {
                guard skip(UInt8(ascii: "]")) else { throw fault("a list is not closed") }
                return list
            }
        }
    }

    private mutating func inlineTable(depth: Int) throws(CacheError) -> TOMLTable {
        index += 1
        let table = TOMLTable(.dotted)
        skipSpace()
        if !skip(UInt8(ascii: "}")) {
            repeat {
                try keyAndValue(in: table, depth: depth)
                skipSpace()
            } while skip(UInt8(ascii: ","))
            guard skip(UInt8(ascii: "}")) else { throw fault("a table in braces is not closed") }
        }
        table.origin = .inline
        return table
    }

    private mutating func scalar() throws(CacheError) -> TOMLValue {
        let start = index
        let others: [UInt8] = [43, 46, 58]
        while let byte = peek() {
            // Between a date and a time there may be a space.
            let isInTime =
                byte == 32 && index == start + 10 && bytes[index - 3] == 45 && index + 1 < bytes.count
                && (48...57).contains(bytes[index + 1])
            guard isInTime || TOMLReader.isBareKeyByte(byte) || others.contains(byte) else { break }
            index += 1
        }
        switch String(decoding: bytes[start..<index], as: UTF8.self) {
        case "true": return .boolean(true)
        case "false": return .boolean(false)
        case "inf", "+inf", "-inf", "nan", "+nan", "-nan": return .other("inf")
        case let text:
            let unsigned = text.hasPrefix("+") || text.hasPrefix("-") ? text.dropFirst() : text[...]
            guard let first = unsigned.utf8.first, (48...57).contains(first) else {
                throw fault("a value is neither text in quotes, nor true, false, a number, a time, a list or a table")
            }
            return .other(text)
        }
    }

    // MARK: Text

    private mutating func basicString() throws(CacheError) -> String {
        index += 1
        var text: [UInt8] = []
        while true {
            switch try textByte() {
            case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"): try escape(&text)
            case UInt8(ascii: "\n"): throw fault("a text is not closed")
            case let byte: text.append(byte)
            }
        }
    }

    private mutating func literalString() throws(CacheError) -> String {
        index += 1
        let start = index
        while true {
            switch try textByte() {
            case UInt8(ascii: "'"): return String(decoding: bytes[start..<index - 1], as: UTF8.self)
            case UInt8(ascii: "\n"): throw fault("a text is not closed")
            default: break
            }
        }
    }

    private mutating func longBasicString() throws(CacheError) -> String {
        index += 3
        skipNewline()
        var text: [UInt8] = []
        while true {
            if let quotes = closing(UInt8(ascii: "\"")) {
                text += repeatElement(UInt8(ascii: "\""), count: quotes)
                return String(decoding: text, as: UTF8.self)
            }
            let byte = try textByte()
            guard byte == UInt8(ascii: "\\") else {
                text.append(byte)
                continue
            }
            // A backslash at the end of a line takes all space up to the next text with it.
            let start = index
            skipSpace()
            if peek() == UInt8(ascii: "\n") || starts(with: "\r\n") {
                let space: [UInt8] = [9, 10, 13, 32]
                while let byte = peek(), space.contains(byte) { index += 1 }
            } else {
                index = start
                try escape(&text)
            }
        }
    }

    private mutating func longLiteralString() throws(CacheError) -> String {
        index += 3
        skipNewline()
        let start = index
        while true {
            let end = index
            if let quotes = closing(UInt8(ascii: "'")) {
                return String(decoding: bytes[start..<end + quotes], as: UTF8.self)
            }
            _ = try textByte()
        }
    }

    /// Skips three to five quotes in a row, which end a long text; the ones beyond three belong to it.
    ///
    /// - Returns: The number of quotes that belong to the text, `nil` if it does not end here.
    private mutating func closing(_ quote: UInt8) -> Int? {
        let count = bytes[index...].prefix(5).prefix { $0 == quote }.count
        guard count >= 3 else { return nil }
        index += count
        return count - 3
    }

    /// The next byte of a text; a carriage return passes only before a newline.
    private mutating func textByte() throws(CacheError) -> UInt8 {
        guard let byte = peek() else { throw fault("a text is not closed") }
        index += 1
        switch byte {
        case 9, 10, 32...126, 128...: return byte
        case 13 where peek() == 10: return byte
        default: throw fault("a text has a control character")
        }
    }

    /// Reads the character behind a backslash.
    private mutating func escape(_ text: inout [UInt8]) throws(CacheError) {
        switch try textByte() {
        case UInt8(ascii: "b"): text.append(8)
        case UInt8(ascii: "t"): text.append(9)
        case UInt8(ascii: "n"): text.append(10)
        case UInt8(ascii: "f"): text.append(12)
        case UInt8(ascii: "r"): text.append(13)
        case UInt8(ascii: "\""): text.append(UInt8(ascii: "\""))
        case UInt8(ascii: "\\"): text.append(UInt8(ascii: "\\"))
        case UInt8(ascii: "u"): try scalar(digits: 4, &text)
        case UInt8(ascii: "U"): try scalar(digits: 8, &text)
        default: throw fault("a text has an unknown escape")
        }
    }

    private mutating func scalar(digits: Int, _ text: inout [UInt8]) throws(CacheError) {
        let hex = bytes[index...].prefix(digits)
        guard hex.count == digits,
            let value = UInt32(digits: String(decoding: hex, as: UTF8.self), radix: 16, in: 0...0x10FFFF),
            let scalar = Unicode.Scalar(value)
        else { throw fault("a text has an escape that is not a Unicode scalar") }
        index += digits
        text += Array(String(scalar).utf8)
    }

    // MARK: Bytes

    private func peek() -> UInt8? { index < bytes.count ? bytes[index] : nil }

    private func starts(with text: StaticString) -> Bool {
        text.withUTF8Buffer { bytes[index...].starts(with: $0) }
    }

    private mutating func skip(_ byte: UInt8) -> Bool {
        guard peek() == byte else { return false }
        index += 1
        return true
    }

    private mutating func skipSpace() { while let byte = peek(), byte == 32 || byte == 9 { index += 1 } }

    private mutating func skipNewline() {
        if starts(with: "\r\n") { index += 2 } else { _ = skip(10) }
    }

    private mutating func skipComment() {
        guard peek() == UInt8(ascii: "#") else { return }
        while let byte = peek(), byte != 10 { index += 1 }
    }

    private mutating func skipBlankLines() {
        while true {
            skipSpace()
            skipComment()
            guard peek() == 10 || starts(with: "\r\n") else { return }
            skipNewline()
        }
    }

    private mutating func endOfLine() throws(CacheError) {
        skipSpace()
        skipComment()
        guard index == bytes.count || peek() == 10 || starts(with: "\r\n") else {
            throw fault("a line goes on after its end")
        }
    }

    private func fault(_ problem: String) -> CacheError {
        let line = bytes[..<min(index, bytes.count)].count { $0 == 10 } + 1
        return CacheError(.invalidSpec, "line \(line): \(problem)")
    }
}

// MARK: Typed values

extension TOMLTable {
    func string(_ key: String) throws(CacheError) -> String? {
        switch self[key] {
        case nil: nil
        case .string(let text)?: text
        default: throw wrong(key, "text in quotes")
        }
    }

    func boolean(_ key: String) throws(CacheError) -> Bool? {
        switch self[key] {
        case nil: nil
        case .boolean(let value)?: value
        default: throw wrong(key, "true or false")
        }
    }

    /// A text, or a list of texts; empty if the key is absent.
    func strings(_ key: String) throws(CacheError) -> [String] {
        switch self[key] {
        case nil: return []
        case .string(let text)?: return [text]
        case .list(let list)?:
            var texts: [String] = []
            for element in list.elements {
                guard case .string(let text) = element else { throw wrong(key, "a list of texts in quotes") }
                texts.append(text)
            }
            return texts
        default: throw wrong(key, "a list of texts in quotes")
        }
    }

    func table(_ key: String) throws(CacheError) -> TOMLTable? {
        switch self[key] {
        case nil: nil
        case .table(let table)?: table
        default: throw wrong(key, "a table")
        }
    }

    /// The error for a value of another kind.
    func wrong(_ key: String, _ expected: StaticString) -> CacheError {
        CacheError(.invalidSpec, "invalid value of \(key.quoted): expected \(expected)")
    }
}
