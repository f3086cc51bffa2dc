public import BuildCacheCore

/// BuildKit's low-level build definition: the operations of a build as a graph, in the protobuf form that a client sends to a daemon.
///
/// No cache key is made of these bytes. They tell whether two inputs are one, and they are how a front end talks to BuildKit.
///
/// The reader and the writer are a few hundred lines of this module, not swift-protobuf: the messages are few and never change a
/// field's number, the library would be most of what a product of keys weighs, and its writer orders the members of a oneof by number
/// where BuildKit's writes the set one last, so that digests of operations would differ.
///
/// Fields that the reader does not know are kept and written behind the others. Texts are compared as bytes: use ``Op/encoded()`` to
/// compare operations.
///
/// - Source: `Documentation/Spec/cache-keys.md` §6; BuildKit `solver/pb/ops.proto`.
public enum LLB {}

extension LLB {
    /// An entry of a map of texts.
    public struct Attribute: Sendable {
        /// The key.
        public var name: String
        /// The value.
        public var value: String

        /// Makes an entry.
        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// One output of an operation.
    public struct Output: Hashable, Sendable {
        /// The digest of the operation's bytes.
        public var vertex: Digest
        /// The number of the output, 0 for most operations.
        public var index: Int

        /// Names an output.
        public init(_ vertex: Digest, index: Int = 0) {
            self.vertex = vertex
            self.index = index
        }
    }

    /// The operating system and processor of an operation.
    public struct Platform: Sendable {
        /// The processor, as in `arm64`.
        public var architecture = ""
        /// The operating system, as in `linux`.
        public var os = ""
        /// The processor's variant, as in `v7`.
        public var variant = ""
        /// The version of the operating system, of Windows only.
        public var osVersion = ""
        /// Features that the operating system must have.
        public var osFeatures: [String] = []
        var unknownFields: [UInt8] = []

        /// An empty platform, which stands for that of the daemon.
        public init() {}

        /// Makes a platform.
        public init(os: String, architecture: String, variant: String = "") {
            self.os = os
            self.architecture = architecture
            self.variant = variant
        }
    }
}

extension LLB.Attribute {
    /// The entries in the order of their keys' bytes; of equal keys the last.
    static func sorted(_ attributes: [LLB.Attribute]) -> [LLB.Attribute] {
        LLB.order(attributes.map(\.name)).map { attributes[$0] }
    }
}

extension LLB {
    /// An entry of a map of messages.
    struct Entry<Value: LLBMessage>: Sendable {
        var name: String
        var value: Value

        /// The entries in the order of their keys' bytes; of equal keys the last.
        static func sorted(_ entries: [Entry]) -> [Entry] { LLB.order(entries.map(\.name)).map { entries[$0] } }
    }

    /// The indices of different names in the order of their bytes; of equal names the last.
    fileprivate static func order(_ names: [String]) -> [Int] {
        var last: [ExactText: Int] = [:]
        for (index, name) in names.enumerated() { last[ExactText(name)] = index }
        return last.sorted { $0.key < $1.key }.map(\.value)
    }
}

extension [LLB.Attribute] {
    /// The value of a key, or `nil`.
    public subscript(name: String) -> String? { last { $0.name.isExactly(name) }?.value }
}

extension LLB.Platform: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "Architecture", &architecture)
        try fields.string(2, "OS", &os)
        try fields.string(3, "Variant", &variant)
        try fields.string(4, "OSVersion", &osVersion)
        try fields.strings(5, "OSFeatures", &osFeatures)
    }
}
