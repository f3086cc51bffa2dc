import BuildCacheCore

/// Text of a Dockerfile, scalar by scalar: strings of Swift would take `e` and its accent for one character, and a quote with one for
/// another.
typealias Text = [Unicode.Scalar]

extension Text {
    init(_ text: String) { self = Array(text.unicodeScalars) }

    var string: String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: self)
        return String(view)
    }

    var lowercased: Text { Text(string.lowercased()) }

    /// Without the space around it, as Go's `strings.TrimSpace`.
    var trimmed: Text {
        var rest = self[...]
        while let first = rest.first, first.isSpace { rest.removeFirst() }
        while let last = rest.last, last.isSpace { rest.removeLast() }
        return Text(rest)
    }

    func hasPrefix(_ text: String) -> Bool { starts(with: text.unicodeScalars) }
    func isExactly(_ text: String) -> Bool { elementsEqual(text.unicodeScalars) }

    /// The parts before and behind the first separator, or `nil`.
    func cut(_ separator: Unicode.Scalar) -> (Text, Text)? {
        guard let index = firstIndex(of: separator) else { return nil }
        return (Text(self[..<index]), Text(self[(index + 1)...]))
    }

    /// The parts between runs of blanks, at most `limit`; blanks at the ends make empty parts.
    func splitBlanks(limit: Int = .max) -> [Text] {
        var parts: [Text] = []
        var part: Text = []
        var index = 0
        while index < count {
            guard self[index].isBlank, parts.count + 1 < limit else {
                part.append(self[index])
                index += 1
                continue
            }
            while index < count, self[index].isBlank { index += 1 }
            parts.append(part)
            part = []
        }
        return parts + [part]
    }
}

extension Unicode.Scalar {
    /// Whether Go's `unicode.IsSpace` counts this as space.
    var isSpace: Bool {
        switch value {
        case 0x09...0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
        default: false
        }
    }

    /// Whether this separates the words of most instructions: space but the line break.
    var isBlank: Bool {
        switch value {
        case 0x09, 0x0B, 0x0C, 0x0D, 0x20: true
        default: false
        }
    }

    var isDigit: Bool { (0x30...0x39).contains(value) }

    /// Whether Go's `unicode.IsDigit` counts this as a digit.
    var isNumber: Bool { properties.generalCategory == .decimalNumber }

    /// Whether Go's `unicode.IsLetter` counts this as a letter.
    var isLetter: Bool {
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
        default: false
        }
    }
}
