/// A value that never prints: passwords, tokens, keys, signed URLs.
///
/// Printing, interpolating, dumping or reflecting a secret shows `<redacted>`; the value is there only for who asks for it.
public struct Secret<Value: Sendable>: Sendable {
    private let storage: @Sendable () -> Value

    /// Hides `value`.
    public init(_ value: Value) {
        // A closure, because Mirror and dump() look into stored properties but not into what a closure holds.
        storage = { value }
    }

    /// The value itself.
    ///
    /// Hand it to what signs or sends it, and to nothing else.
    public var exposed: Value { storage() }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// `<redacted>`.
    public var description: String { "<redacted>" }
    /// `<redacted>`.
    public var debugDescription: String { "<redacted>" }
    /// A mirror without children.
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension Secret: Equatable where Value: Equatable {
    /// Compares the values.
    public static func == (left: Secret, right: Secret) -> Bool { left.exposed == right.exposed }
}

extension Secret: Hashable where Value: Hashable {
    /// Hashes the value.
    public func hash(into hasher: inout Hasher) { hasher.combine(exposed) }
}
