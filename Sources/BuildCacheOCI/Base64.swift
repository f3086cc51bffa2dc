/// Base64 as in RFC 4648 §4, with padding: what Go makes of bytes in JSON.
///
/// Small enough to stay here: the alternative is to make every pure module depend on Foundation.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 255, count: 256)
        for (value, character) in alphabet.enumerated() { values[Int(character)] = UInt8(value) }
        return values
    }()

    /// The bytes, or `nil` for what is no padded Base64.
    ///
    /// Line breaks are skipped, as in Go.
    static func decode(_ text: String) -> [UInt8]? {
        let characters = text.utf8.filter { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        guard characters.count % 4 == 0 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(characters.count / 4 * 3)
        let padding = characters.suffix(2).filter { $0 == UInt8(ascii: "=") }.count
        for start in stride(from: 0, to: characters.count, by: 4) {
            let isLast = start + 4 == characters.count
            let significant = isLast ? 4 - padding : 4
            var group: UInt32 = 0
            for offset in 0..<4 {
                let value = offset < significant ? values[Int(characters[start + offset])] : 0
                guard value < 64, offset < significant || characters[start + offset] == UInt8(ascii: "=") else {
                    return nil
                }
                group = group << 6 | UInt32(value)
            }
            for shift in [UInt32(16), 8, 0].prefix(significant - 1) {
                bytes.append(UInt8(truncatingIfNeeded: group >> shift))
            }
        }
        return bytes
    }
}
