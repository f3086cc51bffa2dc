import BuildCacheCore

extension String {
    /// The text with each byte as `%XX` but `A-Z a-z 0-9 - . _ ~` and those of `kept`.
    ///
    /// - Parameter kept: ASCII characters that stay, as `/` does in a path.
    /// - Source: RFC 3986 §2.3.
    package func percentEncoded(keeping kept: String) -> String {
        var bytes: [UInt8] = []
        for byte in utf8 {
            if byte.isUnreserved || kept.utf8.contains(byte) {
                bytes.append(byte)
            } else {
                bytes += byte.percentEncoded
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The text as part of a query or a form: all but `A-Z a-z 0-9 - . _ ~` as `%XX`.
    package var percentEncoded: String { percentEncoded(keeping: "") }

    /// The text with every `%XX` as the byte it stands for.
    package var percentDecoded: String {
        guard contains("%") else { return self }
        var bytes: [UInt8] = []
        var rest = Array(utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(digits: String(decoding: rest.prefix(2), as: UTF8.self), radix: 16, in: 0...255)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension UInt8 {
    private var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }
    /// In either case.
    private func isLetter(upTo last: Unicode.Scalar) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: last)).contains(self | 0x20)
    }

    /// Whether the character stands for itself everywhere in a URL.
    var isUnreserved: Bool { isDigit || isLetter(upTo: "z") || "-._~".utf8.contains(self) }
    var isHexadecimalDigit: Bool { isDigit || isLetter(upTo: "f") }

    /// `%` and two upper-case digits.
    var percentEncoded: [UInt8] {
        let digits = Array("0123456789ABCDEF".utf8)
        return [UInt8(ascii: "%"), digits[Int(self >> 4)], digits[Int(self & 15)]]
    }
}
