import BuildCacheCore
import NIOCore

/// One entry of a tar, as its headers together describe it.
///
/// Names are bytes: a tar does not say how they are encoded.
struct TarEntry: Hashable, Sendable {
    enum Kind: Hashable, Sendable {
        case file, hardLink, symbolicLink, characterDevice, blockDevice, directory, fifo
    }

    /// As it stands in the tar, the slash behind a directory's name included.
    var name: [UInt8] = []
    var kind = Kind.file
    /// Bytes of data behind the headers, before padding; 0 for everything but files.
    var size: Int64 = 0
    /// The places of the data in a sparse file, `nil` for any other.
    var sparse: SparseForm?
    var mode: Int64 = 0
    var userID: Int64 = 0
    var groupID: Int64 = 0
    var userName: [UInt8] = []
    var groupName: [UInt8] = []
    /// What a link points to.
    var linkName: [UInt8] = []
    /// Seconds since 1970, rounded down.
    var modifiedSeconds: Int64 = 0
    /// Nanoseconds into that second; more digits are cut.
    var modifiedNanoseconds: Int32 = 0
    var deviceMajor: Int64 = 0
    var deviceMinor: Int64 = 0
    /// Extended attributes by name.
    var attributes: [[UInt8]: [UInt8]] = [:]

    /// Seconds since 1970, rounded to the nearest.
    var modified: Int64 { modifiedSeconds + (modifiedNanoseconds >= 500_000_000 ? 1 : 0) }
    /// Bytes of the file with its holes.
    var fullSize: Int64 { sparse?.size ?? size }
}

/// Puts the headers of a tar together to entries, one block after the other.
///
/// It understands V7, ustar, PAX and GNU, each as Go's `archive/tar` does, and passes over global PAX headers, as containerd does. It
/// never reads data: the caller passes over the data of an entry, padding included, before the next block.
///
/// - Source: POSIX pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format".
struct TarHeaders {
    /// What must come next.
    enum Step: Hashable {
        /// Another block.
        case block
        /// This many bytes, a multiple of a block, for ``takeExtension(_:)``.
        case `extension`(Int)
        /// The data of this entry, then another block.
        case entry(TarEntry)
        /// Nothing: the two blocks of zeros that end a tar have passed. What may follow is no part of it.
        case end
    }

    private enum Extension { case pax, globalPAX, name, linkName }

    // What the headers before the entry's own say of it.
    private var records: [[UInt8]: [UInt8]] = [:]
    private var longName: [UInt8]?
    private var longLinkName: [UInt8]?
    private var awaited: (kind: Extension, size: Int)?
    private var zeroBlocks = 0
    // A sparse file whose map goes on in the next block.
    private var unfinished: (entry: TarEntry, map: SparseMap.Reader)?

    /// Whether the headers of an entry have begun, so that a tar may not end here.
    private(set) var isInsideEntry = false

    /// Takes the next block.
    ///
    /// - Throws: `CacheError` `.corrupted` for a block that is not a header, `.unsupported` for entries that no layer has,
    ///   `.limitExceeded` past ``ContentLimit``.
    mutating func take(_ block: ByteBuffer) throws(CacheError) -> Step {
        if let (entry, map) = unfinished { return try goOn(with: entry, map, block) }
        let (header, isZero) = block.withUnsafeReadableBytes { bytes in
            (HeaderBlock(bytes), bytes.allSatisfy { $0 == 0 })
        }
        if isZero {
            zeroBlocks += 1
            return zeroBlocks == 2 ? .end : .block
        }
        guard let header, zeroBlocks == 0 else {
            throw CacheError(.corrupted, "the layer is no tar: a header's checksum is wrong")
        }
        switch header.type {
        case UInt8(ascii: "x"): return try extend(.pax, header)
        case UInt8(ascii: "g"): return try extend(.globalPAX, header)
        case UInt8(ascii: "L"): return try extend(.name, header)
        case UInt8(ascii: "K"): return try extend(.linkName, header)
        default:
            if header.type == UInt8(ascii: "S") { return try beginSparse(header, block) }
            defer { forget() }
            return .entry(try entry(header))
        }
    }

    private mutating func beginSparse(_ header: HeaderBlock, _ block: ByteBuffer) throws(CacheError) -> Step {
        let entry = try entry(header)
        isInsideEntry = true
        var map = try SparseMap.Reader(header: block, of: entry.name)
        return try finish(entry, &map)
    }

    private mutating func goOn(
        with entry: TarEntry, _ map: SparseMap.Reader, _ block: ByteBuffer
    ) throws(CacheError) -> Step {
        var map = map
        try map.take(block)
        return try finish(entry, &map)
    }

    private mutating func finish(_ entry: TarEntry, _ map: inout SparseMap.Reader) throws(CacheError) -> Step {
        guard !map.isIncomplete else {
            unfinished = (entry, map)
            return .block
        }
        unfinished = nil
        defer { forget() }
        var entry = entry
        entry.sparse = .map(try map.map(stored: entry.size))
        return .entry(entry)
    }

    /// Forgets what the headers before an entry's own said.
    private mutating func forget() {
        records = [:]
        longName = nil
        longLinkName = nil
        isInsideEntry = false
    }

    /// Takes the bytes that ``Step/extension(_:)`` asked for.
    ///
    /// - Throws: `CacheError` `.corrupted`, `.limitExceeded`.
    mutating func takeExtension(_ bytes: ByteBuffer) throws(CacheError) {
        guard let (kind, size) = awaited else { return }
        awaited = nil
        let bytes = Array(bytes.readableBytesView.prefix(size))
        switch kind {
        case .pax: records = try TarHeaders.records(bytes)
        case .globalPAX:
            // Go's reader returns it as an entry of its own, so that the headers before it belong to it.
            _ = try TarHeaders.records(bytes)
            forget()
        case .name: longName = TarHeaders.text(bytes)
        case .linkName: longLinkName = TarHeaders.text(bytes)
        }
    }

    /// The text up to the first zero byte, `nil` if it is empty: then the entry's own counts.
    private static func text(_ bytes: [UInt8]) -> [UInt8]? {
        let text = bytes.prefix { $0 != 0 }
        return text.isEmpty ? nil : Array(text)
    }

    private mutating func extend(_ kind: Extension, _ header: HeaderBlock) throws(CacheError) -> Step {
        guard let size = header.size, size >= 0 else { throw TarHeaders.badNumber("size") }
        guard size <= ContentLimit.headerBytes else {
            throw CacheError(
                .limitExceeded,
                "a header of the tar has \(size) bytes: expected at most \(ContentLimit.headerBytes)")
        }
        isInsideEntry = true
        awaited = (kind, Int(size))
        if size == 0 {
            try takeExtension(ByteBuffer())
            return .block
        }
        return .extension((Int(size) + TarBlock.size - 1) / TarBlock.size * TarBlock.size)
    }

    /// The records of a PAX header, each of the form `<length> <key>=<value>\n`; of equal keys the last counts.
    private static func records(_ bytes: [UInt8]) throws(CacheError) -> [[UInt8]: [UInt8]] {
        let malformed = CacheError(.corrupted, "a PAX header of the tar is malformed")
        var records: [[UInt8]: [UInt8]] = [:]
        var sparse = SparseMap.Numbers()
        var count = 0
        var rest = bytes[...]
        while !rest.isEmpty {
            count += 1
            guard count <= ContentLimit.headerRecords else {
                throw CacheError(
                    .limitExceeded, "a PAX header of the tar has more than \(ContentLimit.headerRecords) records")
            }
            guard let space = rest.firstIndex(of: UInt8(ascii: " ")),
                let length = Int(signedDecimal: String(decoding: rest[..<space], as: UTF8.self), in: 0...Int.max),
                length > space - rest.startIndex,
                length <= rest.count, rest[rest.startIndex + length - 1] == UInt8(ascii: "\n")
            else { throw malformed }
            let record = rest[(space + 1)..<(rest.startIndex + length - 1)]
            guard let equals = record.firstIndex(of: UInt8(ascii: "=")), equals > record.startIndex else {
                throw malformed
            }
            let (key, value) = (Array(record[..<equals]), Array(record[(equals + 1)...]))
            // A zero byte would end the text for some readers and not for others.
            guard !(texts.contains(key) ? value : key).contains(0) else { throw malformed }
            if try !sparse.take(key, value) { records[key] = value }
            rest = rest[(rest.startIndex + length)...]
        }
        if let map = sparse.map { records[SparseMap.key("map")] = map }
        return records
    }

    /// The keys of records whose value is a text.
    private static let texts = ["path", "linkpath", "uname", "gname"].map { Array($0.utf8) }

    // MARK: Entries

    private func entry(_ header: HeaderBlock) throws(CacheError) -> TarEntry {
        var entry = TarEntry()
        entry.name = longName ?? text("path") ?? header.name
        entry.linkName = longLinkName ?? text("linkpath") ?? header.linkName
        entry.userName = text("uname") ?? header.userName
        entry.groupName = text("gname") ?? header.groupName
        for text in [entry.name, entry.linkName, entry.userName, entry.groupName] {
            guard text.count <= ContentLimit.nameBytes else {
                throw CacheError(
                    .limitExceeded,
                    "the tar has a name of \(text.count) bytes: expected at most \(ContentLimit.nameBytes)")
            }
        }
        entry.kind = try kind(header.type, named: entry.name)
        guard let mode = header.mode else { throw TarHeaders.badNumber("mode") }
        entry.mode = mode
        entry.userID = try number("uid", or: header.userID)
        entry.groupID = try number("gid", or: header.groupID)
        (entry.modifiedSeconds, entry.modifiedNanoseconds) = try time("mtime", or: header.modified)
        guard let major = header.deviceMajor, let minor = header.deviceMinor else {
            throw TarHeaders.badNumber("device")
        }
        entry.deviceMajor = major
        entry.deviceMinor = minor
        let size = try number("size", or: header.size)
        guard size >= 0 else { throw TarHeaders.badNumber("size") }
        // Some writers put a size into the headers of links and devices, whose data never follows.
        entry.size = entry.kind == .file ? size : 0
        for (key, value) in records {
            if key.starts(with: TarHeaders.attributePrefix) {
                entry.attributes[Array(key.dropFirst(TarHeaders.attributePrefix.count))] = value
            }
        }
        if !records.isEmpty { try SparseMap.apply(records, to: &entry) }
        return entry
    }

    private static let attributePrefix = Array("SCHILY.xattr.".utf8)

    private func kind(_ type: UInt8, named name: [UInt8]) throws(CacheError) -> TarEntry.Kind {
        switch type {
        // Before POSIX there were no directories but files whose name ends so.
        case 0: return name.last == UInt8(ascii: "/") ? .directory : .file
        case UInt8(ascii: "0"): return .file
        case UInt8(ascii: "1"): return .hardLink
        case UInt8(ascii: "2"): return .symbolicLink
        case UInt8(ascii: "3"): return .characterDevice
        case UInt8(ascii: "4"): return .blockDevice
        case UInt8(ascii: "5"): return .directory
        case UInt8(ascii: "6"): return .fifo
        case UInt8(ascii: "S"): return .file
        default:
            let type = String(decoding: [type], as: UTF8.self).debugDescription
            throw CacheError(
                .unsupported, "the layer has an entry of type \(type): expected one of the types 0 to 6 of POSIX, or S")
        }
    }

    /// A record's value; an empty one stands for the header's own.
    private func text(_ key: StaticString) -> [UInt8]? {
        guard let value = records[Array("\(key)".utf8)], !value.isEmpty else { return nil }
        return value
    }

    private func number(_ key: StaticString, or field: Int64?) throws(CacheError) -> Int64 {
        let record = text(key).map {
            Int64(signedDecimal: String(decoding: $0, as: UTF8.self), in: Int64.min...Int64.max)
        }
        guard let value = record ?? field else { throw TarHeaders.badNumber(key) }
        return value
    }

    private func time(
        _ key: StaticString, or field: Int64?
    ) throws(CacheError) -> (seconds: Int64, nanoseconds: Int32) {
        guard let record = text(key) else { return (try number(key, or: field), 0) }
        let parts = record.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
        let fraction = parts.count == 2 ? parts[1] : []
        guard let whole = parts.first,
            let seconds = Int64(
                signedDecimal: String(decoding: whole, as: UTF8.self), in: Int64.min + 1...Int64.max - 1),
            fraction.allSatisfy({ (48...57).contains($0) })
        else { throw TarHeaders.badNumber(key) }
        let digits = Array(fraction.prefix(9)) + [UInt8](repeating: 48, count: max(0, 9 - fraction.count))
        let nanoseconds = Int32(decimal: String(decoding: digits, as: UTF8.self), in: 0...999_999_999) ?? 0
        guard whole.first == UInt8(ascii: "-"), nanoseconds > 0 else { return (seconds, nanoseconds) }
        return (seconds - 1, 1_000_000_000 - nanoseconds)
    }

    private static func badNumber(_ field: StaticString) -> CacheError {
        CacheError(.corrupted, "a header of the tar has no valid number for \(field)")
    }
}

/// The fields of one header block; a field that is not a number is `nil`.
private struct HeaderBlock {
    let type: UInt8
    let name: [UInt8]
    let linkName: [UInt8]
    let mode, userID, groupID, size, modified: Int64?
    private(set) var userName: [UInt8] = []
    private(set) var groupName: [UInt8] = []
    private(set) var deviceMajor: Int64? = 0
    private(set) var deviceMinor: Int64? = 0

    /// `nil` if the checksum is wrong or the block is not whole.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count == TarBlock.size, TarBlock.hasValidChecksum(bytes) else { return nil }
        func text(_ range: Range<Int>) -> [UInt8] { Array(bytes[range].prefix { $0 != 0 }) }
        type = bytes[156]
        linkName = text(157..<257)
        mode = TarBlock.number(bytes[100..<108])
        userID = TarBlock.number(bytes[108..<116])
        groupID = TarBlock.number(bytes[116..<124])
        size = TarBlock.number(bytes[124..<136])
        modified = TarBlock.number(bytes[136..<148])
        var name = text(0..<100)
        if bytes[257..<262].elementsEqual("ustar".utf8) {
            userName = text(265..<297)
            groupName = text(297..<329)
            deviceMajor = TarBlock.number(bytes[329..<337])
            deviceMinor = TarBlock.number(bytes[337..<345])
            // GNU's magic has a space here, and other things than a prefix behind it; star's prefix is shorter.
            if bytes[262] == 0 {
                let isStar = bytes[508..<512].elementsEqual("tar\0".utf8)
                let prefix = text(isStar ? 345..<476 : 345..<500)
                if !prefix.isEmpty { name = prefix + [UInt8(ascii: "/")] + name }
            }
        }
        self.name = name
    }
}
