import BuildCacheCore

/// Values as Go's standard library reads and writes them: BuildKit's options are Go text.
enum GoText {
    /// The twelve texts that `strconv.ParseBool` knows; `nil` for any other.
    static func bool(_ text: String) -> Bool? {
        switch text {
        case "1", "t", "T", "TRUE", "true", "True": true
        case "0", "f", "F", "FALSE", "false", "False": false
        default: nil
        }
    }

    /// A `time.ParseDuration` text, as in `1h30m` or `1.5s`; `nil` for anything else and beyond 64 bits of nanoseconds.
    static func duration(_ text: String) -> Duration? {
        var rest = Substring(text).utf8
        let isNegative = rest.first == UInt8(ascii: "-")
        if isNegative || rest.first == UInt8(ascii: "+") { rest.removeFirst() }
        if rest.elementsEqual("0".utf8) { return .zero }
        guard !rest.isEmpty else { return nil }

        var total: Int128 = 0
        while !rest.isEmpty {
            let whole = rest.prefix(while: isDigit)
            rest = rest.dropFirst(whole.count)
            var fraction = rest.prefix(0)
            if rest.first == UInt8(ascii: ".") {
                fraction = rest.dropFirst().prefix(while: isDigit)
                rest = rest.dropFirst(1 + fraction.count)
            }
            guard !whole.isEmpty || !fraction.isEmpty else { return nil }
            let unitText = rest.prefix { !isDigit($0) && $0 != UInt8(ascii: ".") }
            rest = rest.dropFirst(unitText.count)
            guard let unit = nanoseconds[String(Substring(unitText))], let count = integer(whole) else { return nil }
            // Digits beyond the 18th are less than a nanosecond of any unit.
            let digits = fraction.prefix(18)
            guard let part = integer(digits) else { return nil }
            total += count * unit + part * unit / digits.reduce(1) { scale, _ in scale * 10 }
            guard total <= Int128(Int64.max) else { return nil }
        }
        return .nanoseconds(Int64(isNegative ? -total : total))
    }

    /// The shortest text of a duration, to the nanosecond: `24h`, `1h30m`, `0.25s`.
    static func text(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let magnitude = seconds.magnitude
        let nanoseconds = (attoseconds / 1_000_000_000).magnitude
        var text = magnitude >= 3600 ? "\(magnitude / 3600)h" : ""
        if magnitude % 3600 >= 60 { text += "\(magnitude % 3600 / 60)m" }
        if magnitude % 60 > 0 || nanoseconds > 0 || text.isEmpty {
            // Nine digits behind a leading 1, which is not written.
            var fraction = "\(1_000_000_000 + nanoseconds)".dropFirst()
            while fraction.last == "0" { fraction.removeLast() }
            text += "\(magnitude % 60)\(fraction.isEmpty ? "" : ".")\(fraction)s"
        }
        return duration < .zero ? "-" + text : text
    }

    private static let nanoseconds: [String: Int128] = [
        "ns": 1, "us": 1000, "\u{B5}s": 1000, "\u{3BC}s": 1000, "ms": 1_000_000, "s": 1_000_000_000,
        "m": 60_000_000_000, "h": 3_600_000_000_000,
    ]

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    /// The digits as a number, `nil` beyond 64 bits; no digits are 0.
    private static func integer(_ digits: Substring.UTF8View) -> Int128? {
        digits.isEmpty ? 0 : Int64(decimal: Substring(digits), in: 0...Int64.max).map { Int128($0) }
    }
}
