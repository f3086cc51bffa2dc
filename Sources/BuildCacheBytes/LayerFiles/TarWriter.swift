import NIOCore

/// The fields of an entry that is written to a layer.
struct TarFields {
    /// The type flags of POSIX.
    enum Kind: UInt8 {
        case file = 0x30
        case hardLink, symbolicLink, characterDevice, blockDevice, directory, fifo
    }

    var kind: Kind
    /// As it stands in the tar; a directory's without the slash behind it.
    var path: [UInt8]
    var linkName: [UInt8] = []
    var mode: UInt32 = 0
    var userID: UInt32 = 0
    var groupID: UInt32 = 0
    var size: Int64 = 0
    /// Seconds since 1970.
    var modified: Int64 = 0
    var deviceMajor: UInt32 = 0
    var deviceMinor: UInt32 = 0
    /// In the order of their names.
    var attributes: [EntryAttributes.Extended] = []
}

/// Writes headers with the bytes that Go's `archive/tar` writes: ustar if everything fits, PAX otherwise.
///
/// - Source: Go `archive/tar/writer.go`, `common.go: allowedFormats`, `strconv.go`.
enum TarWriter {
    /// The blocks of zeros that end a tar.
    static let end = ByteBuffer(repeating: 0, count: 2 * TarBlock.size)

    private static let nameSize = 100
    private static let prefixSize = 155
    private static let slash = UInt8(ascii: "/")

    /// Writes the headers of an entry.
    static func write(_ fields: TarFields, to buffer: inout ByteBuffer) {
        var fields = fields
        if fields.kind == .directory { fields.path.append(slash) }
        let name = fields.path
        let fits =
            name.count <= nameSize && isASCII(name) && fields.linkName.count <= nameSize && isASCII(fields.linkName)
            && fields.userID < 1 << 21 && fields.groupID < 1 << 21 && (0..<1 << 33).contains(fields.size)
            && (0..<1 << 33).contains(fields.modified) && fields.attributes.isEmpty
        guard !fits else { return writeBlock(fields, name: name[...], prefix: [], to: &buffer) }
        let split = split(name)
        let records = records(fields)
        if records.isEmpty || records.count == 1 && records[0].key == pathKey && split != nil {
            return writeBlock(fields, name: split?.name ?? name[...], prefix: split?.prefix ?? [], to: &buffer)
        }
        writeExtension(records, of: name, to: &buffer)
        fields.path = name.filter(Self.isPlain)
        fields.linkName = fields.linkName.filter(Self.isPlain)
        writeBlock(fields, name: fields.path[...], prefix: [], to: &buffer)
    }

    private static func isPlain(_ byte: UInt8) -> Bool { byte < 0x80 && byte != 0 }
    private static func isASCII(_ text: [UInt8]) -> Bool { text.allSatisfy(isPlain) }

    /// The two parts of a name that is too long for its field.
    private static func split(_ name: [UInt8]) -> (prefix: ArraySlice<UInt8>, name: ArraySlice<UInt8>)? {
        guard name.count > nameSize, isASCII(name) else { return nil }
        var length = name.count
        if length > prefixSize + 1 { length = prefixSize + 1 } else if name[length - 1] == slash { length -= 1 }
        guard let cut = name[..<length].lastIndex(of: slash), cut > 0, cut <= prefixSize,
            (1...nameSize).contains(name.count - cut - 1)
        else { return nil }
        return (name[..<cut], name[(cut + 1)...])
    }

    // MARK: PAX

    private static let pathKey = Array("path".utf8)

    /// The records of everything that does not fit the header, in the order of their keys.
    private static func records(_ fields: TarFields) -> [(key: [UInt8], value: [UInt8])] {
        var records: [(key: [UInt8], value: [UInt8])] = []
        func add(_ key: StaticString, _ value: some Collection<UInt8>) {
            records.append((Array("\(key)".utf8), Array(value)))
        }
        for attribute in fields.attributes {
            records.append((Array("SCHILY.xattr.".utf8) + attribute.name, attribute.value))
        }
        if fields.groupID >= 1 << 21 { add("gid", "\(fields.groupID)".utf8) }
        if fields.linkName.count > nameSize || !isASCII(fields.linkName) { add("linkpath", fields.linkName) }
        if !(0..<1 << 33).contains(fields.modified) { add("mtime", "\(fields.modified)".utf8) }
        if fields.path.count > nameSize || !isASCII(fields.path) { add("path", fields.path) }
        if !(0..<1 << 33).contains(fields.size) { add("size", "\(fields.size)".utf8) }
        if fields.userID >= 1 << 21 { add("uid", "\(fields.userID)".utf8) }
        return records.sorted { $0.key.lexicographicallyPrecedes($1.key) }
    }

    private static func writeExtension(
        _ records: [(key: [UInt8], value: [UInt8])], of name: [UInt8], to buffer: inout ByteBuffer
    ) {
        var data: [UInt8] = []
        for (key, value) in records {
            let rest = key.count + value.count + 3
            var length = rest + String(rest).utf8.count
            // The length counts its own digits, which may become more by that.
            if String(length).utf8.count > String(rest).utf8.count { length = rest + String(length).utf8.count }
            data += Array("\(length) ".utf8) + key + [UInt8(ascii: "=")] + value + [UInt8(ascii: "\n")]
        }
        // Of `a/b/` it is `a/b/PaxHeaders.0`.
        let cut = name.lastIndex(of: slash).map { $0 + 1 } ?? 0
        var header = name[..<cut] + Array("PaxHeaders.0".utf8)
        if cut < name.count { header += [slash] + name[cut...] }
        var own = header.filter(isPlain).prefix(nameSize)
        while own.last == slash { own = own.dropLast() }
        writeBlock(own, size: Int64(data.count), to: &buffer)
        buffer.writeBytes(data)
        buffer.writeRepeatingByte(0, count: TarBlock.padding(behind: Int64(data.count)))
    }

    // MARK: Blocks

    /// The header of the records themselves.
    private static func writeBlock(_ name: ArraySlice<UInt8>, size: Int64, to buffer: inout ByteBuffer) {
        block(to: &buffer) { block in
            text(name, 0..<100, block)
            for field in [100..<108, 108..<116, 116..<124, 136..<148] { octal(0, field, block) }
            octal(size, 124..<136, block)
            block[156] = UInt8(ascii: "x")
        }
    }

    private static func writeBlock(
        _ fields: TarFields, name: ArraySlice<UInt8>, prefix: ArraySlice<UInt8>, to buffer: inout ByteBuffer
    ) {
        block(to: &buffer) { block in
            text(name, 0..<100, block)
            octal(Int64(fields.mode), 100..<108, block)
            octal(Int64(fields.userID), 108..<116, block)
            octal(Int64(fields.groupID), 116..<124, block)
            octal(fields.size, 124..<136, block)
            octal(fields.modified, 136..<148, block)
            block[156] = fields.kind.rawValue
            if !fields.linkName.isEmpty { text(fields.linkName[...], 157..<257, block) }
            octal(Int64(fields.deviceMajor), 329..<337, block)
            octal(Int64(fields.deviceMinor), 337..<345, block)
            if !prefix.isEmpty { text(prefix, 345..<500, block) }
        }
    }

    /// Writes a block: `body` gets zeros; form and checksum come behind.
    private static func block(to buffer: inout ByteBuffer, _ body: (UnsafeMutableRawBufferPointer) -> Void) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: TarBlock.size) { free in
            let block = UnsafeMutableRawBufferPointer(rebasing: free[..<TarBlock.size])
            block.initializeMemory(as: UInt8.self, repeating: 0)
            body(block)
            magic.withUTF8Buffer { block[257..<265].copyBytes(from: $0) }
            var sum: UInt32 = 8 * 32
            for byte in block { sum &+= UInt32(byte) }
            octal(Int64(sum), 148..<155, block)
            block[155] = UInt8(ascii: " ")
            return TarBlock.size
        }
    }

    private static let magic: StaticString = "ustar\u{0}00"

    /// As many bytes as the field holds; a cut that ends in slashes is cut before them.
    private static func text(
        _ text: ArraySlice<UInt8>, _ field: Range<Int>, _ block: UnsafeMutableRawBufferPointer
    ) {
        let part = text.prefix(field.count)
        UnsafeMutableRawBufferPointer(rebasing: block[field]).copyBytes(from: part)
        guard text.count > field.count, part.last == slash else { return }
        var end = part.endIndex - 1
        while end > part.startIndex, part[end - 1] == slash { end -= 1 }
        block[field.lowerBound + end - part.startIndex] = 0
    }

    /// Octal digits and a zero byte; a number that does not fit becomes 0.
    private static func octal(_ value: Int64, _ field: Range<Int>, _ block: UnsafeMutableRawBufferPointer) {
        let digits = field.count - 1
        var rest = value < 0 || value >> Int64(3 * digits) != 0 ? 0 : value
        for place in stride(from: field.lowerBound + digits - 1, through: field.lowerBound, by: -1) {
            block[place] = UInt8(48 + (rest & 7))
            rest >>= 3
        }
    }
}
