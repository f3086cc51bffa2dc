import BuildCacheCore

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
