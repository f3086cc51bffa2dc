import BuildCacheCore
import NIOHTTP1

/// The credentials of one request, to be found in what a server says: a server that repeats them must not put them into a log.
struct RequestSecrets: Sendable {
    // Few requests are refused or redirected, so their credentials are not taken apart before.
    private let values: @Sendable () -> [[UInt8]]

    /// Shorter ones would be found in any text.
    private static let shortest = 4
    /// Parts of the names of query parameters whose values are credentials, as in `sig` and `X-Amz-Security-Token`.
    private static let secretNames = ["sig", "token", "credential", "secret", "password", "key"]

    /// - Parameter includesQuery: Whether credentials in the query of the URL count.
    init(_ request: OutgoingRequest, includesQuery: Bool = true) {
        let (headers, url, earlier) = (request.credentials, request.url, request.earlierSecrets)
        let form = if case .form(let form) = request.body { form.secrets } else { Secret<[String]>([]) }
        values = {
            var texts = form.exposed
            for (_, value) in headers.exposed {
                texts.append(value)
                let scheme = value.prefix { $0 != " " }
                let credential = String(value.dropFirst(scheme.count + 1))
                texts.append(credential)
                guard scheme.lowercased() == "basic", let login = Base64.decode(credential.utf8) else { continue }
                texts.append(String(decoding: login.drop { $0 != UInt8(ascii: ":") }.dropFirst(), as: UTF8.self))
            }
            for (name, value) in includesQuery ? url.queryParameters : []
            where RequestSecrets.secretNames.contains(where: { name.lowercased().firstRange(of: $0) != nil }) {
                texts.append(value)
            }
            return (earlier?.values() ?? [])
                + texts.map { Array($0.utf8) }.filter { $0.count >= RequestSecrets.shortest }
        }
    }

    /// Whether bytes repeat one of them, be it percent-encoded, as in a form, or with escapes of JSON.
    func occur(in bytes: some Collection<UInt8>) -> Bool {
        let secrets = values()
        guard !secrets.isEmpty, !bytes.isEmpty else { return false }
        let plain = Array(bytes)
        let text = String(decoding: plain, as: UTF8.self)
        let spaced = String(decoding: plain.map { $0 == UInt8(ascii: "+") ? 0x20 : $0 }, as: UTF8.self)
        let forms = [
            plain, plain.filter { $0 != UInt8(ascii: "\\") }, Array(text.percentDecoded.utf8),
            Array(spaced.percentDecoded.utf8),
        ]
        return secrets.contains { secret in forms.contains { $0.contains(bytes: secret) } }
    }

    /// Whether a text, if there is one, repeats one of them.
    func occur(in text: String?) -> Bool { text.map { occur(in: $0.utf8) } ?? false }

    /// The text, or a word in its place if it repeats one of them.
    func hide(_ text: String) -> String { occur(in: text.utf8) ? "<redacted>" : text }
}

extension [UInt8] {
    /// Whether `wanted` occurs here.
    ///
    /// Takes linear time, because a server may choose both: its token, and the words that nearly repeat it.
    ///
    /// - Source: Knuth, Morris, Pratt, "Fast Pattern Matching in Strings", 1977.
    fileprivate func contains(bytes wanted: [UInt8]) -> Bool {
        guard !wanted.isEmpty, wanted.count <= count else { return false }
        // For each prefix of `wanted`, the length of the longest proper prefix that is also its suffix.
        var borders = [0]
        borders.reserveCapacity(wanted.count)
        var matched = 0
        for byte in wanted.dropFirst() {
            while matched > 0, byte != wanted[matched] { matched = borders[matched - 1] }
            if byte == wanted[matched] { matched += 1 }
            borders.append(matched)
        }
        matched = 0
        for byte in self {
            while matched > 0, byte != wanted[matched] { matched = borders[matched - 1] }
            if byte == wanted[matched] { matched += 1 }
            if matched == wanted.count { return true }
        }
        return false
    }
}
