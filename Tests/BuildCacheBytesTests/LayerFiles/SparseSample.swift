import NIOCore
import Testing

@testable import BuildCacheBytes

/// A tar with one sparse file, in one of the forms that GNU tar writes.
struct SparseSample: CustomTestStringConvertible, Sendable {
    var testDescription: String
    /// Without the blocks that end a tar.
    var tar: ByteBuffer

    /// A hole, a piece of data, a hole, a piece longer than a block, a hole.
    static let content: [UInt8] =
        [UInt8](repeating: 0, count: 4096) + Array("first".utf8) + [UInt8](repeating: 0, count: 8187)
        + [UInt8](repeating: 0x62, count: 700) + [UInt8](repeating: 0, count: 5000)
    private static let pieces = [(4096, 5), (12_288, 700)]
    private static let data = Array("first".utf8) + [UInt8](repeating: 0x62, count: 700)

    static let all = [
        SparseSample(testDescription: "old GNU", tar: oldGNU()),
        SparseSample(
            testDescription: "PAX 0.0",
            tar: pax(
                [("GNU.sparse.size", "\(content.count)"), ("GNU.sparse.numblocks", "2")]
                    + pieces.flatMap { [("GNU.sparse.offset", "\($0.0)"), ("GNU.sparse.numbytes", "\($0.1)")] }, data)),
        SparseSample(
            testDescription: "PAX 0.1",
            tar: pax(
                [
                    ("GNU.sparse.size", "\(content.count)"), ("GNU.sparse.numblocks", "2"),
                    ("GNU.sparse.name", "sparse"), ("GNU.sparse.map", "4096,5,12288,700"),
                ], data)),
        SparseSample(
            testDescription: "PAX 1.0",
            tar: pax(
                [
                    ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "sparse"),
                    ("GNU.sparse.realsize", "\(content.count)"),
                ], padded(Array("2\n4096\n5\n12288\n700\n".utf8)) + data)),
    ]

    private static func padded(_ bytes: [UInt8]) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: TarBlock.padding(behind: Int64(bytes.count)))
    }

    private static func pax(_ records: [(String, String)], _ data: [UInt8]) -> ByteBuffer {
        let text = records.map { key, value in
            let rest = " \(key)=\(value)\n"
            var length = rest.utf8.count
            while "\(length)".utf8.count + rest.utf8.count != length { length += 1 }
            return "\(length)\(rest)"
        }.joined()
        return TarSample.block("x", "x", size: text.utf8.count) + ByteBuffer(bytes: padded(Array(text.utf8)))
            + TarSample.block("sparse", "0", size: data.count) + ByteBuffer(bytes: padded(data))
    }

    /// The first piece stands in the header, the second in a block behind it.
    private static func oldGNU() -> ByteBuffer {
        var header = [UInt8](repeating: 0, count: 512)
        var more = header
        func put(_ text: String, _ place: Int, _ block: inout [UInt8]) {
            block.replaceSubrange(place..<place + text.utf8.count, with: text.utf8)
        }
        func octal(_ value: Int, _ digits: Int) -> String {
            let text = String(value, radix: 8)
            return String(repeating: "0", count: digits - text.count) + text
        }
        put("sparse", 0, &header)
        put("0000644", 100, &header)
        put(octal(data.count, 11), 124, &header)
        put("S", 156, &header)
        put("ustar  ", 257, &header)
        // Four pieces fit the header; empty ones come first.
        for index in 0..<3 {
            put(octal(0, 11), 386 + 24 * index, &header)
            put(octal(0, 11), 398 + 24 * index, &header)
        }
        put(octal(pieces[0].0, 11), 386 + 72, &header)
        put(octal(pieces[0].1, 11), 398 + 72, &header)
        header[482] = 1
        put(octal(content.count, 11), 483, &header)
        put(octal(pieces[1].0, 11), 0, &more)
        put(octal(pieces[1].1, 11), 12, &more)
        put("        ", 148, &header)
        put(octal(header.reduce(0) { $0 + Int($1) }, 6) + "\u{0} ", 148, &header)
        return ByteBuffer(bytes: header + more + padded(data))
    }
}
