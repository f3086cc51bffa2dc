package import BuildCacheCore
package import BuildCacheSpec

extension ServiceURL {
    /// Scheme, host and port: to whom credentials belong.
    package var origin: String { "\(scheme)://\(host):\(port ?? (scheme == "https" ? 443 : 80))" }

    /// Whether the host is this machine: `localhost`, 127/8 or ::1.
    package var isLoopback: Bool { Self.isLoopback(host) }

    /// Whether a host without its port is this machine.
    package static func isLoopback(_ host: String) -> Bool {
        if host == "localhost" || host == "[::1]" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    /// What a `Location` header means that this URL answered with: an absolute URL, or one without scheme, host or leading slash.
    ///
    /// - Throws: `CacheError` `.corrupted` if it is no URL of a web server.
    /// - Source: RFC 3986 §5.2; RFC 9110 §10.2.2.
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
        } else {
            absolute = root + path.prefix(through: path.lastIndex(of: "/") ?? path.startIndex) + text
        }
        do {
            return try ServiceURL(absolute)
        } catch {
            throw CacheError(.corrupted, "\(base) sends to an address that is no URL: \(error.message)")
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
    /// The text as part of a query or a form: all but `A-Z a-z 0-9 - . _ ~` as `%XX`.
    ///
    /// - Source: RFC 3986 §2.3.
    package var percentEncoded: String {
        var bytes: [UInt8] = []
        for byte in utf8 {
            switch byte {
            case 48...57, 65...90, 97...122, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
                bytes.append(byte)
            default:
                let hex = Array("0123456789ABCDEF".utf8)
                bytes += [UInt8(ascii: "%"), hex[Int(byte >> 4)], hex[Int(byte & 15)]]
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
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
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

extension ServiceURL {
    /// The parameters of the query, decoded, in their order.
    package var queryParameters: [(name: String, value: String)] {
        (query?.exposed ?? "").split(separator: "&").map { parameter in
            let name = parameter.prefix { $0 != "=" }
            return (String(name).percentDecoded, String(parameter.dropFirst(name.utf8.count + 1)).percentDecoded)
        }
    }
}
