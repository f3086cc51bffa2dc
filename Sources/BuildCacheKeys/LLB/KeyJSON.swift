import BuildCacheCore

/// Writes a message as the JSON that BuildKit hashes: as Go's `encoding/json`, with what is zero, empty or absent left out.
///
/// - Source: `Documentation/Spec/cache-keys.md` §2.
struct KeyJSON: FieldVisitor {
    var writer = JSONWriter()

    /// An object with the fields of `message`.
    mutating func object(_ message: some LLBMessage) {
        var message = message
        writer.beginObject()
        // Throws only what a reader finds.
        try? message.visit(&self)
        writer.endObject()
    }

    mutating func string(_ number: Int, _ name: StaticString, _ value: inout String) {
        guard !value.utf8.isEmpty else { return }
        writer.key(name)
        writer.string(value)
    }

    mutating func strings(_ number: Int, _ name: StaticString, _ value: inout [String]) {
        guard !value.isEmpty else { return }
        writer.key(name)
        writer.beginArray()
        for text in value { writer.string(text) }
        writer.endArray()
    }

    mutating func bytes(_ number: Int, _ name: StaticString, _ value: inout [UInt8]) {
        guard !value.isEmpty else { return }
        writer.key(name)
        writer.string(utf8: Base64.encode(value))
    }

    mutating func list(_ number: Int, _ name: StaticString, _ value: inout [[UInt8]]) {
        guard !value.isEmpty else { return }
        writer.key(name)
        writer.beginArray()
        for bytes in value { writer.string(utf8: Base64.encode(bytes)) }
        writer.endArray()
    }

    mutating func bool(_ number: Int, _ name: StaticString, _ value: inout Bool) {
        guard value else { return }
        writer.key(name)
        writer.bool(true)
    }

    mutating func integer<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout Value
    ) {
        guard value != 0 else { return }
        writer.key(name)
        writer.integer(value)
    }

    mutating func integers<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout [Value]
    ) {
        guard !value.isEmpty else { return }
        writer.key(name)
        writer.beginArray()
        for element in value { writer.integer(element) }
        writer.endArray()
    }

    mutating func member<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout Value?
    ) {
        guard let value, value != 0 else { return }
        writer.key(name)
        writer.integer(value)
    }

    mutating func message<Value: LLBMessage>(_ number: Int, _ name: StaticString, _ value: inout Value?) {
        guard let value else { return }
        writer.key(name)
        object(value)
    }

    mutating func messages<Value: LLBMessage>(_ number: Int, _ name: StaticString, _ value: inout [Value]) {
        guard !value.isEmpty else { return }
        writer.key(name)
        writer.beginArray()
        for message in value { object(message) }
        writer.endArray()
    }

    mutating func map(_ number: Int, _ name: StaticString, _ value: inout [LLB.Attribute]) {
        guard !value.isEmpty else { return }
        writer.key(name)
        writer.beginObject()
        for entry in LLB.Attribute.sorted(value) {
            writer.key(entry.name)
            writer.string(entry.value)
        }
        writer.endObject()
    }

    mutating func entries<Value: LLBMessage>(_ number: Int, _ name: StaticString, _ value: inout [LLB.Entry<Value>]) {
        guard !value.isEmpty else { return }
        writer.key(name)
        writer.beginObject()
        for entry in LLB.Entry.sorted(value) {
            writer.key(entry.name)
            object(entry.value)
        }
        writer.endObject()
    }

    mutating func oneof<Value>(
        _ name: StaticString, isSet: Bool, _ value: inout Value,
        _ members: (inout KeyJSON, inout Value) throws(CacheError) -> Void
    ) throws(CacheError) {
        writer.key(name)
        guard isSet else { return writer.null() }
        writer.beginObject()
        try members(&self, &value)
        writer.endObject()
    }
}

extension LLB {
    /// Strings as a JSON array, as attributes hold them.
    package static func jsonArray(_ strings: [String]) -> String {
        var writer = JSONWriter()
        writer.beginArray()
        for string in strings { writer.string(string) }
        writer.endArray()
        return String(decoding: writer.bytes, as: UTF8.self)
    }
}
