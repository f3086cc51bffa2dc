import BuildCacheCore

/// A message of the definition.
///
/// One list of its fields, ``visit(_:)``, serves the reader, the writer and the JSON that keys are hashed from, so that they cannot
/// differ.
protocol LLBMessage: Sendable {
    init()
    /// The bytes of fields that are not listed, tags included.
    var unknownFields: [UInt8] { get set }
    /// Hands every field to `fields`, in the order in which they are written: ascending, the members of a oneof last.
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError)
}

/// Takes the fields of a message one by one: each with its number, its name in JSON and its value.
protocol FieldVisitor {
    mutating func string(_ number: Int, _ name: StaticString, _ value: inout String) throws(CacheError)
    mutating func strings(_ number: Int, _ name: StaticString, _ value: inout [String]) throws(CacheError)
    mutating func bytes(_ number: Int, _ name: StaticString, _ value: inout [UInt8]) throws(CacheError)
    mutating func list(_ number: Int, _ name: StaticString, _ value: inout [[UInt8]]) throws(CacheError)
    mutating func bool(_ number: Int, _ name: StaticString, _ value: inout Bool) throws(CacheError)
    mutating func integer<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout Value
    ) throws(CacheError)
    mutating func integers<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout [Value]
    ) throws(CacheError)
    /// An integer that is a member of a oneof: 0 is not the same as absent.
    mutating func member<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout Value?
    ) throws(CacheError)
    mutating func message<Value: LLBMessage>(
        _ number: Int, _ name: StaticString, _ value: inout Value?
    ) throws(CacheError)
    mutating func messages<Value: LLBMessage>(
        _ number: Int, _ name: StaticString, _ value: inout [Value]
    ) throws(CacheError)
    mutating func map(_ number: Int, _ name: StaticString, _ value: inout [LLB.Attribute]) throws(CacheError)
    mutating func entries<Value: LLBMessage>(
        _ number: Int, _ name: StaticString, _ value: inout [LLB.Entry<Value>]
    ) throws(CacheError)
    /// An object of the JSON around the members of a oneof, which the bytes do not have.
    mutating func oneof<Value>(
        _ name: StaticString, isSet: Bool, _ value: inout Value,
        _ members: (inout Self, inout Value) throws(CacheError) -> Void
    ) throws(CacheError)
}

extension FieldVisitor {
    mutating func oneof<Value>(
        _ name: StaticString, isSet: Bool, _ value: inout Value,
        _ members: (inout Self, inout Value) throws(CacheError) -> Void
    ) throws(CacheError) {
        try members(&self, &value)
    }

    /// An enumeration, by its number.
    mutating func choice<Value: RawRepresentable<Int32> & LLBEnumeration>(
        _ number: Int, _ name: StaticString, _ value: inout Value
    ) throws(CacheError) {
        var raw = value.rawValue
        try integer(number, name, &raw)
        value = Value(rawValue: raw)
    }
}

/// An enumeration whose unknown numbers are kept.
protocol LLBEnumeration: RawRepresentable<Int32> {
    init(rawValue: Int32)
}
