public import BuildCacheCore

extension LLB {
    /// One operation: a vertex of the graph.
    public struct Op: Sendable {
        /// The outputs of other operations that it uses, each once.
        public var inputs: [Output] = []
        /// The operation itself; `nil` for the last one of a definition, which only names the result.
        public var kind: Kind?
        /// The platform, on processes and images only.
        public var platform: Platform?
        /// Requirements on the worker; BuildKit writes an empty list.
        public var constraints: Constraints?
        var unknownFields: [UInt8] = []
        // Inputs in the form of the message.
        var inputMessages: [InputMessage] = []

        /// The kind of an operation, with its message.
        @nonexhaustive
        public enum Kind: Sendable {
            /// A process.
            case exec(ExecOp)
            /// A source: an image, a repository, a directory of the client.
            case source(SourceOp)
            /// Changes of files.
            case file(FileOp)
            /// A build inside of the build.
            case build(BuildOp)
            /// Several trees over each other.
            case merge(MergeOp)
            /// The difference of two trees.
            case diff(DiffOp)
            /// Inputs that become outputs.
            case passthrough(PassthroughOp)
        }

        // A decoded operation has constraints only if its bytes do.
        init() { constraints = nil }

        /// An operation on inputs.
        public init(_ kind: Kind?, inputs: [Output] = [], platform: Platform? = nil) {
            self.kind = kind
            self.inputs = inputs
            self.platform = platform
            // BuildKit's client always writes this, empty.
            constraints = Constraints()
        }

        /// The operation that these bytes encode.
        ///
        /// - Throws: `CacheError` `.corrupted` for bytes that are not an operation.
        public init(decoding bytes: some Sequence<UInt8>) throws(CacheError) {
            self = try WireReader.decode(ArraySlice(bytes))
            for message in inputMessages {
                guard let index = Int(exactly: message.index), index >= 0 else {
                    throw CacheError(.corrupted, "an input of the definition has the output \(message.index)")
                }
                inputs.append(Output(try Digest(message.digest), index: index))
            }
            inputMessages = []
        }

        /// The bytes that BuildKit would write.
        public func encoded() -> [UInt8] {
            var op = self
            op.inputMessages = inputs.map { InputMessage(digest: "\($0.vertex)", index: Int64($0.index)) }
            return WireWriter.encode(op)
        }
    }

    /// Requirements on the worker.
    public struct Constraints: Sendable {
        /// Filters of workers.
        public var filters: [String] = []
        var unknownFields: [UInt8] = []
        /// No filters.
        public init() {}
    }

    /// A source: an image, a repository, a directory of the client.
    public struct SourceOp: Sendable {
        /// The scheme and the name, as in `local://context`.
        public var identifier = ""
        /// Options of the source.
        public var attributes: [Attribute] = []
        var unknownFields: [UInt8] = []
        /// An empty source.
        public init() {}
        /// A source by its identifier.
        public init(_ identifier: String, attributes: [Attribute] = []) {
            self.identifier = identifier
            self.attributes = attributes
        }
    }

    /// Trees over each other, the last on top.
    public struct MergeOp: Sendable {
        /// The indices of the inputs, the lowest first.
        public var inputs: [InputIndex] = []
        var unknownFields: [UInt8] = []
        /// Merges inputs 0 to `count` - 1.
        public init(count: Int = 0) { inputs = (0..<max(0, count)).map { InputIndex(Int64($0)) } }
    }

    /// The difference between an upper and a lower tree.
    public struct DiffOp: Sendable {
        /// The index of the lower tree, or -1 for nothing.
        public var lower: InputIndex?
        /// The index of the upper tree, or -1 for nothing.
        public var upper: InputIndex?
        var unknownFields: [UInt8] = []
        /// Compares nothing.
        public init() {}
    }

    /// The index of an input.
    public struct InputIndex: Sendable {
        /// The index, or -1 for none.
        public var input: Int64 = 0
        var unknownFields: [UInt8] = []
        /// Input 0.
        public init() {}
        /// An input.
        public init(_ input: Int64) { self.input = input }
    }

    /// Inputs that become outputs.
    public struct PassthroughOp: Sendable {
        /// A name.
        public var id = ""
        /// The indices of the inputs that become outputs.
        public var outputs: [Int64] = []
        var unknownFields: [UInt8] = []
        /// Passes nothing.
        public init() {}
    }

    /// A build inside of the build.
    public struct BuildOp: Sendable {
        /// The index of the builder's input, or -1 for the daemon itself.
        public var builder: Int64 = 0
        var inputs: [Entry<InputIndex>] = []
        /// The inner definition's bytes; no key can be made of an operation that has one.
        public var definition: [UInt8] = []
        /// Options of the inner build.
        public var attributes: [Attribute] = []
        var unknownFields: [UInt8] = []
        /// An empty build.
        public init() {}
    }

    struct InputMessage: LLBMessage {
        var digest = ""
        var index: Int64 = 0
        var unknownFields: [UInt8] = []

        init() {}
        init(digest: String, index: Int64) {
            self.digest = digest
            self.index = index
        }

        mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
            try fields.string(1, "digest", &digest)
            try fields.integer(2, "index", &index)
        }
    }
}
