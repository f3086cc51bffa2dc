package import BuildCacheCore
package import NIOHTTP1

/// The headers of a request that only its own origin may get: validated when they are set, and never printed.
package struct CredentialHeaders: Sendable {
    private var values: [(name: String, value: Secret<String>)] = []

    /// No headers.
    package init() {}

    /// Whether there are none.
    package var isEmpty: Bool { values.isEmpty }

    /// Sets a header, in place of one of the same name.
    ///
    /// - Throws: `CacheError` `.invalidSpec`, without the value, if it has a control character: a line break at the end of a token is common
    ///   where it comes from a file or a variable.
    package mutating func set(_ name: String, _ value: Secret<String>) throws(CacheError) {
        guard value.exposed.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw CacheError(
                .invalidSpec,
                "the credential for the header \(name) has a control character: expected one line of text; look for a line break "
                    + "at its end, in the option, variable or file that it comes from")
        }
        values.removeAll { $0.name.lowercased() == name.lowercased() }
        values.append((name, value))
    }

    /// The headers with their values, for the connection alone.
    package var exposed: HTTPHeaders { HTTPHeaders(values.map { ($0.name, $0.value.exposed) }) }
}

extension CredentialHeaders: CustomStringConvertible, CustomReflectable {
    /// The names of the headers.
    package var description: String { values.map { "\($0.name): <redacted>" }.joined(separator: ", ") }
    /// A mirror without children.
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
