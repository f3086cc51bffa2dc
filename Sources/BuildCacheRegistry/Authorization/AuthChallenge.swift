/// One way in that a 401 offers.
///
/// - Source: RFC 9110 §11.6.1; distribution, "Token Authentication Specification".
struct AuthChallenge: Hashable, Sendable {
    /// Lower case, as in `bearer`.
    var scheme: String
    /// By lower-case name.
    var parameters: [String: String]

    /// The challenges of all `WWW-Authenticate` headers, in their order.
    ///
    /// Parameters are quoted or not; what makes no sense is passed over.
    static func parse(_ headers: [String]) -> [AuthChallenge] {
        headers.flatMap { header -> [AuthChallenge] in
            var found: [AuthChallenge] = []
            var scanner = Scanner(rest: Array(header.utf8)[...])
            while let word = scanner.token() {
                if scanner.skip(UInt8(ascii: "=")) {
                    let value = scanner.value()
                    if !found.isEmpty { found[found.count - 1].parameters[word.lowercased()] = value }
                } else {
                    found.append(AuthChallenge(scheme: word.lowercased(), parameters: [:]))
                }
            }
            return found
        }
    }

    private struct Scanner {
        var rest: ArraySlice<UInt8>

        /// The next word; commas and spaces between words are passed over.
        mutating func token() -> String? {
            while let byte = rest.first {
                let word = rest.prefix { isTokenByte($0) }
                rest = rest.dropFirst(max(word.count, 1))
                if !word.isEmpty { return String(decoding: word, as: UTF8.self) }
                _ = byte
            }
            return nil
        }

        mutating func skip(_ byte: UInt8) -> Bool {
            let trimmed = rest.drop { $0 == 0x20 || $0 == 0x09 }
            guard trimmed.first == byte else { return false }
            rest = trimmed.dropFirst()
            return true
        }

        /// A word, or a text in quotes.
        mutating func value() -> String {
            rest = rest.drop { $0 == 0x20 || $0 == 0x09 }
            guard rest.first == UInt8(ascii: "\"") else {
                // Unquoted URLs occur, so everything up to the next comma counts.
                let word = rest.prefix { $0 != UInt8(ascii: ",") && $0 != 0x20 }
                rest = rest.dropFirst(word.count)
                return String(decoding: word, as: UTF8.self)
            }
            rest = rest.dropFirst()
            var value: [UInt8] = []
            while let byte = rest.popFirst(), byte != UInt8(ascii: "\"") {
                if byte == UInt8(ascii: "\\"), let escaped = rest.popFirst() {
                    value.append(escaped)
                } else {
                    value.append(byte)
                }
            }
            return String(decoding: value, as: UTF8.self)
        }

        private func isTokenByte(_ byte: UInt8) -> Bool {
            (0x21...0x7E).contains(byte) && !"\"(),/:;<=>?@[\\]{}".utf8.contains(byte)
        }
    }
}

/// What a token may be used for: actions by resource, as `pull,push` on `repository:library/app`.
struct AuthScopes: Hashable, Sendable {
    private var actions: [String: Set<String>]

    /// Of texts as `repository:library/app:pull,push`; several may stand in one, with spaces between.
    init(_ texts: [String]) {
        actions = [:]
        for text in texts.flatMap({ $0.split(separator: " ") }) {
            guard let colon = text.lastIndex(of: ":") else { continue }
            actions[String(text[..<colon]), default: []]
                .formUnion(text[text.index(after: colon)...].split(separator: ",").map { String($0) })
        }
    }

    static func pull(_ path: String) -> AuthScopes { AuthScopes(["repository:\(path):pull"]) }
    static func delete(_ path: String) -> AuthScopes { AuthScopes(["repository:\(path):pull,delete"]) }
    static func push(_ path: String) -> AuthScopes { AuthScopes(["repository:\(path):pull,push"]) }

    func union(_ other: AuthScopes) -> AuthScopes {
        var united = self
        united.actions.merge(other.actions) { $0.union($1) }
        return united
    }

    /// The resource and its actions, `nil` for none or several resources.
    var single: (resource: String, actions: Set<String>)? {
        guard actions.count == 1, let (resource, actions) = actions.first else { return nil }
        return (resource, actions)
    }

    /// The number of resources and actions together.
    var count: Int { actions.reduce(0) { $0 + 1 + $1.value.count } }

    func contains(_ other: AuthScopes) -> Bool {
        other.actions.allSatisfy { actions[$0.key]?.isSuperset(of: $0.value) ?? false }
    }

    /// One text per resource, everything sorted: the same scopes are always asked for in the same words.
    var texts: [String] { actions.keys.sorted().map { "\($0):\((actions[$0] ?? []).sorted().joined(separator: ","))" } }
}
