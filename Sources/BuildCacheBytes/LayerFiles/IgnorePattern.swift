/// One line of an ignore file, compiled.
///
/// Matching takes time in proportion to the lengths of pattern and path: all states are followed at once.
struct IgnorePattern: Hashable, Sendable {
    struct Malformed: Error {
        var problem: String
    }

    private enum Step: Hashable, Sendable {
        case character(Unicode.Scalar)
        /// One character of a class; ranges, a single character being one too.
        case oneOf([ClosedRange<UInt32>], isNegated: Bool)
        /// `?`
        case anyCharacter
        /// `*`
        case anyName
        /// `**/` with more behind: nothing, or anything up to a slash.
        case anyDirectories
        /// `**` at the end.
        case anything
        /// `^` outside of a class, which only matches at the beginning.
        case start
    }

    private enum Form: Hashable, Sendable {
        case whole
        /// The path begins with the text less this many characters at its end.
        case prefix
        /// The path ends with the text behind `**`, or is it less a slash.
        case suffix
        case steps([Step])
    }

    private let scalars: [Unicode.Scalar]
    let isException: Bool
    private let form: Form
    var text: String { String(String.UnicodeScalarView(scalars)) }

    init(_ pattern: [Unicode.Scalar], isException: Bool) throws(Malformed) {
        scalars = pattern
        self.isException = isException
        var steps: [Step] = []
        var form = Form.whole
        var index = 0
        func next() -> Unicode.Scalar? { index < pattern.count ? pattern[index] : nil }
        while let character = next() {
            let isFirst = index == 0
            index += 1
            switch character {
            case "*":
                guard next() == "*" else {
                    steps.append(.anyName)
                    form = .steps([])
                    continue
                }
                index += 1
                if next() == "/" { index += 1 }
                if next() == nil {
                    steps.append(.anything)
                    form = form == .whole ? .prefix : .steps([])
                } else {
                    steps.append(.anyDirectories)
                    form = .steps([])
                }
                if isFirst { form = .suffix }
            case "?":
                steps.append(.anyCharacter)
                form = .steps([])
            case "\\":
                guard let escaped = next() else { throw Malformed(problem: "expected a character behind the last \\") }
                index += 1
                steps.append(.character(escaped))
                form = .steps([])
            case "[":
                steps.append(try IgnorePattern.characterClass(pattern, &index))
                form = .steps([])
            case "^": steps.append(.start)
            default:
                // A bracket alone makes a regular expression of the whole, in which a caret means the beginning.
                if character == "]" { form = .steps([]) }
                steps.append(.character(character))
            }
        }
        self.form = if case .steps = form { .steps(steps) } else { form }
    }

    /// Reads a class behind its bracket.
    private static func characterClass(_ pattern: [Unicode.Scalar], _ index: inout Int) throws(Malformed) -> Step {
        let unclosed = Malformed(problem: "expected a class that is closed by ]")
        func take() throws(Malformed) -> Unicode.Scalar {
            guard index < pattern.count, pattern[index] != "-", pattern[index] != "]" else { throw unclosed }
            if pattern[index] == "\\" { index += 1 }
            guard index + 1 < pattern.count else { throw unclosed }
            defer { index += 1 }
            return pattern[index]
        }
        let isNegated = index < pattern.count && pattern[index] == "^"
        if isNegated { index += 1 }
        var ranges: [ClosedRange<UInt32>] = []
        while ranges.isEmpty || pattern[index] != "]" {
            let low = try take()
            var high = low
            if pattern[index] == "-" {
                index += 1
                high = try take()
            }
            guard low.value <= high.value else { throw Malformed(problem: "expected a range in its order") }
            ranges.append(low.value...high.value)
        }
        index += 1
        return .oneOf(ranges, isNegated: isNegated)
    }

    /// Whether the pattern may match something below a directory.
    func mayMatchBelow(_ directory: [Unicode.Scalar]) -> Bool {
        guard form == .whole else { return true }
        return scalars.count > directory.count && scalars.starts(with: directory) && scalars[directory.count] == "/"
    }

    /// Whether the pattern matches exactly this path.
    func matches(_ path: [Unicode.Scalar]) -> Bool {
        switch form {
        case .whole: return path == scalars
        case .prefix: return path.starts(with: scalars.dropLast(2))
        case .suffix:
            let suffix = scalars.dropFirst(2)
            if path.count >= suffix.count, path.suffix(suffix.count).elementsEqual(suffix) { return true }
            return suffix.first == "/" && path.elementsEqual(suffix.dropFirst())
        case .steps(let steps): return IgnorePattern.match(steps, path)
        }
    }

    private static func match(_ steps: [Step], _ path: [Unicode.Scalar]) -> Bool {
        // The places of the expression: before a step, and inside the directories of one.
        var before = [Bool](repeating: false, count: steps.count + 1)
        var inside = [Bool](repeating: false, count: steps.count + 1)
        before[0] = true
        skip(steps, &before, &inside, isAtStart: true)
        for character in path {
            var nextBefore = [Bool](repeating: false, count: steps.count + 1)
            var nextInside = nextBefore
            for (index, step) in steps.enumerated() {
                if inside[index], character != "\n" {
                    nextInside[index] = true
                    if character == "/" { nextBefore[index + 1] = true }
                }
                guard before[index] else { continue }
                switch step {
                case .character(let wanted): if character == wanted { nextBefore[index + 1] = true }
                case .oneOf(let ranges, let isNegated):
                    let isIn = ranges.contains { $0.contains(character.value) }
                    if isIn != isNegated { nextBefore[index + 1] = true }
                case .anyCharacter: if character != "/" { nextBefore[index + 1] = true }
                case .anyName: if character != "/" { nextBefore[index] = true }
                case .anything: if character != "\n" { nextBefore[index] = true }
                case .anyDirectories, .start: break
                }
            }
            (before, inside) = (nextBefore, nextInside)
            skip(steps, &before, &inside, isAtStart: false)
        }
        return before[steps.count]
    }

    /// Passes over steps that may match nothing.
    private static func skip(_ steps: [Step], _ before: inout [Bool], _ inside: inout [Bool], isAtStart: Bool) {
        for (index, step) in steps.enumerated() where before[index] {
            switch step {
            case .anyName, .anything: before[index + 1] = true
            case .anyDirectories:
                before[index + 1] = true
                inside[index] = true
            case .start: if isAtStart { before[index + 1] = true }
            case .character, .oneOf, .anyCharacter: break
            }
        }
    }
}
