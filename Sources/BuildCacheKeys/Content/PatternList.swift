public import BuildCacheCore

/// A list of patterns, as of `--exclude` and of a `.dockerignore` file: later ones beat earlier ones, and `!` takes back.
///
/// The grammar is that of moby/patternmatcher: as for wildcards, and `**` crosses slashes. A pattern that its regular expressions read
/// in a way of their own, such as `\d` or `[[:alpha:]]`, is an error here: it would select other files than BuildKit does.
///
/// - Source: `Documentation/Spec/cache-keys.md` §5.6.
public struct PatternList: Sendable {
    private struct Pattern: Sendable {
        var isNegated: Bool
        var matcher: PathPattern
    }
    private var patterns: [Pattern] = []

    /// Parses the patterns; blank ones are left out.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for a malformed pattern, `.unsupported` for one that only BuildKit can read.
    public init(_ patterns: [[UInt8]]) throws(CacheError) {
        for text in patterns {
            let trimmed = PatternList.trimmed(text)
            guard !trimmed.isEmpty else { continue }
            var cleaned = BytePath.clean(trimmed)
            let isNegated = cleaned.first == UInt8(ascii: "!")
            if isNegated {
                cleaned.removeFirst()
                guard !cleaned.isEmpty else {
                    throw CacheError(
                        .invalidSpec, "invalid pattern \"!\": expected a pattern behind the exclamation mark")
                }
            }
            self.patterns.append(Pattern(isNegated: isNegated, matcher: try PathPattern(cleaned)))
        }
    }

    /// Parses the patterns; blank ones are left out.
    ///
    /// - Throws: `CacheError` as for patterns of bytes.
    public init(_ patterns: [String]) throws(CacheError) { try self.init(patterns.map { Array($0.utf8) }) }

    /// Parses a `.dockerignore` file.
    ///
    /// - Throws: `CacheError` as for a list of patterns.
    /// - Source: `Documentation/Spec/cache-keys.md` §5.3; moby/patternmatcher `ignorefile`.
    public init(ignoreFile bytes: [UInt8]) throws(CacheError) {
        let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]
        let text = bytes.starts(with: byteOrderMark) ? bytes.dropFirst(3) : bytes[...]
        var lines: [[UInt8]] = []
        for line in text.split(separator: UInt8(ascii: "\n")) where line.first != UInt8(ascii: "#") {
            var pattern = PatternList.trimmed(Array(line))
            guard !pattern.isEmpty else { continue }
            let isNegated = pattern.first == UInt8(ascii: "!")
            if isNegated { pattern = PatternList.trimmed(Array(pattern.dropFirst())) }
            if !pattern.isEmpty {
                pattern = BytePath.clean(pattern)
                if pattern.count > 1, pattern.first == BytePath.slash { pattern.removeFirst() }
            }
            lines.append((isNegated ? [UInt8(ascii: "!")] : []) + pattern)
        }
        try self.init(lines)
    }

    /// Whether the list has no patterns.
    public var isEmpty: Bool { patterns.isEmpty }
    /// Whether a pattern takes back what others match.
    public var hasNegations: Bool { patterns.contains { $0.isNegated } }

    /// The patterns that matched a directory, which match the files in it, too.
    struct Matches: Sendable {
        fileprivate var flags: [Bool] = []
    }

    /// Whether the list matches a path relative to its root, or one of the directories above it.
    public func matches(_ path: [UInt8]) -> Bool {
        var matches = Matches()
        return self.matches(path, below: Matches(), &matches)
    }

    /// As ``matches(_:)``, given what matched the directory around it; without flags, the directories are looked at here.
    func matches(_ path: [UInt8], below parent: Matches, _ matches: inout Matches) -> Bool {
        var isMatched = false
        matches.flags = [Bool](repeating: false, count: patterns.count)
        for (index, pattern) in patterns.enumerated() {
            var isMatch = parent.flags.isEmpty ? false : parent.flags[index]
            if !isMatch {
                // A pattern that could change nothing is not looked at, and so its flag is not set either.
                guard pattern.isNegated == isMatched else { continue }
                isMatch = pattern.matcher.matches(path)
                if !isMatch, parent.flags.isEmpty { isMatch = pattern.matcher.matchesParent(of: path) }
            }
            matches.flags[index] = isMatch
            if isMatch { isMatched = !pattern.isNegated }
        }
        return isMatched
    }

    /// Without the space around it, of which Unicode has more kinds than ASCII.
    private static func trimmed(_ text: [UInt8]) -> [UInt8] {
        var rest = text[...]
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
        while true {
            if let first = rest.first, isSpace(first) {
                rest.removeFirst()
            } else if let last = rest.last, isSpace(last) {
                rest.removeLast()
            } else if let space = wideSpaces.first(where: { rest.starts(with: $0) }) {
                rest.removeFirst(space.count)
            } else if let space = wideSpaces.first(where: { rest.count >= $0.count && rest.suffix($0.count) == $0[...] }
            ) {
                rest.removeLast(space.count)
            } else {
                return Array(rest)
            }
        }
    }

    /// The characters beyond ASCII that Go's `unicode.IsSpace` counts as space.
    private static let wideSpaces: [[UInt8]] =
        ([0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000] + Array(0x2000...0x200A)).compactMap {
            Unicode.Scalar(UInt32($0)).map { Array(String($0).utf8) }
        }
}
