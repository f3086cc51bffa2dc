/// The word that was probably meant.
enum Suggestion {
    /// The candidate that takes the fewest edits, if these are few for its length; upper case and `_` for `-` cost nothing.
    static func nearest(to text: String, among candidates: [String]) -> String? {
        // A typing error is not hundreds of characters long, and the cost grows with the product of the lengths.
        guard text.utf8.count <= 64 else { return nil }
        let close = candidates.map { (candidate: $0, distance: distance(folded(text), folded($0))) }
            .filter { $0.distance <= Swift.max(1, Swift.max(text.utf8.count, $0.candidate.utf8.count) / 3) }
        return close.min { $0.distance < $1.distance }?.candidate
    }

    /// `did you mean "x"? `, or nothing.
    static func hint(for text: String, among candidates: [String]) -> String {
        nearest(to: text, among: candidates).map { "did you mean \"\($0)\"? " } ?? ""
    }

    private static func folded(_ text: String) -> [UInt8] {
        text.utf8.compactMap { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte | 0x20
            case UInt8(ascii: "_"), UInt8(ascii: "."): UInt8(ascii: "-")
            case UInt8(ascii: " "), UInt8(ascii: "\t"): nil
            default: byte
            }
        }
    }

    /// Levenshtein's distance, in which swapping two neighbours is one edit too.
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var beforeLast: [Int] = []
        var last = Array(0...right.count)
        for row in left.indices {
            var current = [row + 1]
            for column in right.indices {
                let substitution = last[column] + (left[row] == right[column] ? 0 : 1)
                var best = Swift.min(substitution, last[column + 1] + 1, current[column] + 1)
                if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                    best = Swift.min(best, beforeLast[column - 1] + 1)
                }
                current.append(best)
            }
            beforeLast = last
            last = current
        }
        return last[right.count]
    }
}
