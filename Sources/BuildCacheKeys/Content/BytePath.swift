import BuildCacheCore

/// Paths as bytes, with the rules of Go's `path`: a slash separates, and no other byte means anything.
package enum BytePath {
    package static let slash = UInt8(ascii: "/")
    private static let dot = UInt8(ascii: ".")

    /// The shortest path that means the same, `.` for an empty one.
    package static func clean(_ path: some Collection<UInt8>) -> [UInt8] {
        let isAbsolute = path.first == slash
        var kept: [ArraySlice<UInt8>] = []
        for part in Array(path).split(separator: slash) where part != [dot] {
            guard part == [dot, dot] else {
                kept.append(part)
                continue
            }
            if let last = kept.last, last != [dot, dot] {
                kept.removeLast()
            } else if !isAbsolute {
                kept.append(part)
            }
        }
        let joined = Array(kept.joined(separator: [slash]))
        if isAbsolute { return [slash] + joined }
        return joined.isEmpty ? [dot] : joined
    }

    /// The path below the root, cleaned.
    package static func absolute(_ path: some Collection<UInt8>) -> [UInt8] { clean([slash] + Array(path)) }

    /// The last element: `.` of an empty path, `/` of the root.
    package static func base(_ path: some Collection<UInt8>) -> [UInt8] {
        var rest = Array(path)
        guard !rest.isEmpty else { return [dot] }
        while rest.last == slash { rest.removeLast() }
        guard !rest.isEmpty else { return [slash] }
        return Array(rest.split(separator: slash).last ?? [])
    }

    /// The elements of a path.
    package static func parts(_ path: some Collection<UInt8>) -> [[UInt8]] {
        Array(path).split(separator: slash).map { Array($0) }
    }
}

extension [UInt8] {
    /// The bytes as text for messages.
    var shown: String { String(decoding: self, as: UTF8.self).quoted }

    /// Whether the bytes come before others.
    func precedes(_ other: [UInt8]) -> Bool {
        // By hand: the general comparison takes several times as long, and trees are sorted by it.
        withUnsafeBufferPointer { left in
            other.withUnsafeBufferPointer { right in
                let common = Swift.min(left.count, right.count)
                var index = 0
                while index < common {
                    if left[index] != right[index] { return left[index] < right[index] }
                    index += 1
                }
                return left.count < right.count
            }
        }
    }
}
