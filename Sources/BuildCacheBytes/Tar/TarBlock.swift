import NIOCore

/// One of the 512-byte blocks that a tar is made of.
enum TarBlock {
    static let size = 512
    private static let checksum = 148..<156

    /// How many zeros fill the last block of `size` bytes.
    static func padding(behind size: Int64) -> Int {
        Int((Int64(TarBlock.size) - size % Int64(TarBlock.size)) % Int64(TarBlock.size))
    }

    /// The header of a file that belongs to nobody and has no date, as Go's `archive/tar` writes it.
    static func header(ofFile name: String, size: Int64) -> ByteBuffer {
        var block = [UInt8](repeating: 0, count: TarBlock.size)
        func octal(_ value: Int64, _ digits: Int) -> String {
            let text = String(value, radix: 8)
            return String(repeating: "0", count: digits - text.count) + text
        }
        func put(_ text: String, at index: Int) {
            block.replaceSubrange(index..<index + text.utf8.count, with: text.utf8)
        }
        put(name, at: 0)
        for field in [100, 108, 116, 329, 337] { put(octal(0, 7), at: field) }
        put(octal(size, 11), at: 124)
        put(octal(0, 11), at: 136)
        put("0", at: 156)
        put("ustar\u{0}00", at: 257)
        // The sum counts its own field as spaces.
        let sum = block.reduce(8 * 32) { $0 + Int64($1) }
        put(octal(sum, 6) + "\u{0} ", at: checksum.lowerBound)
        return ByteBuffer(bytes: block)
    }

    /// Whether the first block of `bytes` can begin a tar: a header whose checksum is right, or zeros, which end one.
    static func isHeaderOrZero(_ bytes: ByteBuffer) -> Bool {
        bytes.withUnsafeReadableBytes { bytes in
            guard bytes.count >= size else { return false }
            let block = UnsafeRawBufferPointer(rebasing: bytes[..<size])
            return block.allSatisfy { $0 == 0 } || hasValidChecksum(block)
        }
    }

    /// Whether the checksum field holds the sum of the block's bytes, its own counted as spaces.
    ///
    /// Some old writers summed signed bytes; readers accept both, Go's among them.
    static func hasValidChecksum(_ block: UnsafeRawBufferPointer) -> Bool {
        guard let expected = octal(block[checksum]) else { return false }
        // Sums of machine words would overflow; the compiler makes vectors of this loop.
        var sum: UInt32 = 0
        var high: UInt32 = 0
        for byte in block {
            sum &+= UInt32(byte)
            high &+= UInt32(byte >> 7)
        }
        for byte in block[checksum] {
            sum &-= UInt32(byte)
            high &-= UInt32(byte >> 7)
        }
        let unsigned = Int64(sum) + 8 * Int64(UInt8(ascii: " "))
        let signed = unsigned - 256 * Int64(high)
        return expected == unsigned || expected == signed
    }

    /// The number in a field: octal digits, or big-endian two's complement behind a set bit, as GNU writes large ones.
    static func number(_ field: Slice<UnsafeRawBufferPointer>) -> Int64? {
        guard let first = field.first, first & 0x80 != 0 else { return octal(field) }
        let isNegative = first & 0x40 != 0
        var value: Int64 = isNegative ? -1 : 0
        for (index, byte) in field.enumerated() {
            // The topmost bit only says that this is no text; the next one is the sign.
            let byte = index == 0 ? (isNegative ? byte : byte & 0x7F) : byte
            guard value >> 55 == (isNegative ? -1 : 0) else { return nil }
            value = value << 8 | Int64(byte)
        }
        return value
    }

    /// The number written in octal digits, with spaces and zero bytes around it; empty is 0, anything else `nil`.
    static func octal(_ field: Slice<UnsafeRawBufferPointer>) -> Int64? {
        var value: Int64 = 0
        var index = field.startIndex
        while index < field.endIndex, field[index] == UInt8(ascii: " ") || field[index] == 0 { index += 1 }
        while index < field.endIndex, field[index] != UInt8(ascii: " "), field[index] != 0 {
            guard (48...55).contains(field[index]), value < 1 << 60 else { return nil }
            value = value << 3 | Int64(field[index] - 48)
            index += 1
        }
        return field[index...].allSatisfy { $0 == UInt8(ascii: " ") || $0 == 0 } ? value : nil
    }
}
