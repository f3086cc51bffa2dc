public import BuildCacheCore

extension LLB {
    /// A build: its operations, inputs before their users, and which output is the result.
    public struct Definition: Sendable {
        /// The most bytes of a definition that are read, as many as a daemon takes in one message.
        public static let maximumBytes = 16 << 20

        /// An operation, with the digest that names it.
        public struct Vertex: Sendable {
            /// The digest of ``LLB/Definition/Vertex/bytes``; no key is made of it.
            public let digest: Digest
            /// The operation as it was read or written.
            public let bytes: [UInt8]
            /// The operation.
            public let op: Op

            /// Encodes an operation.
            public init(_ op: Op) {
                self.op = op
                bytes = op.encoded()
                digest = Digest(of: bytes)
            }

            /// Decodes an operation and keeps its bytes.
            ///
            /// - Throws: `CacheError` `.corrupted` for bytes that are not an operation.
            public init(decoding bytes: [UInt8]) throws(CacheError) {
                self.bytes = bytes
                op = try Op(decoding: bytes)
                digest = Digest(of: bytes)
            }
        }

        /// Facts about an operation beside itself; keys do not depend on them.
        public struct Metadata: Sendable {
            /// Whether the operation runs even if there is a result.
            public var ignoresCache = false
            /// Texts for people, such as the command.
            public var description: [Attribute] = []
            var unknownFields: [UInt8] = []
            /// Nothing.
            public init() {}
        }

        /// The operations, inputs before their users.
        public private(set) var vertices: [Vertex] = []
        /// The output that is the result; `nil` for an empty file system.
        public var result: Output?
        private var places: [Digest: Int] = [:]
        private var metadata: [Digest: Metadata] = [:]
        private var unknownFields: [UInt8] = []

        /// An empty build.
        public init() {}

        /// The definition that these bytes encode.
        ///
        /// - Parameter maximumBytes: The most bytes that are read. Default ``maximumBytes``, 16 MiB.
        /// - Throws: `CacheError` `.corrupted` for bytes that are not a definition, or whose operations use others that do not come
        ///   before them; `.limitExceeded` for too many bytes.
        public init(
            decoding bytes: some Collection<UInt8>, maximumBytes: Int = Definition.maximumBytes
        ) throws(CacheError) {
            guard bytes.count <= maximumBytes else {
                throw CacheError(
                    .limitExceeded, "the definition has \(bytes.count) bytes: expected at most \(maximumBytes)")
            }
            let message: DefinitionMessage = try WireReader.decode(ArraySlice(bytes))
            for bytes in message.operations {
                let vertex = try Vertex(decoding: bytes)
                for input in vertex.op.inputs where places[input.vertex] == nil {
                    throw CacheError(
                        .corrupted, "an operation of the definition uses \(input.vertex), which does not come before it"
                    )
                }
                guard vertex.op.kind == nil else {
                    append(vertex)
                    continue
                }
                // The last operation names the result, and is none itself.
                result = vertex.op.inputs.first
            }
            for entry in message.metadata { metadata[try Digest(entry.name)] = entry.value }
            unknownFields = message.unknownFields
        }

        /// Adds an operation, or finds the same one.
        ///
        /// - Throws: `CacheError` `.invalidSpec` for an input that is not there.
        @discardableResult
        public mutating func add(_ op: Op, metadata: Metadata? = nil) throws(CacheError) -> Digest {
            for input in op.inputs where places[input.vertex] == nil {
                throw CacheError(.invalidSpec, "the input \(input.vertex) is not in the definition; add it first")
            }
            let vertex = Vertex(op)
            append(vertex)
            if let metadata { self.metadata[vertex.digest] = metadata }
            return vertex.digest
        }

        private mutating func append(_ vertex: Vertex) {
            guard places[vertex.digest] == nil else { return }
            places[vertex.digest] = vertices.count
            vertices.append(vertex)
        }

        /// The operation of a digest, or `nil`.
        public subscript(digest: Digest) -> Vertex? { places[digest].map { vertices[$0] } }

        /// The metadata of an operation, or `nil`.
        public func metadata(of vertex: Digest) -> Metadata? { metadata[vertex] }

        /// The bytes that a daemon takes.
        public func encoded() -> [UInt8] {
            var message = DefinitionMessage()
            message.operations = vertices.map(\.bytes)
            if let result {
                var last = Op(nil, inputs: [result])
                last.constraints = nil
                message.operations.append(last.encoded())
            }
            message.metadata = metadata.map { Entry(name: "\($0.key)", value: $0.value) }
            message.unknownFields = unknownFields
            return WireWriter.encode(message)
        }
    }

    struct DefinitionMessage: LLBMessage {
        var operations: [[UInt8]] = []
        var metadata: [Entry<Definition.Metadata>] = []
        var unknownFields: [UInt8] = []

        mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
            try fields.list(1, "def", &operations)
            try fields.entries(2, "metadata", &metadata)
        }
    }
}

extension LLB.Definition.Metadata: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.bool(1, "ignore_cache", &ignoresCache)
        try fields.map(2, "description", &description)
    }
}
