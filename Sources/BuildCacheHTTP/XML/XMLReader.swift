import BuildCacheCore

/// Reads elements and text, front to back and without recursion.
///
/// Comments, processing instructions and attributes are passed over; CDATA sections, references to characters and the five predefined
/// entities are resolved. Nothing is ever fetched or expanded: a document type is refused, and with it every other entity.
///
/// - Source: XML 1.0, fifth edition.
struct XMLReader {
    private let bytes: [UInt8]
    private let limits: XMLLimits
    private var index = 0
    /// The elements that are not closed yet, outermost first, with their names as written.
    private var open: [(node: XMLNode, name: ArraySlice<UInt8>)] = []
    private var root: XMLNode?
    private var count = 0

    /// The longest name of an element in bytes.
    private static let longestName = 1024

    init(_ bytes: [UInt8], _ limits: XMLLimits) {
        self.bytes = bytes
        self.limits = limits
    }

    mutating func read() throws(CacheError) -> XMLNode {
        guard bytes.count <= limits.bytes else { throw tooLarge("\(limits.bytes) bytes") }
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw CacheError(.corrupted, "the response is not valid XML: expected UTF-8")
        }
        _ = skip("\u{FEFF}")
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "<") { try readMarkup() } else { try readText() }
        }
        guard let root, open.isEmpty else { throw malformed("the end of an element") }
        return root
    }

    // MARK: Markup

    private mutating func readMarkup() throws(CacheError) {
        if skip("</") {
            try readEnd()
        } else if skip("<?") {
            try skip(through: "?>")
        } else if skip("<!--") {
            try skip(through: "-->")
        } else if skip("<![CDATA[") {
            let start = index
            try skip(through: "]]>")
            guard !open.isEmpty else { throw malformed("an element around a CDATA section") }
            open[open.count - 1].node.text += String(decoding: bytes[start..<index - 3], as: UTF8.self)
        } else if skip("<!") {
            throw malformed("no document type")
        } else {
            index += 1
            try readStart()
        }
    }

    private mutating func readStart() throws(CacheError) {
        guard root == nil else { throw malformed("one outermost element") }
        count += 1
        guard count <= limits.elements else { throw tooLarge("\(limits.elements) elements") }
        guard open.count < limits.depth else { throw tooLarge("\(limits.depth) levels") }
        let name = try readName()
        // `s3:Code` is `Code`.
        let local = name.lastIndex(of: UInt8(ascii: ":")).map { name[($0 + 1)...] } ?? name
        open.append((XMLNode(name: String(decoding: local, as: UTF8.self)), name))
        while true {
            skipSpace()
            if skip("/>") { return close() }
            if skip(">") { return }
            try skipAttribute()
        }
    }

    private mutating func readEnd() throws(CacheError) {
        let name = try readName()
        skipSpace()
        guard let last = open.last, last.name == name, skip(">") else { throw malformed("the end of the open element") }
        close()
    }

    private mutating func close() {
        guard let (node, _) = open.popLast() else { return }
        if open.isEmpty { root = node } else { open[open.count - 1].node.children.append(node) }
    }

    private mutating func readName() throws(CacheError) -> ArraySlice<UInt8> {
        let start = index
        while index < bytes.count, isNameByte(bytes[index]) { index += 1 }
        guard let first = bytes[start..<index].first, index - start <= XMLReader.longestName,
            !(48...57).contains(first), first != UInt8(ascii: "-"), first != UInt8(ascii: ".")
        else {
            index = start
            throw malformed("a name")
        }
        return bytes[start..<index]
    }

    private func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122, UInt8(ascii: "_"), UInt8(ascii: ":"), UInt8(ascii: "-"), UInt8(ascii: "."):
            true
        default: byte >= 0x80
        }
    }

    private mutating func skipAttribute() throws(CacheError) {
        _ = try readName()
        skipSpace()
        guard skip("=") else { throw malformed("the value of an attribute") }
        skipSpace()
        guard index < bytes.count, bytes[index] == UInt8(ascii: "\"") || bytes[index] == UInt8(ascii: "'") else {
            throw malformed("a quoted value")
        }
        let quote = bytes[index]
        index += 1
        while index < bytes.count, bytes[index] != quote {
            guard bytes[index] != UInt8(ascii: "<") else { throw malformed("the end of a quoted value") }
            index += 1
        }
        guard index < bytes.count else { throw malformed("the end of a quoted value") }
        index += 1
    }

    // MARK: Text

    private mutating func readText() throws(CacheError) {
        let start = index
        var isPlain = true
        while index < bytes.count, bytes[index] != UInt8(ascii: "<") {
            guard bytes[index] != 0 else { throw malformed("text") }
            if bytes[index] == UInt8(ascii: "&") || bytes[index] == 0x0D { isPlain = false }
            index += 1
        }
        let run = bytes[start..<index]
        guard !open.isEmpty else {
            guard run.allSatisfy({ isSpace($0) }) else {
                index = start
                throw malformed("an element")
            }
            return
        }
        let text = isPlain ? run : try resolved(run)[...]
        open[open.count - 1].node.text += String(decoding: text, as: UTF8.self)
    }

    /// Text with its references resolved and its line ends as one line feed each.
    private func resolved(_ run: ArraySlice<UInt8>) throws(CacheError) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(run.count)
        var rest = run
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "&"):
                // The longest reference is &#x10FFFF; with a few leading zeros.
                guard let end = rest.prefix(16).firstIndex(of: UInt8(ascii: ";")),
                    let scalar = scalar(String(decoding: rest[..<end], as: UTF8.self))
                else { throw malformed("no other entity than lt, gt, amp, apos, quot before it") }
                result.append(contentsOf: Character(scalar).utf8)
                rest = rest[(end + 1)...]
            case 0x0D:
                result.append(0x0A)
                if rest.first == 0x0A { rest.removeFirst() }
            default: result.append(byte)
            }
        }
        return result
    }

    /// The character that a reference stands for, without its `&` and `;`.
    private func scalar(_ reference: String) -> Unicode.Scalar? {
        switch reference {
        case "lt": return "<"
        case "gt": return ">"
        case "amp": return "&"
        case "apos": return "'"
        case "quot": return "\""
        default: break
        }
        guard reference.hasPrefix("#") else { return nil }
        let isHexadecimal = reference.hasPrefix("#x")
        let digits = reference.dropFirst(isHexadecimal ? 2 : 1)
        return UInt32(digits: digits, radix: isHexadecimal ? 16 : 10, in: 1...0x10FFFF).flatMap { Unicode.Scalar($0) }
    }

    // MARK: Pieces

    private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 }

    private mutating func skipSpace() { while index < bytes.count, isSpace(bytes[index]) { index += 1 } }

    /// Passes over `token` if it stands here.
    private mutating func skip(_ token: StaticString) -> Bool {
        let count = token.utf8CodeUnitCount
        guard bytes.count - index >= count,
            token.withUTF8Buffer({ bytes[index..<index + count].elementsEqual($0) })
        else { return false }
        index += count
        return true
    }

    /// Passes over everything up to the end of `token`.
    private mutating func skip(through token: StaticString) throws(CacheError) {
        while index < bytes.count { if skip(token) { return } else { index += 1 } }
        throw malformed("the end of a comment, an instruction or a CDATA section")
    }

    private func malformed(_ expected: StaticString) -> CacheError {
        CacheError(.corrupted, "the response is not valid XML at byte \(index): expected \(expected)")
    }

    private func tooLarge(_ limit: String) -> CacheError {
        CacheError(.limitExceeded, "the XML of the response is larger than the limit of \(limit)")
    }
}
