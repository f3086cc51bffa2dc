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
        let quote = UInt8(ascii: "\"")
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
                    if bytes[index] != quote {
                        field.append(bytes[index])
                        index += 1
                    } else if index + 1 < bytes.count, bytes[index + 1] == quote {
                        field.append(quote)
                        index += 2
                    } else {
                        index += 1
                        break
                    }
                }
                guard index == bytes.count || bytes[index] == UInt8(ascii: ",") else {
                    throw CacheError(
                        .invalidSpec,
                        "text follows the closing quote in column \(index): quote whole fields and double quotes inside"
                    )
                }
            } else {
                while index < bytes.count, bytes[index] != UInt8(ascii: ",") {
                    guard bytes[index] != quote else {
                        throw CacheError(
                            .invalidSpec,
                            "a quote stands inside the field in column \(index + 1): quote the whole field and double it"
                        )
                    }
                    field.append(bytes[index])
                    index += 1
                }
            }
            fields.append(String(decoding: field, as: UTF8.self))
            guard index < bytes.count else { return fields }
            index += 1  // the comma; what follows it is a field, even if nothing does
        }
    }

    /// The line of these fields, quoted only where they must be.
    static func line(of fields: some Sequence<String>) -> String {
        fields.map { field in
            guard field.unicodeScalars.contains(where: { [",", "\"", "\n", "\r"].contains($0) }) else { return field }
            // By scalars: a quote with an accent on it is another character, but its byte is still a quote.
            var quoted = "\"".unicodeScalars
            for scalar in field.unicodeScalars {
                quoted.append(contentsOf: scalar == "\"" ? [scalar, scalar] : [scalar])
            }
            return String(quoted) + "\""
        }.joined(separator: ",")
    }
}
