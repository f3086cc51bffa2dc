import BuildCacheCore

/// Reads a message: first the places of all its fields, then those that the message asks for; the rest are its unknown fields.
struct WireReader: FieldVisitor {
    private struct Field {
        var number: Int
        /// 0 for a number, 2 for bytes, 1 and 5 for numbers of fixed length, which no field here has.
        var wireType: UInt8
        var value: UInt64 = 0
        /// The place of the value's bytes.
        var content: Range<Int>
        /// The place of the whole field, its tag included.
        var whole: Range<Int>
        var isTaken = false
    }

    private let bytes: ArraySlice<UInt8>
    private var fields: [Field] = []

    /// The message that `bytes` encode.
    ///
    /// - Throws: `CacheError` `.corrupted` for bytes that are not protobuf, and for a text that is not UTF-8.
    static func decode<Message: LLBMessage>(
        _ bytes: ArraySlice<UInt8>, as type: Message.Type = Message.self
    ) throws(CacheError) -> Message {
        var reader = try WireReader(bytes)
        var message = Message()
        try message.visit(&reader)
        message.unknownFields = reader.fields.filter { !$0.isTaken }.flatMap { bytes[$0.whole] }
        return message
    }

    private init(_ bytes: ArraySlice<UInt8>) throws(CacheError) {
        self.bytes = bytes
        var index = bytes.startIndex
        while index < bytes.endIndex {
            let start = index
            let tag = try WireReader.varint(bytes, &index)
            guard let number = Int(exactly: tag >> 3), (1...0x1FFF_FFFF).contains(number) else {
                throw WireReader.malformed("a field has the number \(tag >> 3)")
            }
            var field = Field(number: number, wireType: UInt8(tag & 7), content: index..<index, whole: start..<index)
            switch field.wireType {
            case 0: field.value = try WireReader.varint(bytes, &index)
            case 1: try WireReader.pass(8, bytes, &index)
            case 2:
                let length = try WireReader.varint(bytes, &index)
                field.content = index..<index
                try WireReader.pass(length, bytes, &index)
            case 5: try WireReader.pass(4, bytes, &index)
            default: throw WireReader.malformed("field \(number) has the wire type \(field.wireType)")
            }
            field.content = field.content.lowerBound..<index
            field.whole = start..<index
            fields.append(field)
        }
    }

    private static func varint(_ bytes: ArraySlice<UInt8>, _ index: inout Int) throws(CacheError) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 70, by: 7) {
            guard index < bytes.endIndex else { throw malformed("a number ends too early") }
            let byte = bytes[index]
            index += 1
            // Of the tenth byte only one bit is left.
            guard shift < 63 || byte < 2 else { throw malformed("a number has more than 64 bits") }
            value |= UInt64(byte & 0x7F) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        throw malformed("a number has more than ten bytes")
    }

    private static func pass(_ count: UInt64, _ bytes: ArraySlice<UInt8>, _ index: inout Int) throws(CacheError) {
        guard count <= UInt64(bytes.endIndex - index) else { throw malformed("a field is longer than its message") }
        index += Int(count)
    }

    private static func malformed(_ problem: String) -> CacheError {
        CacheError(.corrupted, "the definition is not valid protobuf: \(problem)")
    }

    /// Takes the fields of a number; one that is encoded in another way stays unknown, as in Go.
    private mutating func take(_ number: Int, _ wireTypes: UInt8...) -> [Field] {
        var found: [Field] = []
        for index in fields.indices where fields[index].number == number {
            guard wireTypes.contains(fields[index].wireType) else { continue }
            fields[index].isTaken = true
            found.append(fields[index])
        }
        return found
    }

    private func text(_ field: Field) throws(CacheError) -> String {
        guard let text = String(validating: bytes[field.content], as: UTF8.self) else {
            throw WireReader.malformed("field \(field.number) is not UTF-8")
        }
        return text
    }
}

// MARK: Fields

extension WireReader {
    mutating func string(_ number: Int, _ name: StaticString, _ value: inout String) throws(CacheError) {
        for field in take(number, 2) { value = try text(field) }
    }

    mutating func strings(_ number: Int, _ name: StaticString, _ value: inout [String]) throws(CacheError) {
        for field in take(number, 2) { value.append(try text(field)) }
    }

    mutating func bytes(_ number: Int, _ name: StaticString, _ value: inout [UInt8]) {
        for field in take(number, 2) { value = Array(bytes[field.content]) }
    }

    mutating func list(_ number: Int, _ name: StaticString, _ value: inout [[UInt8]]) {
        for field in take(number, 2) { value.append(Array(bytes[field.content])) }
    }

    mutating func bool(_ number: Int, _ name: StaticString, _ value: inout Bool) {
        for field in take(number, 0) { value = field.value != 0 }
    }

    mutating func integer<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout Value
    ) {
        for field in take(number, 0) { value = Value(truncatingIfNeeded: field.value) }
    }

    mutating func integers<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout [Value]
    ) throws(CacheError) {
        for field in take(number, 0, 2) {
            if field.wireType == 0 {
                value.append(Value(truncatingIfNeeded: field.value))
                continue
            }
            let packed = bytes[field.content]
            var index = packed.startIndex
            while index < packed.endIndex {
                value.append(Value(truncatingIfNeeded: try WireReader.varint(packed, &index)))
            }
        }
    }

    mutating func member<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout Value?
    ) {
        for field in take(number, 0) { value = Value(truncatingIfNeeded: field.value) }
    }

    mutating func message<Value: LLBMessage>(
        _ number: Int, _ name: StaticString, _ value: inout Value?
    ) throws(CacheError) {
        let found = take(number, 2)
        guard let first = found.first else { return }
        // Of a message that occurs twice the fields are merged, which is what its bytes in a row mean.
        let content = found.count == 1 ? bytes[first.content] : found.flatMap { bytes[$0.content] }[...]
        value = try WireReader.decode(content)
    }

    mutating func messages<Value: LLBMessage>(
        _ number: Int, _ name: StaticString, _ value: inout [Value]
    ) throws(CacheError) {
        for field in take(number, 2) { value.append(try WireReader.decode(bytes[field.content])) }
    }

    mutating func map(_ number: Int, _ name: StaticString, _ value: inout [LLB.Attribute]) throws(CacheError) {
        for field in take(number, 2) {
            var entry = try WireReader(bytes[field.content])
            var attribute = LLB.Attribute("", "")
            try entry.string(1, "key", &attribute.name)
            try entry.string(2, "value", &attribute.value)
            value.append(attribute)
        }
    }
    mutating func entries<Value: LLBMessage>(
        _ number: Int, _ name: StaticString, _ value: inout [LLB.Entry<Value>]
    ) throws(CacheError) {
        for field in take(number, 2) {
            var entry = try WireReader(bytes[field.content])
            var key = ""
            var message: Value?
            try entry.string(1, "key", &key)
            try entry.message(2, "value", &message)
            value.append(LLB.Entry(name: key, value: message ?? Value()))
        }
    }
}
