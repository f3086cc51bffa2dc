package import BuildCacheCore
import BuildCacheHTTP
package import NIOHTTP1

/// Signs requests with the key of a storage account.
///
/// - Source: Azure Storage REST API, "Authorize with Shared Key"; `Documentation/Spec/backends.md` §6.3.
package struct SharedKey: Sendable {
    /// The account's name.
    package let account: String
    private let key: Secret<[UInt8]>

    /// - Parameter key: The account's key in base64, as the portal shows it.
    /// - Throws: `CacheError` `.invalidSpec` if it is no base64; the error does not repeat it.
    package init(account: String, key: Secret<String>) throws(CacheError) {
        guard let bytes = Base64.decode(key.exposed.utf8), !bytes.isEmpty else {
            throw CacheError(
                .invalidSpec, "secret_access_key is no base64: copy the account's key as the portal shows it")
        }
        self.account = account
        self.key = Secret(bytes)
    }

    /// The value of the `Authorization` header.
    ///
    /// - Parameters:
    ///   - headers: All that the request carries, `x-ms-date` or `Date` among them.
    ///   - length: Bytes of the body.
    package func authorization(
        _ method: HTTPMethod, _ url: ServiceURL, _ headers: HTTPHeaders, length: Int64
    ) -> Secret<String> {
        let text = SharedKey.stringToSign(account: account, method, url, headers, length: length)
        return Secret("SharedKey \(account):\(signature(of: text))")
    }

    /// The signature of a text, in base64.
    package func signature(of text: String) -> String {
        String(decoding: Base64.encode(HMAC.sha256(key: key.exposed, text.utf8)), as: UTF8.self)
    }

    // MARK: What is signed

    private static let plainHeaders = [
        "Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date",
        "If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range",
    ]

    package static func stringToSign(
        account: String, _ method: HTTPMethod, _ url: ServiceURL, _ headers: HTTPHeaders, length: Int64
    ) -> String {
        var lines = [method.rawValue]
        for name in plainHeaders {
            switch name {
            case "Content-Length": lines.append(length == 0 ? "" : "\(length)")
            // The service looks at one of the two dates only.
            case "Date" where headers.contains(name: "x-ms-date"): lines.append("")
            default: lines.append(headers[name].joined(separator: ","))
            }
        }
        lines += canonicalHeaders(headers)
        // An emulator has its account in the path, and so twice in here.
        lines.append("/\(account)\(url.path.isEmpty ? "/" : url.path)")
        lines += canonicalQuery(url)
        return lines.joined(separator: "\n")
    }

    /// The `x-ms-` headers, as `name:value`, in the service's order.
    private static func canonicalHeaders(_ headers: HTTPHeaders) -> [String] {
        var values: [String: [String]] = [:]
        for (name, value) in headers where name.lowercased().hasPrefix("x-ms-") {
            values[name.lowercased(), default: []].append(trimmed(value))
        }
        return values.sorted { (weights($0.key), $0.key) < (weights($1.key), $1.key) }
            .map { "\($0.key):\($0.value.joined(separator: ","))" }
    }

    /// The service sorts names as words: hyphens do not count, and the underscore comes before digits and letters.
    private static func weights(_ name: String) -> String {
        String(name.compactMap { $0 == "-" ? nil : $0 == "_" ? "!" : $0 })
    }

    /// The parameters of the query, decoded, sorted by name; several of one name as one line, sorted by value.
    private static func canonicalQuery(_ url: ServiceURL) -> [String] {
        var values: [String: [String]] = [:]
        for (name, value) in url.queryParameters { values[name.lowercased(), default: []].append(value) }
        return values.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value.sorted().joined(separator: ","))" }
    }

    private static func trimmed(_ value: String) -> String {
        let isSpace = { (character: Character) in character == " " || character == "\t" }
        return String(value.drop(while: isSpace).reversed().drop(while: isSpace).reversed())
    }
}
