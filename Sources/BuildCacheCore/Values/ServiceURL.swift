/// The `http` or `https` address of a service, with a query that never prints: it may be a signature.
///
/// An Azure account URL may end in a shared access signature, which is a password in all but name.
public struct ServiceURL: Hashable, Sendable {
    /// `http` or `https`.
    public let scheme: String
    /// The host in lower case, in brackets if it is an IPv6 address.
    public let host: String
    /// The port, `nil` for the scheme's own.
    public let port: Int?
    /// The path as written: empty, or from its first slash on.
    ///
    /// It stays percent-encoded.
    public let path: String
    /// What follows the `?`, percent-encoded; `nil` without one.
    public let query: Secret<String>?

    /// Parses an absolute URL.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for another scheme, for a user or a fragment in it, and for characters that
    ///   should have been percent-encoded. The error does not repeat the text.
    public init(_ text: some StringProtocol) throws(CacheError) {
        guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://"),
            ["http", "https"].contains(text[..<colon].lowercased())
        else { throw CacheError(.invalidSpec, "no http:// or https:// stands before the host") }
        guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) && !ServiceURL.forbidden.contains($0) }) else {
            throw CacheError(.invalidSpec, "it has characters that must be percent-encoded")
        }
        guard !text.contains("#") else { throw CacheError(.invalidSpec, "it has a fragment (#)") }

        let rest = text[text.index(colon, offsetBy: 3)...]
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let tail = rest[authority.endIndex...]
        let path = tail.prefix { $0 != "?" }
        guard !authority.contains("@") else {
            throw CacheError(.invalidSpec, "it has a user or a password, which belong into options of their own")
        }
        var host = authority
        var port: Int?
        if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
            let digits = authority[authority.index(after: colon)...]
            guard let number = Int(decimal: digits, in: 1...65535) else {
                throw CacheError(.invalidSpec, "invalid port: expected a number from 1 to 65535")
            }
            host = authority[..<colon]
            port = number
        }
        guard ServiceURL.isHost(String(host)) else { throw CacheError(.invalidSpec, "it has no valid host") }
        scheme = text[..<colon].lowercased()
        self.host = host.lowercased()
        self.port = port
        self.path = String(path)
        let query = tail[path.endIndex...].dropFirst()
        self.query = query.isEmpty ? nil : Secret(String(query))
    }

    /// Scheme, host, port and path: all but the query.
    public var base: String { "\(scheme)://\(host)\(port.map { ":\($0)" } ?? "")\(path)" }

    /// The whole URL with its query.
    ///
    /// Hand it to what sends it, and to nothing else.
    public var exposed: String { query.map { "\(base)?\($0.exposed)" } ?? base }

    /// Whether the host is an address or `localhost` rather than a name that says something about an account or bucket.
    package var hasBareHost: Bool {
        host == "localhost" || host.hasPrefix("[") || host.utf8.allSatisfy { (48...57).contains($0) || $0 == 46 }
    }

    private static let forbidden: [UInt8] = Array("\"<>\\^`{|}".utf8)

    private static func isHost(_ host: String) -> Bool {
        if host.hasPrefix("["), host.hasSuffix("]"), host.utf8.count > 2 {
            return host.dropFirst().dropLast().allSatisfy { $0.isHexDigit || $0 == ":" || $0 == "." }
        }
        let labels = host.split(separator: ".", omittingEmptySubsequences: false)
        return labels.allSatisfy { label in
            !label.isEmpty && label.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
        }
    }
}

extension ServiceURL: CustomStringConvertible {
    /// The URL, its query shown as `<redacted>`.
    public var description: String { query == nil ? base : base + "?<redacted>" }
}
