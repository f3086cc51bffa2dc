package import BuildCacheCore
import BuildCacheHTTP

/// Signs requests in the way that AWS calls Signature Version 4.
///
/// Pure: a request, credentials and a time in, the value of `Authorization` out.
///
/// - Source: AWS, "Signature Version 4 for API requests"; `Documentation/Spec/backends.md` §5.4.
package struct SignatureV4: Sendable {
    /// What of a request is signed.
    package struct Message: Sendable {
        package var method: String
        /// The path as it is sent, percent-encoded once.
        package var path: String
        /// The parameters as they are before encoding.
        package var query: [(name: String, value: String)]
        /// All headers to sign, `Host` among them.
        package var headers: [(name: String, value: String)]
        /// The SHA-256 of the body in hexadecimal, or ``SignatureV4/unsignedPayload``.
        package var payloadHash: String

        package init(
            method: String, path: String, query: [(name: String, value: String)] = [],
            headers: [(name: String, value: String)], payloadHash: String
        ) {
            self.method = method
            self.path = path
            self.query = query
            self.headers = headers
            self.payloadHash = payloadHash
        }
    }

    /// Says that the signature does not cover the body, which TLS protects.
    package static let unsignedPayload = "UNSIGNED-PAYLOAD"
    /// The SHA-256 of no bytes.
    package static let emptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    package var region: String
    package var service: String

    package init(region: String, service: String = "s3") {
        self.region = region
        self.service = service
    }

    /// The value of `Authorization`.
    package func authorization(
        for message: Message, accessKeyID: String, secretAccessKey: Secret<String>, at date: Timestamp
    ) -> String {
        let time = date.amazonText
        let day = String(time.prefix(8))
        let scope = "\(day)/\(region)/\(service)/aws4_request"
        let (canonical, signed) = SignatureV4.canonicalRequest(message)
        let toSign = "AWS4-HMAC-SHA256\n\(time)\n\(scope)\n\(Digest(of: canonical.utf8).hex)"
        var key = HMAC.sha256(key: ("AWS4" + secretAccessKey.exposed).utf8, day.utf8)
        for part in [region, service, "aws4_request"] { key = HMAC.sha256(key: key, part.utf8) }
        let signature = HMAC.sha256(key: key, toSign.utf8).hexadecimal
        return "AWS4-HMAC-SHA256 Credential=\(accessKeyID)/\(scope), SignedHeaders=\(signed), Signature=\(signature)"
    }

    /// The text whose digest is signed, and the names of the headers in it.
    package static func canonicalRequest(_ message: Message) -> (text: String, signedHeaders: String) {
        let query = message.query.map { (name: $0.name.percentEncoded, value: $0.value.percentEncoded) }
            .sorted { ($0.name, $0.value) < ($1.name, $1.value) }
            .map { "\($0.name)=\($0.value)" }.joined(separator: "&")
        // A header that comes twice counts once, its values in their order.
        var values: [String: [String]] = [:]
        for header in message.headers { values[header.name.lowercased(), default: []].append(header.value.collapsed) }
        // By bytes, as the other side does: Swift's own order of texts is another one.
        let names = values.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let headers = names.map { "\($0):\(values[$0, default: []].joined(separator: ","))\n" }.joined()
        let signed = names.joined(separator: ";")
        let path = message.path.isEmpty ? "/" : message.path
        return ("\(message.method)\n\(path)\n\(query)\n\(headers)\n\(signed)\n\(message.payloadHash)", signed)
    }
}

extension Timestamp {
    /// The time in UTC as `20130524T000000Z`; fractions are cut.
    package var amazonText: String {
        let whole = Timestamp(seconds: seconds) ?? .zero
        return whole.description.filter { $0 != "-" && $0 != ":" }
    }
}

extension String {
    /// Without spaces at its ends, and with one where there were several.
    fileprivate var collapsed: String {
        split(whereSeparator: { $0 == " " || $0 == "\t" }).joined(separator: " ")
    }
}

extension [UInt8] {
    /// Two lower-case digits per byte.
    package var hexadecimal: String {
        let digits = Array<UInt8>("0123456789abcdef".utf8)
        return String(decoding: flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
