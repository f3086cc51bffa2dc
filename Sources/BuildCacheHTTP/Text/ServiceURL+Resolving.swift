package import BuildCacheCore

extension ServiceURL {
    /// Scheme, host and port: what credentials belong to.
    package var origin: String { "\(scheme)://\(host):\(port ?? (scheme == "https" ? 443 : 80))" }

    /// The URL that a `Location` header of this URL's response means, which may lack a scheme, a host or a leading slash.
    ///
    /// Characters that should have been percent-encoded in a path or a query are, as other clients do: services write signed addresses and
    /// file names as they are. A host is taken as it is written.
    ///
    /// - Throws: `CacheError` `.corrupted` if it is not the URL of a web server.
    /// - Source: RFC 3986 §5.2; RFC 9110 §10.2.2; Go `net/url`.
    package func resolving(_ location: String) throws(CacheError) -> ServiceURL {
        // A fragment is never sent.
        let text = String(location.prefix { $0 != "#" })
        let root = "\(scheme)://\(host)\(port.map { ":\($0)" } ?? "")"
        let absolute: String
        if text.lowercased().hasPrefix("http://") || text.lowercased().hasPrefix("https://") {
            absolute = text
        } else if text.hasPrefix("//") {
            absolute = "\(scheme):\(text)"
        } else if text.hasPrefix("/") {
            absolute = root + text
        } else if text.hasPrefix("?") {
            absolute = root + path + text
        } else if let end = text.firstRange(of: "://"), text[..<end.lowerBound].isScheme {
            throw CacheError(
                .corrupted,
                "a redirect to an invalid URL: expected an http:// or https:// URL, but it has another scheme")
        } else {
            // A URL without a path means the root of its server.
            absolute = root + (path.lastIndex(of: "/").map { path[...$0] } ?? "/") + text
        }
        do {
            return try ServiceURL(absolute.encodingBehindHost)
        } catch {
            throw CacheError(
                .corrupted,
                "a redirect to an invalid URL: expected an http:// or https:// URL, but \(error.message)")
        }
    }

    /// The URL with these parameters after those it has.
    ///
    /// What it has stays as it is, byte for byte: it may be signed.
    package func adding(_ parameters: [(name: String, value: String)]) throws(CacheError) -> ServiceURL {
        let added = parameters.map { "\($0.name.percentEncoded)=\($0.value.percentEncoded)" }.joined(separator: "&")
        guard !added.isEmpty else { return self }
        return try ServiceURL("\(base)?\(query.map { $0.exposed + "&" } ?? "")\(added)")
    }
}

extension String {
    /// An absolute URL with the characters behind its host percent-encoded that a URL may not have but that servers write.
    ///
    /// Foundation would encode them, too, but along with them the percent signs that are there already, and break signatures. Spaces and
    /// control characters stay, and make it invalid: a request line could not hold them in any other client either.
    var encodingBehindHost: String {
        let authority =
            firstRange(of: "://").map { self[$0.upperBound...].prefix { $0 != "/" && $0 != "?" } } ?? self[...]
        var tail: [UInt8] = []
        var isChanged = false
        var rest = self[authority.endIndex...].utf8
        while let byte = rest.popFirst() {
            let isAllowed =
                byte == UInt8(ascii: "%")
                ? rest.count >= 2 && rest.prefix(2).allSatisfy(\.isHexadecimalDigit)
                : byte < 0x80 && !"\"<>[\\]^`{|}".utf8.contains(byte)
            if isAllowed {
                tail.append(byte)
            } else {
                tail += byte.percentEncoded
                isChanged = true
            }
        }
        return isChanged ? self[..<authority.endIndex] + String(decoding: tail, as: UTF8.self) : self
    }
}

extension Substring {
    /// Whether it can be the scheme of a URL.
    fileprivate var isScheme: Bool {
        !isEmpty
            && utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || "+-.".utf8.contains($0)
            }
    }
}

extension ServiceURL {
    /// The parameters of the query, decoded, in their order.
    package var queryParameters: [(name: String, value: String)] {
        (query?.exposed ?? "").split(separator: "&").map { parameter in
            let name = parameter.prefix { $0 != "=" }
            return (String(name).percentDecoded, String(parameter.dropFirst(name.utf8.count + 1)).percentDecoded)
        }
    }
}
