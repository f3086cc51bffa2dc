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

    /// This text with control characters escaped: one line, and nothing that a terminal obeys.
    package var oneLine: String {
        var result = ""
        for scalar in unicodeScalars { scalar.append(to: &result) }
        return result
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
