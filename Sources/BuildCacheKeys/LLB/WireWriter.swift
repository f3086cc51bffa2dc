import BuildCacheCore

/// Writes a message as BuildKit does: zero values left out, set messages written even if empty, maps sorted, repeated numbers packed.
struct WireWriter: FieldVisitor {
    private(set) var bytes: [UInt8] = []

    /// The bytes of a message, the fields that were not understood last.
    static func encode(_ message: some LLBMessage) -> [UInt8] {
        var writer = WireWriter()
        var message = message
        // Throws only what a reader finds.
        try? message.visit(&writer)
        return writer.bytes + message.unknownFields
    }

    mutating func string(_ number: Int, _ name: StaticString, _ value: inout String) {
        if !value.utf8.isEmpty { append(number, Array(value.utf8)) }
    }

    mutating func strings(_ number: Int, _ name: StaticString, _ value: inout [String]) {
        for text in value { append(number, Array(text.utf8)) }
    }

    mutating func bytes(_ number: Int, _ name: StaticString, _ value: inout [UInt8]) {
        if !value.isEmpty { append(number, value) }
    }

    mutating func list(_ number: Int, _ name: StaticString, _ value: inout [[UInt8]]) {
        for bytes in value { append(number, bytes) }
    }

    mutating func bool(_ number: Int, _ name: StaticString, _ value: inout Bool) {
        if value { appendVarint(number, 1) }
    }

    mutating func integer<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout Value
    ) {
        // Signed numbers are extended to 64 bits first, so that a negative one has ten bytes.
        if value != 0 { appendVarint(number, UInt64(truncatingIfNeeded: value)) }
    }

    mutating func integers<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout [Value]
    ) {
        guard !value.isEmpty else { return }
        var packed = WireWriter()
        for element in value { packed.append(UInt64(truncatingIfNeeded: element)) }
        append(number, packed.bytes)
    }

    mutating func member<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout Value?
    ) {
        if let value { appendVarint(number, UInt64(truncatingIfNeeded: value)) }
    }

    mutating func message<Value: LLBMessage>(_ number: Int, _ name: StaticString, _ value: inout Value?) {
        if let value { append(number, WireWriter.encode(value)) }
    }

    mutating func messages<Value: LLBMessage>(_ number: Int, _ name: StaticString, _ value: inout [Value]) {
        for message in value { append(number, WireWriter.encode(message)) }
    }

    mutating func map(_ number: Int, _ name: StaticString, _ value: inout [LLB.Attribute]) {
        for entry in LLB.Attribute.sorted(value) {
            var bytes = WireWriter()
            bytes.append(1, Array(entry.name.utf8))
            bytes.append(2, Array(entry.value.utf8))
            append(number, bytes.bytes)
        }
    }

    mutating func entries<Value: LLBMessage>(_ number: Int, _ name: StaticString, _ value: inout [LLB.Entry<Value>]) {
        for entry in LLB.Entry.sorted(value) {
            var bytes = WireWriter()
            bytes.append(1, Array(entry.name.utf8))
            bytes.append(2, WireWriter.encode(entry.value))
            append(number, bytes.bytes)
        }
    }

    /// A field of bytes, behind its tag and length.
    mutating func append(_ number: Int, _ value: [UInt8]) {
        append(UInt64(number) << 3 | 2)
        append(UInt64(value.count))
        bytes += value
    }

    private mutating func appendVarint(_ number: Int, _ value: UInt64) {
        append(UInt64(number) << 3)
        append(value)
    }

    private mutating func append(_ value: UInt64) {
        var rest = value
        while rest > 0x7F {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }
}
