package import BuildCacheCore

/// The pause that a `Retry-After` header asks for, in seconds or until a date; `nil` for any other text.
///
/// A date that has passed asks for none, and more seconds than 2³² for 2³².
///
/// - Source: RFC 9110 §10.2.3.
func retryAfter(_ text: String?, now: Timestamp) -> Duration? {
    guard let text else { return nil }
    let value = text.split(separator: " ")
    if value.count == 1, let seconds = Int64(decimal: value[0], in: 0...Int64.max) {
        return .seconds(min(seconds, 1 << 32))
    }
    guard let date = Timestamp(httpDate: text) else { return nil }
    return .seconds(max(0, date.seconds - now.seconds))
}

extension Timestamp {
    /// The time of an HTTP header, as in `Sun, 06 Nov 1994 08:49:37 GMT`: the one form that is still sent.
    ///
    /// - Source: RFC 9110 §5.6.7.
    package init?(httpDate text: String) {
        let value = text.split(separator: " ")
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        guard value.count == 6, value[5] == "GMT", let month = months.firstIndex(of: String(value[2])),
            let date = try? Timestamp("\(value[3])-\(month < 9 ? "0" : "")\(month + 1)-\(value[1])T\(value[4])Z")
        else { return nil }
        self = date
    }
}
