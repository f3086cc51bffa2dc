import BuildCacheCore

/// The pattern of a substitution such as `${NAME#*/}`: `*` for any run, `?` for one character, neither for a line break.
///
/// - Source: BuildKit `frontend/dockerfile/shell/lex.go: trimPrefix`, `trimSuffix`.
struct ShellPattern {
    private enum Token {
        case scalar(Unicode.Scalar)
        case anyOne
        case anyRun
    }

    private let tokens: [Token]
    private static let maximumWork = 1 << 24

    /// Parses a pattern whose escapes are still in it.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for an escape that means nothing.
    init(_ pattern: Text) throws(CacheError) {
        var tokens: [Token] = []
        var index = 0
        while index < pattern.count {
            let scalar = pattern[index]
            index += 1
            switch scalar {
            case "*": tokens.append(.anyRun)
            case "?": tokens.append(.anyOne)
            case "\\":
                guard index < pattern.count, "*?\\}/".unicodeScalars.contains(pattern[index]) else {
                    throw CacheError(
                        .invalidSpec, "invalid escape in the pattern \(pattern.string.quoted): expected \\* or \\?")
                }
                tokens.append(.scalar(pattern[index]))
                index += 1
            default: tokens.append(.scalar(scalar))
            }
        }
        self.tokens = tokens
    }

    /// The value without the shortest or the longest beginning that matches.
    func removingPrefix(of value: Text, isLongest: Bool) throws(CacheError) -> Text {
        Text(value.dropFirst(try length(tokens, value, isLongest)))
    }

    /// The value without the shortest or the longest end that matches.
    func removingSuffix(of value: Text, isLongest: Bool) throws(CacheError) -> Text {
        Text(value.dropLast(try length(tokens.reversed(), value.reversed(), isLongest)))
    }

    /// The number of scalars at the beginning that match, 0 for none.
    private func length(_ tokens: [Token], _ value: Text, _ isLongest: Bool) throws(CacheError) -> Int {
        guard tokens.count <= ShellPattern.maximumWork / (value.count + 1) else {
            throw CacheError(.limitExceeded, "the pattern of a substitution is too long for its value")
        }
        // The places where the tokens so far may end.
        var ends = [Bool](repeating: false, count: value.count + 1)
        ends[0] = true
        for token in tokens {
            var next = [Bool](repeating: false, count: value.count + 1)
            for place in ends.indices {
                if case .anyRun = token {
                    next[place] = ends[place] || place > 0 && next[place - 1] && value[place - 1] != "\n"
                    continue
                }
                guard place > 0, ends[place - 1] else { continue }
                if case .scalar(let wanted) = token {
                    next[place] = value[place - 1] == wanted
                } else {
                    next[place] = value[place - 1] != "\n"
                }
            }
            ends = next
        }
        return (isLongest ? ends.lastIndex(of: true) : ends.firstIndex(of: true)) ?? 0
    }
}
