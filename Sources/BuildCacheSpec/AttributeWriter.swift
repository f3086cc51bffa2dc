import BuildCacheCore

/// Collects the attributes that differ from their defaults, and knows which of them must not be shown.
struct AttributeWriter {
    /// Key, value, and what to show instead of the value.
    private(set) var attributes: [(key: String, value: String, shown: String)] = []

    mutating func text(_ key: String, _ value: String?, default fallback: String? = nil) {
        guard let value, value != fallback else { return }
        attributes.append((key, value, value))
    }

    mutating func flag(_ key: String, _ value: Bool, default fallback: Bool = false) {
        if value != fallback { text(key, value ? "true" : "false") }
    }

    mutating func secret(_ key: String, _ value: Secret<String>?) {
        if let value { attributes.append((key, value.exposed, OptionKey.redacted)) }
    }

    mutating func url(_ key: String, _ value: ServiceURL?) {
        if let value { attributes.append((key, value.exposed, value.description)) }
    }

    mutating func duration(_ key: String, _ value: Duration, default fallback: Duration) {
        if value != fallback { text(key, GoText.text(value)) }
    }

    mutating func names(_ key: String, _ value: [String]) {
        text(key, value.joined(separator: ";"), default: CacheSpec.defaultNames.joined(separator: ";"))
    }
}
