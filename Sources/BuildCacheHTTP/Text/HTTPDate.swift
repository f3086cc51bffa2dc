package import BuildCacheCore

/// Times as HTTP headers write them, to the second: `Mon, 23 Nov 2026 04:32:05 GMT`.
///
/// - Source: RFC 9110 §5.6.7.
extension Timestamp {
    /// Parses the one form that is still sent; `nil` for any other text.
    package init?(httpDate text: String) {
        let parts = text.split(separator: " ")
        guard parts.count == 6, parts[5] == "GMT", let month = Timestamp.months.firstIndex(of: String(parts[2])),
            let date = try? Timestamp("\(parts[3])-\(month < 9 ? "0" : "")\(month + 1)-\(parts[1])T\(parts[4])Z")
        else { return nil }
        self = date
    }

    /// The instant in the form of a header.
    package var httpDate: String {
        // As RFC 3339 it has all the numbers already: 2026-11-23T04:32:05Z.
        let text = Array(utc.description.utf8)
        func part(_ range: Range<Int>) -> String { String(decoding: text[range], as: UTF8.self) }
        let month = Timestamp.months[(Int(decimal: part(5..<7), in: 1...12) ?? 1) - 1]
        // 1970-01-01 was a Thursday.
        let days = (seconds - (seconds % 86_400 + 86_400) % 86_400) / 86_400
        let weekday = Timestamp.weekdays[Int(((days + 4) % 7 + 7) % 7)]
        return "\(weekday), \(part(8..<10)) \(month) \(part(0..<4)) \(part(11..<19)) GMT"
    }

    private static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
}
