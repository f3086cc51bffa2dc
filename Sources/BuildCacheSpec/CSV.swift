import BuildCacheCore

/// One line of comma-separated fields, quoted as RFC 4180 says.
///
/// - Source: `Documentation/Spec/spec-syntax.md` §1; tonistiigi/go-csvvalue.
enum CSV {
    /// The fields of `line`, without their quotes.
    ///
    /// One line break at the end is not part of it.
    ///
    /// - Throws: `.invalidSpec` with the column, never the content: it may be a secret.
    static func fields(of line: some StringProtocol) throws(CacheError) -> [String] {
        let bytes = Array(line.utf8)
        var fields: [String] = []
        var index = 0
        while true {
            var field: [UInt8] = []
            if index < bytes.count, bytes[index] == quote {
                let opening = index
                index += 1
                while true {
                    guard index < bytes.count else {
                        throw CacheError(.invalidSpec, "the quote in column \(opening + 1) is never closed")
                    }
                    if bytes[index] == quote {
                        index += 1
                        // A second one stands for a quote in the field.
                        guard index < bytes.count, bytes[index] == quote else { break }
                    }
                    field.append(bytes[index])
                    index += 1
                }
                guard index == bytes.count || bytes[index] == comma else {
                    throw CacheError(
                        .invalidSpec,
                        "text follows the closing quote in column \(index): quote whole fields and double quotes inside"
                    )
                }
            } else {
                field += bytes[index...].prefix { $0 != comma && $0 != quote }
                index += field.count
                guard index == bytes.count || bytes[index] == comma else {
                    throw CacheError(
                        .invalidSpec,
                        "a quote stands inside the field in column \(index + 1): quote the whole field and double it")
                }
            }
            fields.append(String(decoding: field, as: UTF8.self))
            guard index < bytes.count else { return fields }
            index += 1  // The comma: what follows it is a field, even if it is empty.
        }
    }

    /// The line of these fields, quoted only where they must be.
    static func line(of fields: some Sequence<String>) -> String {
        fields.map { field in
            guard field.utf8.contains(where: special.contains) else { return field }
            // By bytes: a quote with an accent on it is another character, but its byte is still a quote.
            let quoted = field.utf8.flatMap { $0 == quote ? [quote, quote] : [$0] }
            return "\"\(String(decoding: quoted, as: UTF8.self))\""
        }.joined(separator: ",")
    }

    private static let quote = UInt8(ascii: "\"")
    private static let comma = UInt8(ascii: ",")
    private static let special = [quote, comma, UInt8(ascii: "\n"), UInt8(ascii: "\r")]
}
