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
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            default:
                switch scalar.properties.generalCategory {
                case .control, .format, .lineSeparator, .paragraphSeparator, .unassigned, .surrogate:
                    result += "\\u{" + String(scalar.value, radix: 16) + "}"
                default: result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }
}
