import NIOCore

/// Tars for tests, written by other code than that under test.
enum TarSample {
    /// Something in a tar.
    struct Entry {
        var name: String
        var type: Character = "0"
        var data = ByteBuffer()
        var link = ""
        var device = (0, 0)
        var attributes: [String: String] = [:]
        /// Writes a long name as GNU's tar does, not as POSIX says.
        var usesGNU = false

        static func file(_ name: String, _ data: ByteBuffer, attributes: [String: String] = [:]) -> Entry {
            Entry(name: name, data: data, attributes: attributes)
        }
        static func directory(_ name: String) -> Entry { Entry(name: name, type: "5") }
        static func hardLink(_ name: String, _ link: String) -> Entry { Entry(name: name, type: "1", link: link) }
        static func symbolicLink(_ name: String, _ link: String) -> Entry { Entry(name: name, type: "2", link: link) }
        static func device(_ name: String, _ type: Character, _ major: Int, _ minor: Int) -> Entry {
            Entry(name: name, type: type, device: (major, minor))
        }
    }

    /// One small file, made by hand: a header, a block of data, two blocks of zeros.
    static let small = tar([.file("hello.txt", ByteBuffer(string: "hello"))])

    /// A whole tar.
    static func tar(_ entries: [Entry]) -> ByteBuffer {
        var tar = ByteBuffer()
        for entry in entries { tar.writeImmutableBuffer(headers(entry) + padded(entry.data)) }
        tar.writeRepeatingByte(0, count: 1024)
        return tar
    }

    /// The headers of an entry, long names and attributes included.
    static func headers(_ entry: Entry) -> ByteBuffer {
        var bytes = ByteBuffer()
        var records: [(String, String)] = entry.attributes.map { ("SCHILY.xattr.\($0)", $1) }.sorted { $0.0 < $1.0 }
        if entry.usesGNU {
            for (type, text) in [("K", entry.link), ("L", entry.name)] where text.utf8.count > 100 {
                let data = ByteBuffer(string: text + "\0")
                bytes.writeImmutableBuffer(block("././@LongLink", Character(type), size: data.readableBytes, gnu: true))
                bytes.writeImmutableBuffer(padded(data))
            }
        } else {
            if entry.name.utf8.count > 100 { records.append(("path", entry.name)) }
            if entry.link.utf8.count > 100 { records.append(("linkpath", entry.link)) }
        }
        if !records.isEmpty {
            let data = ByteBuffer(string: records.map(record).joined())
            bytes.writeImmutableBuffer(block("PaxHeaders.0/x", "x", size: data.readableBytes))
            bytes.writeImmutableBuffer(padded(data))
        }
        bytes.writeImmutableBuffer(
            block(
                entry.name, entry.type, size: entry.data.readableBytes, link: entry.link, device: entry.device,
                gnu: entry.usesGNU))
        return bytes
    }

    /// `<length> <key>=<value>\n`, where the length counts its own digits.
    private static func record(_ key: String, _ value: String) -> String {
        let rest = " \(key)=\(value)\n"
        var length = rest.utf8.count
        while "\(length)".utf8.count + rest.utf8.count != length { length = "\(length)".utf8.count + rest.utf8.count }
        return "\(length)\(rest)"
    }

    private static func padded(_ data: ByteBuffer) -> ByteBuffer {
        var data = data
        data.writeRepeatingByte(0, count: (512 - data.readableBytes % 512) % 512)
        return data
    }

    static func block(
        _ name: String, _ type: Character, size: Int, link: String = "", device: (Int, Int) = (0, 0), gnu: Bool = false
    ) -> ByteBuffer {
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, _ offset: Int, _ length: Int) {
            let bytes = Array(text.utf8.prefix(length))
            header.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        }
        func put(_ number: Int, _ offset: Int, _ digits: Int) {
            let text = String(number, radix: 8)
            put(String(repeating: "0", count: max(0, digits - text.count)) + text, offset, digits)
        }
        put(name, 0, 100)
        put(0o644, 100, 7)
        put(1000, 108, 7)
        put(1000, 116, 7)
        put(size, 124, 11)
        put(1_700_000_000, 136, 11)
        put(String(type), 156, 1)
        put(link, 157, 100)
        put(gnu ? "ustar  \0" : "ustar\u{0}00", 257, 8)
        put("user", 265, 32)
        put("group", 297, 32)
        put(device.0, 329, 7)
        put(device.1, 337, 7)
        put(header.reduce(8 * 32) { $0 + Int($1) }, 148, 6)
        put(" ", 155, 1)
        return ByteBuffer(bytes: header)
    }
}
