import BuildCacheCore

/// A wildcard of a source, with the grammar of Go's `path.Match`: `*`, `?`, `[a-z]` and `\`.
///
/// - Source: `Documentation/Spec/cache-keys.md` §5.7; Go `path/match.go`.
package struct WildcardPattern: Sendable {
    private enum Token: Sendable {
        case byte(UInt8)
        /// One scalar but the slash.
        case anyOne
        /// Any run without a slash.
        case anyRun
        case oneOf(ScalarClass)
    }
    private var tokens: [Token] = []

    /// As many as a path may have.
    private static let maximumBytes = 4096

    /// Parses a wildcard.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for a malformed one.
    init(_ pattern: [UInt8]) throws(CacheError) {
        guard pattern.count <= WildcardPattern.maximumBytes else {
            throw CacheError(
                .limitExceeded,
                "a pattern has \(pattern.count) bytes: expected at most \(WildcardPattern.maximumBytes)")
        }
        var index = 0
        while index < pattern.count {
            let byte = pattern[index]
            index += 1
            switch byte {
            case UInt8(ascii: "*"): tokens.append(.anyRun)
            case UInt8(ascii: "?"): tokens.append(.anyOne)
            case UInt8(ascii: "["):
                guard let set = ScalarClass(pattern, &index) else { throw WildcardPattern.malformed(pattern) }
                tokens.append(.oneOf(set))
            case UInt8(ascii: "\\"):
                guard index < pattern.count else { throw WildcardPattern.malformed(pattern) }
                tokens.append(.byte(pattern[index]))
                index += 1
            default: tokens.append(.byte(byte))
            }
        }
    }

    private static func malformed(_ pattern: [UInt8]) -> CacheError {
        CacheError(
            .invalidSpec,
            "invalid pattern \(pattern.shown): expected each [ to be closed and a character behind each backslash")
    }

    /// Whether the whole name matches.
    func matches(_ name: [UInt8]) -> Bool {
        var token = 0
        var index = 0
        // The place of the next attempt if the rest does not match: behind the last `*`, one byte further.
        var retry: (token: Int, index: Int)?
        while true {
            if token == tokens.count, index == name.count { return true }
            if token < tokens.count {
                if case .anyRun = tokens[token] {
                    retry = (token + 1, index)
                    token += 1
                    continue
                }
                var next = index
                if step(tokens[token], name, &next) {
                    index = next
                    token += 1
                    continue
                }
            }
            guard let (afterRun, start) = retry, start < name.count, name[start] != BytePath.slash else { return false }
            retry = (afterRun, start + 1)
            token = afterRun
            index = start + 1
        }
    }

    private func step(_ token: Token, _ name: [UInt8], _ index: inout Int) -> Bool {
        guard index < name.count else { return false }
        switch token {
        case .byte(let byte):
            index += 1
            return name[index - 1] == byte
        case .anyOne:
            guard name[index] != BytePath.slash else { return false }
            _ = PathScalar.next(name, &index)
            return true
        case .oneOf(let set): return set.contains(PathScalar.next(name, &index).scalar)
        case .anyRun: return false
        }
    }

    /// Whether a name has an unescaped `*`, `?` or `[`.
    package static func isWildcard(_ name: [UInt8]) -> Bool {
        var index = 0
        while index < name.count {
            switch name[index] {
            case UInt8(ascii: "*"), UInt8(ascii: "?"), UInt8(ascii: "["): return true
            case UInt8(ascii: "\\"): index += 1
            default: break
            }
            index += 1
        }
        return false
    }
}
