import BuildCacheCore

/// A document inside of the Dockerfile, as of `COPY <<EOT /file`.
struct Heredoc: Sendable {
    var name: Text
    /// Whether variables in it are expanded: not if its name was quoted.
    var expands: Bool
    /// Whether tabs at the beginnings of its lines are dropped.
    var dropsTabs: Bool
    var content: Text = []

    /// The document that a word announces, or `nil`.
    init?(word: Text) throws(CacheError) {
        var rest = word[...]
        while let first = rest.first, first.isDigit { rest.removeFirst() }
        guard rest.starts(with: "<<".unicodeScalars) else { return nil }
        rest.removeFirst(2)
        dropsTabs = rest.first == "-"
        if dropsTabs { rest.removeFirst() }
        while let first = rest.first, first.isSpace { rest.removeFirst() }
        guard !rest.isEmpty, !rest.contains("<") else { return nil }
        var lexer = ShellLexer()
        lexer.keepsUnset = true
        let words = try lexer.words(Text(rest))
        guard words.count == 1 else { return nil }
        lexer.keepsQuotes = true
        let quoted = try lexer.words(Text(rest))
        func quotes(_ text: Text) -> Int { text.count { $0 == "'" || $0 == "\"" } }
        name = words[0]
        expands = quotes(name) == quotes(quoted.first ?? [])
    }

    /// The documents that a line announces: none if the line cannot be split into words.
    static func all(in line: Text) throws(CacheError) -> [Heredoc] {
        var lexer = ShellLexer()
        lexer.keepsQuotes = true
        lexer.keepsEscapes = true
        lexer.keepsUnset = true
        guard let words = try? lexer.words(line) else { return [] }
        var found: [Heredoc] = []
        for word in words { if let heredoc = try Heredoc(word: word) { found.append(heredoc) } }
        return found
    }

    /// The content without the tabs that are dropped.
    var body: Text {
        guard dropsTabs else { return content }
        var body: Text = []
        var isAtStart = true
        for scalar in content {
            if isAtStart, scalar == "\t" { continue }
            isAtStart = scalar == "\n"
            body.append(scalar)
        }
        return body
    }
}
