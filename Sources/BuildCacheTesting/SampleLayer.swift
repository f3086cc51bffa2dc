public import BuildCacheCore

/// A little layer: a tar with one file.
///
/// The bytes are made here by hand, so that no check relies on the code it checks.
public struct SampleLayer: Hashable, Sendable {
    /// The uncompressed tar.
    public let tar: [UInt8]
    /// The bytes as stored.
    public let stored: [UInt8]
    /// The stored blob, with diffID and time.
    public let descriptor: Descriptor

    /// Makes a layer with one file.
    ///
    /// - Parameters:
    ///   - text: What is in the file; layers of one text are equal.
    ///   - isCompressed: Whether it is stored as gzip or as it is.
    ///   - second: When it was made, in seconds since 1970.
    public init(_ text: String, isCompressed: Bool = true, second: Int64 = 1_790_000_000) {
        tar = SampleLayer.tar(name: "file", Array(text.utf8))
        stored = isCompressed ? SampleLayer.gzip(tar) : tar
        descriptor = Descriptor(
            mediaType: .layer(isCompressed ? .gzip : .uncompressed), digest: Digest(of: stored),
            size: Int64(stored.count),
            annotations: [
                Annotation.uncompressed: Digest(of: tar).description,
                Annotation.createdAt: (Timestamp(seconds: second) ?? .zero).description,
            ])
    }

    /// A tar of one file: a header, the bytes, and two blocks of zeros.
    private static func tar(name: String, _ bytes: [UInt8]) -> [UInt8] {
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, at offset: Int) {
            header.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
        }
        func octal(_ value: Int, digits: Int) -> String {
            let text = String(value, radix: 8)
            return String(repeating: "0", count: digits - text.count) + text
        }
        put(name, at: 0)
        put("0000644", at: 100)
        put("0000000", at: 108)
        put("0000000", at: 116)
        put(octal(bytes.count, digits: 11), at: 124)
        put("00000000000", at: 136)
        // The checksum counts itself as spaces.
        put("        ", at: 148)
        put("0ustar", at: 156)
        put("00", at: 263)
        put(octal(header.reduce(0) { $0 + Int($1) }, digits: 6) + "\0 ", at: 148)
        let padding = (512 - bytes.count % 512) % 512
        return header + bytes + [UInt8](repeating: 0, count: padding + 1024)
    }

    /// Gzip that stores: a header, blocks of at most 65 535 bytes, the CRC and the length.
    private static func gzip(_ bytes: [UInt8]) -> [UInt8] {
        func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
            withUnsafeBytes(of: value.littleEndian) { Array($0) }
        }
        var gzip: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF]
        var rest = bytes[...]
        repeat {
            let block = rest.prefix(0xFFFF)
            rest = rest.dropFirst(block.count)
            gzip +=
                [rest.isEmpty ? 1 : 0] + littleEndian(UInt16(block.count)) + littleEndian(~UInt16(block.count)) + block
        } while !rest.isEmpty
        return gzip + littleEndian(crc32(bytes)) + littleEndian(UInt32(truncatingIfNeeded: bytes.count))
    }

    private static func crc32(_ bytes: [UInt8]) -> UInt32 {
        var crc: UInt32 = .max
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 0 ? crc >> 1 : (crc >> 1) ^ 0xEDB8_8320 }
        }
        return ~crc
    }
}
