import BuildCacheCore

/// Expands variables, quotes and escapes of a word, as BuildKit's front end does, which is not quite as a shell does.
///
/// - Source: BuildKit `frontend/dockerfile/shell/lex.go`.
struct ShellLexer {
    /// `\` or a backquote.
    var escape: Unicode.Scalar
    /// Whether quotes are plain characters.
    var ignoresQuotes = false
    /// Whether quotes stay where they are.
    var keepsQuotes = false
    /// Whether escapes stay where they are.
    var keepsEscapes = false
    /// Whether a variable that is not set stays as it is written.
    var keepsUnset = false

    static let maximumDepth = 64
    /// The longest text that variables may grow to.
    private static let maximumLength = 1 << 20

    init(escape: Unicode.Scalar = "\\") { self.escape = escape }

    /// The word with all that is in it expanded.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for quotes and braces that are not closed, `.unsupported` for substitutions by pattern.
    func expand(_ word: Text, _ environment: (Text) -> Text?) throws(CacheError) -> Text {
        var cursor = Cursor(text: word)
        return try process(
            &cursor, Words(isWanted: false), until: nil, keepsEscapes: keepsEscapes, depth: 0, environment
        ).text
    }

    /// The words of a line.
    func words(_ line: Text) throws(CacheError) -> [Text] {
        var cursor = Cursor(text: line)
        return try process(&cursor, Words(isWanted: true), until: nil, keepsEscapes: keepsEscapes, depth: 0) { _ in nil
        }
        .words
    }

    struct Cursor {
        let text: Text
        var index = 0
        var next: Unicode.Scalar? { index < text.count ? text[index] : nil }

        mutating func take() -> Unicode.Scalar? {
            defer { index += 1 }
            return next
        }
    }

    /// Collects words as they go by.
    struct Words {
        /// Whether anything asks for them: they cost as much as the text itself.
        let isWanted: Bool
        var words: [Text] = []
        var word: Text = []

        mutating func add(raw text: Text) { if isWanted { word += text } }

        mutating func add(_ scalar: Unicode.Scalar) {
            guard isWanted else { return }
            guard scalar.isSpace else { return word.append(scalar) }
            if !word.isEmpty { words.append(word) }
            word = []
        }

        var all: [Text] { word.isEmpty ? words : words + [word] }
    }

    func process(
        _ cursor: inout Cursor, _ words: consuming Words, until end: Unicode.Scalar?, keepsEscapes: Bool, depth: Int,
        _ environment: (Text) -> Text?
    ) throws(CacheError) -> (text: Text, words: [Text]) {
        var text: Text = []
        while let next = cursor.next {
            try ShellLexer.checkLength(text)
            if next == end {
                cursor.index += 1
                return (text, words.all)
            }
            switch next {
            case "$":
                let value = try variable(&cursor, keepsEscapes: keepsEscapes, depth: depth, environment)
                text += value
                if words.isWanted { for scalar in value { words.add(scalar) } }
            case "<":
                let marker = heredocMarker(&cursor)
                text += marker
                words.add(raw: marker)
            case "'" where !ignoresQuotes:
                let quoted = try singleQuoted(&cursor)
                text += quoted
                words.add(raw: quoted)
            case "\"" where !ignoresQuotes:
                let quoted = try doubleQuoted(&cursor, keepsEscapes: keepsEscapes, depth: depth, environment)
                text += quoted
                words.add(raw: quoted)
            case escape:
                cursor.index += 1
                if keepsEscapes {
                    text.append(next)
                    words.add(raw: [next])
                }
                guard let escaped = cursor.take() else { break }
                text.append(escaped)
                words.add(raw: [escaped])
            default:
                cursor.index += 1
                text.append(next)
                words.add(next)
            }
        }
        guard let end else { return (text, words.all) }
        throw CacheError(.invalidSpec, "the substitution has no closing \(String(end).quoted)")
    }

    private static func checkLength(_ text: Text) throws(CacheError) {
        guard text.count <= maximumLength else {
            throw CacheError(.limitExceeded, "variables expand to more than \(maximumLength) characters")
        }
    }

    /// `<<` and the blanks behind it belong to the word that follows.
    private func heredocMarker(_ cursor: inout Cursor) -> Text {
        cursor.index += 1
        guard cursor.next == "<" else { return ["<"] }
        cursor.index += 1
        var marker = Text("<<")
        while let next = cursor.next, next == "\t" || next == "\r" || next == " " {
            marker.append(next)
            cursor.index += 1
        }
        return marker
    }

    private func singleQuoted(_ cursor: inout Cursor) throws(CacheError) -> Text {
        cursor.index += 1
        var text: Text = keepsQuotes ? ["'"] : []
        while let next = cursor.take() {
            guard next == "'" else {
                text.append(next)
                continue
            }
            return keepsQuotes ? text + ["'"] : text
        }
        throw CacheError(.invalidSpec, "a single quote is not closed")
    }

    private func doubleQuoted(
        _ cursor: inout Cursor, keepsEscapes: Bool, depth: Int, _ environment: (Text) -> Text?
    ) throws(CacheError) -> Text {
        cursor.index += 1
        var text: Text = keepsQuotes ? ["\""] : []
        while let next = cursor.next {
            try ShellLexer.checkLength(text)
            switch next {
            case "\"":
                cursor.index += 1
                return keepsQuotes ? text + ["\""] : text
            case "$": text += try variable(&cursor, keepsEscapes: keepsEscapes, depth: depth, environment)
            case escape:
                cursor.index += 1
                if keepsEscapes { text.append(next) }
                // Only these can be escaped; in front of anything else the escape is a character.
                if let escaped = cursor.next {
                    let isEscaped = escaped == "\"" || escaped == "$" || escaped == escape
                    if isEscaped { cursor.index += 1 }
                    text.append(isEscaped ? escaped : next)
                }
            default:
                cursor.index += 1
                text.append(next)
            }
        }
        throw CacheError(.invalidSpec, "a double quote is not closed")
    }
}
