extension StringProtocol {
    /// This text in quotes, fit for one line of an error message: control characters and quotes escaped, cut after 80 characters.
    ///
    /// What is quoted came from outside; a newline in it must not forge a second line in a log. Never quote a secret.
    package var quoted: String {
        var result = "\""
        var count = 0
        for scalar in unicodeScalars {
            guard count < 80 else {
                result += "…"
                break
            }
            count += 1
            switch scalar {
            case "\"", "\\": result += "\\" + String(scalar)
            default: scalar.append(to: &result)
            }
        }
        return result + "\""
    }

    /// This text with control, format and bidirectional characters escaped: one line, and nothing that a terminal obeys.
    package var oneLine: String {
        // Most texts are plain, and every error passes through here.
        if utf8.allSatisfy({ (0x20..<0x7F).contains($0) }) { return String(self) }
        var result = ""
        for scalar in unicodeScalars { scalar.append(to: &result) }
        return result
    }

    /// The longest beginning of this text within `limit` bytes of UTF-8, with an ellipsis if anything was cut.
    ///
    /// Bytes, because one visible character may have any number of them.
    package func clipped(toBytes limit: Int) -> String {
        guard utf8.count > limit else { return String(self) }
        var result = String.UnicodeScalarView()
        var count = 0
        for scalar in unicodeScalars {
            count += UTF8.width(scalar)
            guard count <= limit else { break }
            result.append(scalar)
        }
        return String(result) + "…"
    }
}

extension Unicode.Scalar {
    /// Appends this scalar, escaped unless it shows as itself.
    fileprivate func append(to text: inout String) {
        switch self {
        case "\n": text += "\\n"
        case "\r": text += "\\r"
        case "\t": text += "\\t"
        default:
            switch properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .unassigned, .surrogate:
                text += "\\u{" + String(value, radix: 16) + "}"
            default: text.unicodeScalars.append(self)
            }
        }
    }
}
