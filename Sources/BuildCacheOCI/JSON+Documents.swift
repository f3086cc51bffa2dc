import BuildCacheCore

/// Reads all of `bytes` as one JSON document.
///
/// - Throws: `CacheError` `.limitExceeded` beyond `limit` bytes, `.corrupted` if `read` leaves anything but space, and
///   what `read` throws.
func readDocument<Value>(
    _ bytes: [UInt8], _ name: StaticString, limit: Int, _ read: (inout JSONReader) throws(CacheError) -> Value
) throws(CacheError) -> Value {
    guard bytes.count <= limit else {
        throw CacheError(.limitExceeded, "\(name) has \(bytes.count) bytes, more than the limit of \(limit)")
    }
    return try bytes.withUnsafeBufferPointer { (buffer) throws(CacheError) -> Value in
        var reader = JSONReader(UnsafeRawBufferPointer(buffer), document: name)
        let value = try read(&reader)
        try reader.finish()
        return value
    }
}

extension JSONReader {
    /// The most elements of one array, or members of one object, that are kept.
    ///
    /// Three bytes of JSON can become a hundred in memory, so the size of a document alone is no bound. A manifest of 64 MiB
    /// has room for fewer layers than this.
    static let maximumCount = 1 << 19

    /// Every element of an array, read by `read`; none for `null`.
    mutating func list<Element>(
        _ read: (inout JSONReader) throws(CacheError) -> Element
    ) throws(CacheError) -> [Element] {
        var elements: [Element] = []
        guard try beginArray() else { return elements }
        while try nextElement() {
            try checkCount(elements.count)
            elements.append(try read(&self))
        }
        return elements
    }

    /// Every element of an array that `read` accepts; none for `null`.
    ///
    /// - Parameter unusable: Notes the elements that are JSON and that `read` refuses.
    mutating func list<Element>(
        leavingOut unusable: inout UnusableEntries, _ read: (inout JSONReader) throws(CacheError) -> Element
    ) throws(CacheError) -> [Element] {
        var elements: [Element] = []
        guard try beginArray() else { return elements }
        while try nextElement() {
            try checkCount(elements.count + unusable.count)
            if let element = try value(notedIn: &unusable, read) { elements.append(element) }
        }
        return elements
    }

    /// Returns the next value as `read` makes it, or `nil` if `read` refuses it and it is JSON all the same.
    mutating func value<Value>(
        notedIn unusable: inout UnusableEntries, _ read: (inout JSONReader) throws(CacheError) -> Value
    ) throws(CacheError) -> Value? {
        var attempt = self
        do throws(CacheError) {
            let value = try read(&attempt)
            self = attempt
            return value
        } catch {
            try skipValue()
            unusable.note(error)
            return nil
        }
    }

    /// The members of an object in their order, each value as it stands; `nil` for `null`.
    ///
    /// Of equal keys the last one stays. Keys are equal if their bytes are, as in a Go map: Swift takes more for equal.
    mutating func members() throws(CacheError) -> [JSONMember]? {
        guard try beginObject() else { return nil }
        var members: [JSONMember?] = []
        var places: [[UInt8]: Int] = [:]
        while let key = try nextKey() {
            let text = key.text
            if let earlier = places.updateValue(members.count, forKey: Array(text.utf8)) { members[earlier] = nil }
            try checkCount(members.count)
            members.append(JSONMember(key: text, json: Array(try skipValue())))
        }
        return members.compactMap { $0 }
    }

    /// Every string of an array; `null` is no or an empty string.
    mutating func strings() throws(CacheError) -> [String] {
        try list { (reader) throws(CacheError) in try reader.string() ?? "" }
    }

    /// The strings of an object by their keys; the last of equal keys wins.
    mutating func stringsByKey() throws(CacheError) -> [String: String] {
        var strings: [String: String] = [:]
        guard try beginObject() else { return strings }
        while let key = try nextKey() {
            try checkCount(strings.count)
            strings[key.text] = try string() ?? ""
        }
        return strings
    }

    private func checkCount(_ count: Int) throws(CacheError) {
        guard count < JSONReader.maximumCount else {
            throw CacheError(.limitExceeded, "a list in the document has more than \(JSONReader.maximumCount) elements")
        }
    }

    /// A string, or `nil` for `null` and for the empty string: Go writes and reads the two alike.
    mutating func nonEmptyString() throws(CacheError) -> String? {
        guard let text = try string(), !text.isEmpty else { return nil }
        return text
    }
}

extension JSONWriter {
    /// Writes strings by key, the keys in the order of their bytes as Go orders the keys of a map.
    mutating func stringsByKey(_ strings: [String: String]) {
        beginObject()
        for (key, value) in strings.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
            self.key(key)
            string(value)
        }
        endObject()
    }

    /// Writes an array of strings.
    mutating func strings(_ strings: [String]) {
        beginArray()
        for text in strings { string(text) }
        endArray()
    }

    /// Writes a value that is JSON already, without the space between its tokens, otherwise as it stands.
    ///
    /// `<`, `>`, `&`, U+2028 and U+2029 are escaped and nothing else changes: Go does the same to a `json.RawMessage`.
    mutating func compact(_ json: some Sequence<UInt8>) {
        var result: [UInt8] = []
        result.reserveCapacity(json.underestimatedCount)
        var inString = false
        var escaped = false
        for byte in json {
            switch byte {
            case 0x20, 0x0A, 0x0D, 0x09:
                if inString { result.append(byte) }
            case UInt8(ascii: "<"): result.append(contentsOf: "\\u003c".utf8)
            case UInt8(ascii: ">"): result.append(contentsOf: "\\u003e".utf8)
            case UInt8(ascii: "&"): result.append(contentsOf: "\\u0026".utf8)
            case 0xA8, 0xA9:
                result.append(byte)
                // E2 80 A8 and E2 80 A9 are line breaks to JavaScript.
                guard result.suffix(3).starts(with: [0xE2, 0x80]) else { break }
                result.removeLast(3)
                result.append(contentsOf: byte == 0xA8 ? "\\u2028".utf8 : "\\u2029".utf8)
            default: result.append(byte)
            }
            if byte == UInt8(ascii: "\""), !escaped { inString.toggle() }
            escaped = inString && byte == UInt8(ascii: "\\") && !escaped
        }
        verbatim(result)
    }
}

/// A member of an object, its value as it stands.
struct JSONMember: Hashable, Sendable {
    var key: String
    var json: [UInt8]

    /// Whether a reader takes the member for `name`: upper and lower case of ASCII are equal, as in Go.
    func isNamed(_ name: StaticString) -> Bool { JSONKey.isKey(key, name) }
}

extension [JSONMember] {
    /// The place of the member that counts for `name`, the last.
    func place(of name: StaticString) -> Int? { lastIndex { $0.isNamed(name) } }

    /// Removes all members that a reader takes for `name` except the one that counts.
    ///
    /// In another order, another of them would count.
    mutating func removeOverridden(_ name: StaticString) {
        guard let place = place(of: name) else { return }
        self = enumerated().filter { $0.offset == place || !$0.element.isNamed(name) }.map(\.element)
    }
}
