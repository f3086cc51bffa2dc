import BuildCacheCore

/// The proxies of the environment, and the requests that go through them.
///
/// `HTTP_PROXY` and `HTTPS_PROXY` name proxies by the scheme of a request, `NO_PROXY` hosts that are reached without; each may be written in
/// lower case, and space around a value does not count. A value that cannot be used is an error of the requests that would go through that
/// proxy, and of no others. Loopback and link-local addresses are never reached through a proxy.
///
/// - Source: Go `golang.org/x/net/http/httpproxy`, which BuildKit and Docker use.
struct ProxySettings: Sendable {
    /// One proxy.
    struct Server: Hashable, Sendable {
        var isSOCKS: Bool
        var host: String
        var port: Int
        /// `user:password`, as written before the host.
        var login: Secret<String>?
    }

    private let http: Result<Server, CacheError>?
    private let https: Result<Server, CacheError>?
    private let exceptions: [Exception]

    init(_ environment: Environment) {
        func value(_ name: String) -> String? {
            for name in [name, name.lowercased()] {
                // Files with variables often leave a space or a carriage return at the end of a line.
                let value = (environment[name] ?? "").split(whereSeparator: \.isWhitespace).joined(separator: " ")
                if !value.isEmpty { return value }
            }
            return nil
        }
        func server(_ name: String) -> Result<Server, CacheError>? {
            value(name).map { text in Result { () throws(CacheError) in try Server(text, name) } }
        }
        // A CGI script gets a client's "Proxy:" header as HTTP_PROXY.
        let isCGI = environment["REQUEST_METHOD"] != nil
        http = isCGI ? nil : server("HTTP_PROXY")
        https = server("HTTPS_PROXY")
        exceptions = (value("NO_PROXY") ?? "").split { $0 == "," || $0 == " " }.compactMap { Exception($0) }
    }

    /// The proxy for a URL, `nil` for a direct connection.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for a proxy that is not a URL, `.unsupported` for one that is spoken to over TLS.
    func server(for url: ServiceURL) throws(CacheError) -> Server? {
        guard let server = url.scheme == "https" ? https : http else { return nil }
        let host = url.host.hasPrefix("[") ? String(url.host.dropFirst().dropLast()) : url.host
        let port = url.port ?? (url.scheme == "https" ? 443 : 80)
        if url.isLoopback || url.isLinkLocal || exceptions.contains(where: { $0.matches(host, port) }) { return nil }
        return try server.get()
    }

    /// One entry of `NO_PROXY`.
    private struct Exception: Sendable {
        private enum Pattern {
            case everything
            /// A host, and those below it unless only those.
            case domain(String, onlyBelow: Bool)
            case network([UInt8], bits: Int)
        }
        private let pattern: Pattern
        private let port: Int?

        init?(_ text: Substring) {
            if text == "*" {
                (pattern, port) = (.everything, nil)
                return
            }
            let parts = text.split(separator: "/", omittingEmptySubsequences: false)
            if let address = parseAddress(String(parts[0])) {
                guard parts.count == 1 || parts.count == 2,
                    let bits = parts.count == 1
                        ? address.count * 8 : Int(decimal: parts[1], in: 0...address.count * 8)
                else { return nil }
                (pattern, port) = (.network(address, bits: bits), nil)
                return
            }
            var name = text.lowercased()[...]
            var number: Int?
            if let colon = name.lastIndex(of: ":") {
                // An entry whose port is not a port matches nothing.
                guard let port = Int(decimal: name[name.index(after: colon)...], in: 1...65535) else { return nil }
                number = port
                name = name[..<colon]
                if name.hasPrefix("["), name.hasSuffix("]") { name = name.dropFirst().dropLast() }
            }
            if name.hasPrefix("*.") { name = name.dropFirst() }
            let onlyBelow = name.hasPrefix(".")
            if onlyBelow { name = name.dropFirst() }
            guard !name.isEmpty else { return nil }
            port = number
            if let address = parseAddress(String(name)) {
                pattern = .network(address, bits: address.count * 8)
            } else {
                pattern = .domain(String(name), onlyBelow: onlyBelow)
            }
        }

        func matches(_ host: String, _ port: Int) -> Bool {
            if let wanted = self.port, wanted != port { return false }
            switch pattern {
            case .everything: return true
            case .domain(let domain, let onlyBelow):
                return host.hasSuffix("." + domain) || (!onlyBelow && host == domain)
            case .network(let network, let bits):
                guard let address = parseAddress(host), address.count == network.count else { return false }
                return (0..<bits).allSatisfy { bit in
                    (address[bit / 8] ^ network[bit / 8]) & (0x80 >> UInt8(bit % 8)) == 0
                }
            }
        }
    }
}

extension ProxySettings.Server {
    /// Parses `[http://|socks5://][user:password@]host[:port]`.
    fileprivate init(_ text: String, _ variable: String) throws(CacheError) {
        // The value may hold a password, so errors do not repeat it.
        func invalid(_ code: CacheError.Code, _ problem: String) -> CacheError {
            CacheError(code, "invalid \(variable): \(problem)")
        }
        let parts = text.range(of: "://").map { (text[..<$0.lowerBound].lowercased(), text[$0.upperBound...]) }
        let (scheme, rest) = parts ?? ("http", text[...])
        guard ["http", "socks5", "socks5h"].contains(scheme) else {
            throw invalid(
                .unsupported,
                "expected http:// or socks5://, not \(scheme.prefix(20).quoted); name the host in NO_PROXY "
                    + "to reach it without a proxy")
        }
        var authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        if let at = authority.lastIndex(of: "@") {
            login = Secret(String(authority[..<at]).percentDecoded)
            authority = authority[authority.index(after: at)...]
        }
        let url: ServiceURL
        do { url = try ServiceURL("http://" + authority) } catch { throw invalid(.invalidSpec, error.message) }
        isSOCKS = scheme != "http"
        host = url.host.hasPrefix("[") ? String(url.host.dropFirst().dropLast()) : url.host
        port = url.port ?? (isSOCKS ? 1080 : 80)
    }
}

extension StringProtocol {
    /// Where `text` stands first.
    fileprivate func range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start != endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
