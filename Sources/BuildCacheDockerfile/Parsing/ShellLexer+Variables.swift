import BuildCacheCore

extension ShellLexer {
    /// Expands a variable or a substitution, at whose `$` the cursor stands.
    func variable(
        _ cursor: inout Cursor, keepsEscapes: Bool, depth: Int, _ environment: (Text) -> Text?
    ) throws(CacheError) -> Text {
        guard depth < ShellLexer.maximumDepth else {
            throw CacheError(.limitExceeded, "substitutions nest deeper than \(ShellLexer.maximumDepth)")
        }
        cursor.index += 1
        guard cursor.next == "{" else {
            let name = name(&cursor)
            if name.isEmpty { return ["$"] }
            return environment(name) ?? (keepsUnset ? ["$"] + name : [])
        }
        cursor.index += 1
        if let next = cursor.next, next == "{" || next == "}" || next == ":" {
            throw CacheError(.invalidSpec, "invalid substitution: expected a variable behind ${")
        }
        let name = name(&cursor)
        let value = environment(name)
        var modifier = cursor.take()
        if modifier == "}" { return value ?? (keepsUnset ? Text("${") + name + ["}"] : []) }
        var shown: Text = modifier.map { [$0] } ?? []
        let countsEmpty = modifier == ":"
        if countsEmpty {
            modifier = cursor.take()
            shown += modifier.map { [$0] } ?? []
        }
        let isPattern = modifier == "#" || modifier == "%"
        switch modifier {
        case "-", "+", "?": break
        case "#" where !countsEmpty, "%" where !countsEmpty: break
        case nil: throw CacheError(.invalidSpec, "a substitution has no closing }")
        default:
            throw CacheError(
                .unsupported,
                "the substitution ${\(name.string)\(shown.string)…} is not supported: expected :-, :+, :?, # or %")
        }
        var word = try process(
            &cursor, Words(isWanted: false), until: "}", keepsEscapes: isPattern, depth: depth + 1, environment
        ).text
        if value == nil, keepsUnset { return Text("${") + name + shown + word + ["}"] }
        if isPattern {
            let isLongest = word.first == modifier
            if isLongest { word.removeFirst() }
            let pattern = try ShellPattern(word)
            return modifier == "#"
                ? try pattern.removingPrefix(of: value ?? [], isLongest: isLongest)
                : try pattern.removingSuffix(of: value ?? [], isLongest: isLongest)
        }
        let isUnset = value == nil || countsEmpty && value?.isEmpty == true
        switch modifier {
        case "-": return isUnset ? word : value ?? []
        case "+": return isUnset ? [] : word
        default:
            guard !isUnset else {
                let message = word.isEmpty ? "is not set" : word.string
                throw CacheError(.invalidSpec, "the variable \(name.string.quoted) is required: \(message)")
            }
            return value ?? []
        }
    }

    /// A name, a number, or one special character.
    private func name(_ cursor: inout Cursor) -> Text {
        var name: Text = []
        while let next = cursor.next {
            if name.isEmpty, next.isNumber {
                while let digit = cursor.next, digit.isNumber {
                    name.append(digit)
                    cursor.index += 1
                }
                return name
            }
            if name.isEmpty, Text("@*#?-$!").contains(next) {
                cursor.index += 1
                return [next]
            }
            guard next == "_" || next.isNumber || next.isLetter else { break }
            name.append(next)
            cursor.index += 1
        }
        return name
    }
}
