import BuildCacheCore
import NIOHTTP1

// Numbers and digests that a registry writes into headers. A header may hold anything, so what is not a plain number is `nil`.
extension HTTPHeaders {
    /// The number of bytes in a header, as in `Content-Length: 1024`.
    ///
    /// - Returns: `nil` if the header is absent, or is not a number from 0 to `Descriptor.maximumSize`.
    func byteCount(_ name: String) -> Int64? { first(name: name).flatMap { Int64(byteCount: $0) } }

    /// The number of the last byte in a `Range` header of an upload, as in `0-1023`, `bytes=0-1023` or `1024-2047`.
    ///
    /// - Returns: `nil` if the header is absent or not a range of bytes.
    /// - Source: OCI distribution-spec 1.1, "Pushing a blob in chunks".
    var lastReceivedByte: Int64? {
        guard var text = first(name: "Range")?[...] else { return nil }
        for unit in ["bytes=", "bytes "] where text.hasPrefix(unit) { text = text.dropFirst(unit.count) }
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let first = Int64(byteCount: parts[0]), let last = Int64(byteCount: parts[1]),
            first <= last
        else { return nil }
        return last
    }

    /// The number of bytes of the whole blob in a `Content-Range` header, as in `bytes 0-0/1024`.
    ///
    /// - Returns: `nil` if the header is absent or does not tell.
    /// - Source: RFC 9110 §14.4.
    var totalBytes: Int64? {
        guard let text = first(name: "Content-Range"), let slash = text.lastIndex(of: "/") else { return nil }
        return Int64(byteCount: text[text.index(after: slash)...])
    }

    /// The digest that the registry names; `nil` if it names none, or none that can be compared.
    var contentDigest: Digest? { first(name: "Docker-Content-Digest").flatMap { try? Digest($0) } }

    /// Whether the body has another form than that of the stored bytes.
    var isEncoded: Bool {
        guard let encoding = first(name: "Content-Encoding")?.lowercased() else { return false }
        return encoding != "identity" && !encoding.isEmpty
    }
}

extension Int64 {
    /// The number of bytes that a text writes in digits, `nil` for any other text and above `Descriptor.maximumSize`.
    init?(byteCount text: some StringProtocol) { self.init(decimal: text, in: 0...Descriptor.maximumSize) }
}
