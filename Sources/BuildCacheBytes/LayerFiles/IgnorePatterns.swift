public import BuildCacheCore

/// The paths that a `.dockerignore` leaves out of a build context.
///
/// Patterns mean what they mean to BuildKit: anchored at the root, with `*`, `?`, `[…]` and `**`, the last match counting, and `!`
/// bringing paths back, also below a directory that is left out. BuildKit makes regular expressions of patterns, and reads `\d`,
/// `[[:alpha:]]` and `[*]` as these do; here they are the letter, the characters of the class, and the asterisk.
///
///     let patterns = try IgnorePatterns(parsing: "*\n!src\n**/*.log\n")
///
/// - Source: moby/patternmatcher `patternmatcher.go`, `ignorefile/ignorefile.go`; fsutil `filter.go`.
public struct IgnorePatterns: Hashable, Sendable {
    /// No patterns: nothing is left out.
    public static let none = IgnorePatterns()

    let patterns: [IgnorePattern]

    private init() { patterns = [] }

    /// Reads the text of a file, one pattern a line.
    ///
    /// A line that begins with `#` is a comment; space around a pattern and a final `/` do not count.
    ///
    /// - Throws: `CacheError` `.invalidSpec` with the line: for `!` alone, an unclosed `[` and a final `\`.
    public init(parsing text: String) throws(CacheError) {
        var patterns: [IgnorePattern] = []
        let text = text.unicodeScalars.first == "\u{FEFF}" ? text.unicodeScalars.dropFirst() : text.unicodeScalars[...]
        var number = 0
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            number += 1
            guard line.first != "#" else { continue }
            var pattern = IgnorePatterns.trimmed(line)
            guard let first = pattern.first else { continue }
            let isException = first == "!"
            if isException { pattern = IgnorePatterns.trimmed(pattern.dropFirst()) }
            var cleaned = pattern.isEmpty ? [] : IgnorePatterns.cleaned(pattern)
            if cleaned.count > 1, cleaned.first == "/" { cleaned.removeFirst() }
            do throws(IgnorePattern.Malformed) {
                guard !cleaned.isEmpty else { throw IgnorePattern.Malformed(problem: "expected a pattern behind !") }
                patterns.append(try IgnorePattern(cleaned, isException: isException))
            } catch {
                throw CacheError(
                    .invalidSpec,
                    "invalid ignore pattern \(String(String.UnicodeScalarView(line)).quoted) in line \(number): \(error.problem)"
                )
            }
        }
        self.patterns = patterns
    }

    /// The patterns as they were understood, exceptions with `!` in front.
    public var texts: [String] { patterns.map { ($0.isException ? "!" : "") + $0.text } }

    private static func trimmed(_ text: Substring.UnicodeScalarView) -> Substring.UnicodeScalarView {
        let isSpace: (Unicode.Scalar) -> Bool = { $0.properties.isWhitespace }
        var text = text.drop(while: isSpace)
        while let last = text.last, isSpace(last) { text.removeLast() }
        return text
    }

    /// A path without empty components, `.`, and `..` behind a name, as Go's `filepath.Clean` makes it.
    private static func cleaned(_ text: some Sequence<Unicode.Scalar>) -> [Unicode.Scalar] {
        let text = Array(text)
        let isRooted = text.first == "/"
        var components: [ArraySlice<Unicode.Scalar>] = []
        for component in text.split(separator: "/") where !component.elementsEqual(["."]) {
            guard component.elementsEqual([".", "."]) else {
                components.append(component)
                continue
            }
            if let last = components.last, !last.elementsEqual([".", "."]) {
                components.removeLast()
            } else if !isRooted {
                components.append(component)
            }
        }
        let path = Array(components.joined(separator: ["/"]))
        return isRooted ? ["/"] + path : path.isEmpty ? ["."] : path
    }
}

/// The state of one directory during a walk: the patterns that matched it or a directory above.
struct IgnoreState {
    private var matched: [Bool]

    /// The state of the root.
    init(_ patterns: IgnorePatterns) { matched = [Bool](repeating: false, count: patterns.patterns.count) }

    /// Whether a path in this directory is left out, and its own state if it is a directory.
    func evaluate(_ path: [Unicode.Scalar], _ patterns: IgnorePatterns) -> (isIgnored: Bool, state: IgnoreState) {
        var isIgnored = false
        var state = self
        for (index, pattern) in patterns.patterns.enumerated() {
            var isMatch = matched[index]
            if !isMatch {
                // A pattern that cannot change the answer is not tried, and counts as not matched below too.
                guard pattern.isException == isIgnored else { continue }
                isMatch = pattern.matches(path)
            }
            state.matched[index] = isMatch
            if isMatch { isIgnored = !pattern.isException }
        }
        return (isIgnored, state)
    }
}

extension IgnorePatterns {
    /// Whether something below an ignored directory may be kept.
    func mayKeepBelow(_ directory: [Unicode.Scalar]) -> Bool {
        patterns.contains { $0.isException && $0.mayMatchBelow(directory) }
    }
}
