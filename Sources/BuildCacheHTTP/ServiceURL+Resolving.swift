package import BuildCacheCore
package import BuildCacheSpec

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
                ? rest.count >= 2 && rest.prefix(2).allSatisfy { $0.isHexadecimalDigit }
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

    /// The text as part of a query or a form: all but `A-Z a-z 0-9 - . _ ~` as `%XX`.
    ///
    /// - Source: RFC 3986 §2.3.
    package var percentEncoded: String {
        var bytes: [UInt8] = []
        for byte in utf8 {
            switch byte {
            case 48...57, 65...90, 97...122, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
                bytes.append(byte)
            default: bytes += byte.percentEncoded
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The text with every `%XX` as the byte it stands for.
    package var percentDecoded: String {
        guard contains("%") else { return self }
        var bytes: [UInt8] = []
        var rest = Array(utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(digits: String(decoding: rest.prefix(2), as: UTF8.self), radix: 16, in: 0...255)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
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

extension UInt8 {
    fileprivate var isHexadecimalDigit: Bool {
        (48...57).contains(self) || (65...70).contains(self) || (97...102).contains(self)
    }

    /// `%` and two upper-case digits.
    fileprivate var percentEncoded: [UInt8] {
        let digits = Array("0123456789ABCDEF".utf8)
        return [UInt8(ascii: "%"), digits[Int(self >> 4)], digits[Int(self & 15)]]
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
