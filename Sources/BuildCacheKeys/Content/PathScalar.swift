/// Reads names scalar by scalar, as Go does: a byte that is not UTF-8 counts as one U+FFFD.
enum PathScalar {
    static let replacement: UInt32 = 0xFFFD

    /// The scalar at `index`, which moves behind it.
    static func next(_ bytes: [UInt8], _ index: inout Int) -> (scalar: UInt32, isValid: Bool) {
        let first = bytes[index]
        if first < 0x80 {
            index += 1
            return (UInt32(first), true)
        }
        let length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        if first >= 0xC2, first < 0xF5, index + length <= bytes.count,
            let text = String(validating: bytes[index..<(index + length)], as: UTF8.self),
            let scalar = text.unicodeScalars.first
        {
            index += length
            return (scalar.value, true)
        }
        index += 1
        return (replacement, false)
    }

    /// All scalars.
    static func all(_ bytes: [UInt8]) -> [UInt32] {
        var scalars: [UInt32] = []
        scalars.reserveCapacity(bytes.count)
        var index = 0
        while index < bytes.count { scalars.append(next(bytes, &index).scalar) }
        return scalars
    }
}

/// A set of scalars in brackets, as in `[a-z]`.
struct ScalarClass: Hashable, Sendable {
    var isNegated = false
    var ranges: [ClosedRange<UInt32>] = []
    /// Whether a range is the wrong way round, which Go's `path` takes and its regular expressions do not.
    var hasEmptyRange = false

    func contains(_ scalar: UInt32) -> Bool { ranges.contains { $0.contains(scalar) } != isNegated }

    /// Reads the class behind an opening bracket; `index` moves behind the closing one.
    ///
    /// - Returns: `nil` for a class that Go's `path` finds malformed.
    init?(_ pattern: [UInt8], _ index: inout Int) {
        if index < pattern.count, pattern[index] == UInt8(ascii: "^") {
            isNegated = true
            index += 1
        }
        var isFirst = true
        while true {
            if index < pattern.count, pattern[index] == UInt8(ascii: "]"), !isFirst {
                index += 1
                return
            }
            guard let low = ScalarClass.bound(pattern, &index) else { return nil }
            var high = low
            if pattern[index] == UInt8(ascii: "-") {
                index += 1
                guard let bound = ScalarClass.bound(pattern, &index) else { return nil }
                high = bound
            }
            if low <= high { ranges.append(low...high) } else { hasEmptyRange = true }
            isFirst = false
        }
    }

    /// A scalar of a class; the class must go on behind it.
    private static func bound(_ pattern: [UInt8], _ index: inout Int) -> UInt32? {
        guard index < pattern.count, pattern[index] != UInt8(ascii: "-"), pattern[index] != UInt8(ascii: "]") else {
            return nil
        }
        if pattern[index] == UInt8(ascii: "\\") {
            index += 1
            guard index < pattern.count else { return nil }
        }
        let (scalar, isValid) = PathScalar.next(pattern, &index)
        return isValid && index < pattern.count ? scalar : nil
    }
}
