import BuildCacheCore

/// One pattern of a ``PatternList``.
struct PathPattern: Sendable {
    private enum Token: Sendable {
        case scalar(UInt32)
        case oneOf(ScalarClass)
        /// One scalar but the slash.
        case anyOne
        /// Any run without a slash.
        case anyRun
        /// Anything but a line break.
        case anything
        /// Nothing, or what `insidePath` takes: `(.*/)?`.
        case optionalPath
        /// Anything that ends with a slash; always behind `optionalPath`.
        case insidePath
    }
    private enum Form: Sendable {
        case equal([UInt8])
        case prefix([UInt8])
        case suffix([UInt8])
        case tokens([Token])
    }
    private var form: Form

    /// Parses a cleaned pattern.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for a malformed pattern, `.unsupported` for one that only BuildKit can read.
    init(_ pattern: [UInt8]) throws(CacheError) {
        // BuildKit checks each pattern with the other grammar first.
        _ = try WildcardPattern(pattern)
        var tokens: [Token] = []
        form = .equal(pattern)
        var isPlain = true
        var isUnreadable = false
        var hasAnchor = false
        var index = 0
        var isFirst = true
        while index < pattern.count {
            defer { isFirst = false }
            let start = index
            let scalar = PathScalar.next(pattern, &index).scalar
            switch scalar {
            case 0x2A where index < pattern.count && pattern[index] == 0x2A:  // **
                index += 1
                if index < pattern.count, pattern[index] == BytePath.slash { index += 1 }
                let isLast = index == pattern.count
                tokens += isLast ? [.anything] : [.optionalPath, .insidePath]
                if isFirst {
                    form = .suffix(Array(pattern.dropFirst(2)))
                } else if isLast, isPlain {
                    form = .prefix(Array(pattern.dropLast(2)))
                } else {
                    form = .tokens([])
                }
            case 0x2A:  // *
                tokens.append(.anyRun)
                form = .tokens([])
            case 0x3F:  // ?
                tokens.append(.anyOne)
                form = .tokens([])
            case 0x5C:  // \
                // The other grammar has seen to it that something follows.
                guard index < pattern.count else { continue }
                let escaped = PathScalar.next(pattern, &index).scalar
                isUnreadable = isUnreadable || !PathPattern.isPunctuation(escaped)
                tokens.append(.scalar(escaped))
                form = .tokens([])
            case 0x5B:  // [
                guard let set = ScalarClass(pattern, &index) else { continue }
                let inside = pattern[(start + 1)..<index]
                isUnreadable = isUnreadable || set.hasEmptyRange || !PathPattern.isReadableClass(Array(inside))
                tokens.append(.oneOf(set))
                form = .tokens([])
            case 0x5D:  // ]
                tokens.append(.scalar(scalar))
                form = .tokens([])
            default:
                // An anchor, in a regular expression.
                hasAnchor = hasAnchor || scalar == 0x5E
                tokens.append(.scalar(scalar))
            }
            if case .equal = form {} else { isPlain = false }
        }
        if case .tokens = form {
            guard !isUnreadable, !hasAnchor else {
                throw CacheError(
                    .unsupported,
                    "the pattern \(pattern.shown) means something else in BuildKit's regular expressions; "
                        + "write it without ^ and without letters behind a backslash")
            }
            form = .tokens(tokens)
        }
    }

    private static func isPunctuation(_ scalar: UInt32) -> Bool {
        switch scalar {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: false
        default: scalar < 0x80
        }
    }

    /// Whether a class means the same as a regular expression.
    private static func isReadableClass(_ inside: [UInt8]) -> Bool {
        var index = 0
        while index < inside.count {
            switch inside[index] {
            case UInt8(ascii: "*"), UInt8(ascii: "?"): return false
            case UInt8(ascii: "[") where index + 1 < inside.count && inside[index + 1] == UInt8(ascii: ":"):
                return false
            case UInt8(ascii: "\\"):
                index += 1
                guard index < inside.count, isPunctuation(UInt32(inside[index])) else { return false }
            default: break
            }
            index += 1
        }
        return true
    }

    /// Whether the whole path matches.
    func matches(_ path: [UInt8]) -> Bool {
        switch form {
        case .equal(let pattern): return path == pattern
        case .prefix(let prefix): return path.starts(with: prefix)
        case .suffix(let suffix):
            if path.count >= suffix.count, path.suffix(suffix.count) == suffix[...] { return true }
            return suffix.first == BytePath.slash && path[...] == suffix.dropFirst()
        case .tokens(let tokens): return PathPattern.matches(PathScalar.all(path), tokens)
        }
    }

    /// Whether one of the directories above a path matches.
    func matchesParent(of path: [UInt8]) -> Bool {
        for index in path.indices.dropFirst() where path[index] == BytePath.slash && matches(Array(path[..<index])) {
            return true
        }
        return false
    }

    /// Walks all ways through the tokens at once, so that no pattern takes longer than its length times the path's.
    private static func matches(_ path: [UInt32], _ tokens: [Token]) -> Bool {
        var active = [Bool](repeating: false, count: tokens.count + 1)
        active[0] = true
        passOver(tokens, &active)
        for scalar in path {
            var next = [Bool](repeating: false, count: tokens.count + 1)
            for index in tokens.indices where active[index] {
                switch tokens[index] {
                case .scalar(let wanted): if scalar == wanted { next[index + 1] = true }
                case .oneOf(let set): if set.contains(scalar) { next[index + 1] = true }
                case .anyOne: if scalar != 0x2F { next[index + 1] = true }
                case .anyRun: if scalar != 0x2F { next[index] = true }
                case .anything: if scalar != 0x0A { next[index] = true }
                case .optionalPath: break
                case .insidePath:
                    if scalar != 0x0A { next[index] = true }
                    if scalar == 0x2F { next[index + 1] = true }
                }
            }
            passOver(tokens, &next)
            active = next
        }
        return active[tokens.count]
    }

    /// Adds what is reached without a scalar.
    private static func passOver(_ tokens: [Token], _ active: inout [Bool]) {
        for index in tokens.indices where active[index] {
            switch tokens[index] {
            case .anyRun, .anything: active[index + 1] = true
            case .optionalPath:
                active[index + 1] = true
                active[index + 2] = true
            default: break
            }
        }
    }
}
