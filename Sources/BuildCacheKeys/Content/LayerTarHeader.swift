import BuildCacheCore

/// One header block of a layer's tar.
struct LayerTarHeader {
    /// A header that says more of the entry behind it.
    enum Extension { case pax, globalPax, name, linkName }

    /// A file of a layer.
    struct Entry {
        var path: [UInt8]
        var metadata: FileMetadata
        /// Of a hard link, the file whose other name it is.
        var linkTarget: [UInt8]?
    }

    /// The extensions that stand before an entry's own header.
    struct Pending {
        private(set) var records: [[UInt8]: [UInt8]] = [:]
        private(set) var name: [UInt8]?
        private(set) var linkName: [UInt8]?

        var isEmpty: Bool { records.isEmpty && name == nil && linkName == nil }

        mutating func take(_ kind: Extension, _ bytes: [UInt8]) throws(CacheError) {
            let text = Array(bytes.prefix { $0 != 0 })
            switch kind {
            case .pax: records = try Pending.records(bytes)
            case .globalPax: self = Pending()
            case .name: name = text.isEmpty ? nil : text
            case .linkName: linkName = text.isEmpty ? nil : text
            }
        }

        /// The records of a PAX header, each of the form `<length> <key>=<value>\n`; of equal keys the last counts.
        private static func records(_ bytes: [UInt8]) throws(CacheError) -> [[UInt8]: [UInt8]] {
            let malformed = CacheError(.corrupted, "a PAX header of a layer is malformed")
            var records: [[UInt8]: [UInt8]] = [:]
            var rest = bytes[...]
            while !rest.isEmpty {
                guard let space = rest.firstIndex(of: UInt8(ascii: " ")),
                    let length = Int(decimal: String(decoding: rest[..<space], as: UTF8.self), in: 1...bytes.count),
                    length > space - rest.startIndex, length <= rest.count,
                    rest[rest.startIndex + length - 1] == UInt8(ascii: "\n"),
                    space + 1 < rest.startIndex + length
                else { throw malformed }
                let record = rest[(space + 1)..<(rest.startIndex + length - 1)]
                guard let equals = record.firstIndex(of: UInt8(ascii: "=")) else { throw malformed }
                records[Array(record[..<equals])] = Array(record[(equals + 1)...])
                rest = rest.dropFirst(length)
            }
            return records
        }

        func text(_ key: StaticString) -> [UInt8]? {
            guard let value = records[Array("\(key)".utf8)], !value.isEmpty else { return nil }
            return value
        }
    }

    let size: Int64
    private let block: [UInt8]
    private var type: UInt8 { block[156] }

    /// - Throws: `CacheError` `.corrupted` for a wrong checksum.
    init(_ block: [UInt8]) throws(CacheError) {
        self.block = block
        let stated = LayerTarHeader.number(block[148..<156])
        let sum = block.enumerated().reduce(Int64(0)) { $0 + ((148..<156).contains($1.0) ? 32 : Int64($1.1)) }
        // Some old writers summed signed bytes.
        let signed = block.enumerated().reduce(Int64(0)) {
            $0 + ((148..<156).contains($1.0) ? 32 : Int64(Int8(bitPattern: $1.1)))
        }
        guard let stated, stated == sum || stated == signed else {
            throw CacheError(.corrupted, "the layer is not a tar: a header's checksum is wrong")
        }
        guard let size = LayerTarHeader.number(block[124..<136]), size >= 0 else {
            throw LayerTarHeader.badNumber("size")
        }
        self.size = size
    }

    var `extension`: Extension? {
        switch type {
        case UInt8(ascii: "x"): .pax
        case UInt8(ascii: "g"): .globalPax
        case UInt8(ascii: "L"): .name
        case UInt8(ascii: "K"): .linkName
        default: nil
        }
    }

    /// The file that this header describes, together with those before it.
    func entry(_ pending: Pending) throws(CacheError) -> Entry {
        let path = pending.name ?? pending.text("path") ?? name
        let target = pending.linkName ?? pending.text("linkpath") ?? text(157..<257)
        for name in [path, target] where name.count > LayerTarHeader.maximumName {
            throw CacheError(
                .limitExceeded,
                "the layer has a name of \(name.count) bytes: expected at most \(LayerTarHeader.maximumName)")
        }
        var metadata = FileMetadata()
        metadata.permissions = UInt32(truncatingIfNeeded: try number(100..<108, "mode")) & 0o7777
        metadata.uid = UInt32(truncatingIfNeeded: try number(108..<116, "uid", pending.text("uid")))
        metadata.gid = UInt32(truncatingIfNeeded: try number(116..<124, "gid", pending.text("gid")))
        for (key, value) in pending.records where key.starts(with: LayerTarHeader.attribute) {
            let name = Array(key.dropFirst(LayerTarHeader.attribute.count))
            // A daemon does not set these when it unpacks a layer.
            if !name.starts(with: "trusted.".utf8) { metadata.attributes[name] = value }
        }
        if pending.records.keys.contains(where: { $0.starts(with: "GNU.sparse.".utf8) }) {
            throw CacheError(.unsupported, "the layer has a sparse file, \(path.shown)")
        }
        switch type {
        case 0 where path.last == BytePath.slash: metadata.kind = .directory
        case 0, UInt8(ascii: "0"):
            metadata.size = try number(124..<136, "size", pending.text("size"))
            guard metadata.size >= 0 else { throw LayerTarHeader.badNumber("size") }
        case UInt8(ascii: "1"): return Entry(path: path, metadata: metadata, linkTarget: target)
        case UInt8(ascii: "2"): metadata.kind = .symlink(target)
        case UInt8(ascii: "3"): metadata.kind = .characterDevice
        case UInt8(ascii: "4"): metadata.kind = .blockDevice
        case UInt8(ascii: "5"): metadata.kind = .directory
        case UInt8(ascii: "6"): metadata.kind = .fifo
        default:
            throw CacheError(.unsupported, "the layer has an entry of the type \([type].shown), \(path.shown)")
        }
        return Entry(path: path, metadata: metadata, linkTarget: nil)
    }

    private static let attribute = Array("SCHILY.xattr.".utf8)
    /// The longest path that Linux takes.
    private static let maximumName = 4096

    /// The name with its prefix, of which GNU's own form has none.
    private var name: [UInt8] {
        let name = text(0..<100)
        guard block[257..<263].elementsEqual("ustar\0".utf8) else { return name }
        let isStar = block[508..<512].elementsEqual("tar\0".utf8)
        let prefix = text(isStar ? 345..<476 : 345..<500)
        return prefix.isEmpty ? name : prefix + [BytePath.slash] + name
    }

    private func text(_ range: Range<Int>) -> [UInt8] { Array(block[range].prefix { $0 != 0 }) }

    private func number(_ range: Range<Int>, _ field: StaticString, _ record: [UInt8]? = nil) throws(CacheError)
        -> Int64
    {
        let value = record.map {
            Int64(signedDecimal: String(decoding: $0, as: UTF8.self), in: Int64.min...Int64.max)
        }
        guard let number = value ?? LayerTarHeader.number(block[range]) else { throw LayerTarHeader.badNumber(field) }
        return number
    }

    private static func badNumber(_ field: StaticString) -> CacheError {
        CacheError(.corrupted, "a header of the layer has no valid number for \(field)")
    }

    /// Octal digits, or big-endian behind a set bit, as GNU writes large numbers.
    private static func number(_ field: ArraySlice<UInt8>) -> Int64? {
        guard let first = field.first else { return nil }
        if first & 0x80 != 0 {
            var value: Int64 = first & 0x40 != 0 ? -1 : 0
            for (index, byte) in field.enumerated() {
                let byte = index == 0 && value == 0 ? byte & 0x7F : byte
                guard value >> 55 == (value < 0 ? -1 : 0) else { return nil }
                value = value << 8 | Int64(byte)
            }
            return value
        }
        let digits = field.drop { $0 == 0x20 || $0 == 0 }.prefix { $0 != 0x20 && $0 != 0 }
        let rest = field.drop { $0 == 0x20 || $0 == 0 }.dropFirst(digits.count)
        guard rest.allSatisfy({ $0 == 0x20 || $0 == 0 }) else { return nil }
        if digits.isEmpty { return 0 }
        return Int64(digits: String(decoding: digits, as: UTF8.self), radix: 8, in: 0...Int64.max)
    }
}
