/// One label of a host name: 1 to 63 of the characters `a-z`, `0-9` and `-`, without a hyphen at an end.
///
/// The one way in which text becomes part of a host. Any other text, as one with a dot, a slash, a colon or a question mark, could
/// name another host than the one that is meant, and credentials would be sent there.
///
/// - Source: RFC 1123 §2.1; RFC 1035 §2.3.4.
package struct HostLabel: Hashable, Sendable {
    package let text: String

    /// - Parameters:
    ///   - text: The text.
    ///   - name: How errors call it, as in `region`.
    ///   - example: A valid one, for errors.
    /// - Throws: `CacheError` `.invalidSpec` if it is not a label.
    package init(_ text: some StringProtocol, as name: String, example: String) throws(CacheError) {
        guard HostLabel.isLabel(text) else {
            throw CacheError(.invalidSpec, "invalid \(name) \(text.quoted): expected a name like \(example)")
        }
        self.text = String(text)
    }

    private static func isLabel(_ text: some StringProtocol) -> Bool {
        let bytes = Array(text.utf8)
        let hyphen = UInt8(ascii: "-")
        return (1...63).contains(bytes.count) && bytes.first != hyphen && bytes.last != hyphen
            && bytes.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == hyphen }
    }
}

extension ServiceURL {
    /// The URL of the host that `labels` make in front of a known domain, with nothing behind the host.
    ///
    /// - Parameters:
    ///   - scheme: `http` or `https`.
    ///   - labels: What stands in front of the domain, joined by dots.
    ///   - domain: A host that is known: a provider's, or that of a parsed URL.
    ///   - port: The port, `nil` for the scheme's own.
    /// - Throws: `CacheError` `.invalidSpec` if that is longer than a host may be.
    package init(
        scheme: String = "https", _ labels: [HostLabel], in domain: String, port: Int? = nil
    ) throws(CacheError) {
        let host = (labels.map(\.text) + [domain]).joined(separator: ".")
        let url = try ServiceURL("\(scheme)://" + host + (port.map { ":\($0)" } ?? ""))
        guard url.host == host, host.utf8.count <= 253 else {
            throw CacheError(.invalidSpec, "invalid host \(host.quoted): expected a name of at most 253 characters")
        }
        self = url
    }

    /// The URL of the same host with `path` behind its own, and with no query but one in `path`.
    ///
    /// - Parameter path: Percent-encoded, from its first slash on; a query may follow.
    /// - Throws: `CacheError` `.invalidSpec` for a path without a slash at its beginning, which would become part of the host.
    package func appending(_ path: String) throws(CacheError) -> ServiceURL {
        guard path.hasPrefix("/") else {
            throw CacheError(.invalidSpec, "invalid path \(path.quoted): expected a slash at its beginning")
        }
        return try ServiceURL((base.hasSuffix("/") ? String(base.dropLast()) : base) + path)
    }
}
