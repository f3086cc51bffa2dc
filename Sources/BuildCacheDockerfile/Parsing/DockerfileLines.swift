import BuildCacheCore

/// An instruction as it is written, continued lines joined.
struct DockerfileLine: Sendable {
    /// The line where it begins, counted from 1.
    var number: Int
    /// The whole text.
    var original: Text
    var keyword: Text
    var flags: [Text]
    var arguments: Text
    var heredocs: [Heredoc] = []
}

/// Splits a Dockerfile into instructions.
///
/// - Source: BuildKit `frontend/dockerfile/parser/parser.go`.
struct DockerfileLines {
    private(set) var lines: [DockerfileLine] = []
    /// `\` or a backquote.
    private(set) var escape: Unicode.Scalar = "\\"
    private var raw: [Text]
    private var index = 0

    /// The longest line that BuildKit reads.
    private static let maximumLine = 64 << 10

    init(_ text: Text) throws(CacheError) {
        raw = []
        var rest = text[...]
        if rest.first == "\u{FEFF}" { rest.removeFirst() }
        while !rest.isEmpty {
            let end = rest.firstIndex(of: "\n").map { $0 + 1 } ?? rest.endIndex
            raw.append(Text(rest[..<end]))
            rest = rest[end...]
            guard raw[raw.count - 1].count < DockerfileLines.maximumLine else {
                throw CacheError.line(raw.count, "the line is longer than \(DockerfileLines.maximumLine) characters")
            }
        }
        try readDirectives()
        while index < raw.count { try readInstruction() }
        guard !lines.isEmpty else { throw CacheError(.invalidSpec, "the Dockerfile has no instructions") }
    }

    /// Reads comments of the form `# escape=…`, which stand above all others.
    private mutating func readDirectives() throws(CacheError) {
        var seen: Set<String> = []
        for (index, line) in raw.enumerated() {
            let line = line.trimmed
            guard line.first == "#", let (key, value) = Text(line.dropFirst()).cut("=") else { return }
            let name = key.trimmed.lowercased.string
            guard ["escape", "syntax", "check"].contains(name), !value.trimmed.isEmpty else { return }
            guard seen.insert(name).inserted else {
                throw CacheError.line(index + 1, "only one \(name) directive is possible")
            }
            switch name {
            case "escape":
                guard value.trimmed == ["\\"] || value.trimmed == ["`"] else {
                    throw CacheError.line(index + 1, "invalid escape \(value.trimmed.string.quoted): expected \\ or `")
                }
                escape = value.trimmed[0]
            case "syntax":
                // The front end of this name is the one that this module follows; others make operations of their own.
                let known = ["docker/dockerfile:1", "docker.io/docker/dockerfile:1"]
                guard known.contains(where: { value.trimmed.isExactly($0) }) else {
                    throw CacheError.line(
                        index + 1,
                        "the front end \(value.trimmed.string.quoted) is not supported: expected docker/dockerfile:1",
                        code: .unsupported)
                }
            default: break
            }
        }
    }

    private mutating func readInstruction() throws(CacheError) {
        let number = index + 1
        var line = Text(DockerfileLines.withoutLineEnd(raw[index]).drop { $0.isSpace })
        index += 1
        if line.first == "#" { line = [] }
        var isEnd = !removeContinuation(&line)
        if isEnd, line.isEmpty { return }
        while !isEnd, index < raw.count {
            var next = DockerfileLines.withoutLineEnd(raw[index])
            index += 1
            let first = next.first { !$0.isSpace }
            if first == "#" || first == nil { continue }
            isEnd = !removeContinuation(&next)
            line += next
        }
        var instruction = try DockerfileLine(line, number: number)
        if instruction.canHaveHeredocs {
            for var heredoc in try Heredoc.all(in: line) {
                try read(&heredoc, number)
                instruction.heredocs.append(heredoc)
            }
        }
        lines.append(instruction)
    }

    private mutating func read(_ heredoc: inout Heredoc, _ number: Int) throws(CacheError) {
        while index < raw.count {
            let line = raw[index]
            index += 1
            var end = DockerfileLines.withoutLineEnd(line)
            if heredoc.dropsTabs { end = Text(end.drop { $0 == "\t" }) }
            if end == heredoc.name { return }
            heredoc.content += line
        }
        throw CacheError.line(number, "the document \(heredoc.name.string.quoted) has no end")
    }

    private static func withoutLineEnd(_ line: Text) -> Text {
        var rest = line[...]
        while rest.last == "\n" || rest.last == "\r" { rest.removeLast() }
        return Text(rest)
    }

    /// Removes an escape at the end of a line, and says whether there was one.
    private func removeContinuation(_ line: inout Text) -> Bool {
        var end = line[...]
        while end.last == " " || end.last == "\t" { end.removeLast() }
        guard end.last == escape else { return false }
        end.removeLast()
        // An escape that is escaped itself is a character.
        guard end.last != escape else { return false }
        line = Text(end)
        return true
    }
}

extension DockerfileLine {
    /// Splits a line into its keyword, flags and arguments.
    init(_ line: Text, number: Int) throws(CacheError) {
        self.number = number
        original = line
        let parts = line.trimmed.splitBlanks(limit: 2)
        keyword = parts[0].lowercased
        flags = []
        arguments = []
        guard parts.count == 2 else { return }
        do {
            (flags, arguments) = try DockerfileLine.flags(parts[1])
        } catch { throw error.atLine(number) }
    }

    /// Whether the instruction may have documents behind it.
    var canHaveHeredocs: Bool {
        ["add", "copy", "run"].contains { keyword.isExactly($0) } && !isJSON && original.contains("<")
    }

    private var isJSON: Bool { (try? JSONForm.strings(arguments)) != nil }

    /// The words in front that begin with `--`, and the rest.
    private static func flags(_ text: Text) throws(CacheError) -> ([Text], Text) {
        var flags: [Text] = []
        var index = 0
        while true {
            while index < text.count, text[index].isSpace { index += 1 }
            guard index + 1 < text.count, text[index] == "-", text[index + 1] == "-" else {
                return (flags, Text(text[index...]).trimmed)
            }
            var word: Text = []
            var quote: Unicode.Scalar?
            while index < text.count, quote != nil || !text[index].isSpace {
                let scalar = text[index]
                guard scalar.isASCII else {
                    throw CacheError(
                        .unsupported, "a flag has the character \(String(scalar).quoted), which BuildKit misreads")
                }
                index += 1
                if quote == nil, scalar == "'" || scalar == "\"" {
                    quote = scalar
                } else if scalar == quote {
                    quote = nil
                } else if scalar == "\\" {
                    guard index < text.count else { break }
                    word.append(text[index])
                    index += 1
                } else {
                    word.append(scalar)
                }
            }
            if word.isExactly("--") { return (flags, Text(text[index...]).trimmed) }
            flags.append(word)
        }
    }
}
