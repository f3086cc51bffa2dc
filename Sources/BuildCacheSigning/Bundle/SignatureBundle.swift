import BuildCacheCore

/// A Sigstore bundle: one signature, and the material to verify it.
///
/// Read in versions 0.1 to 0.3, written in 0.3. A bundle that was read keeps its bytes, so it is stored and passed on as it was.
///
/// - Source: `Documentation/Spec/signing.md` §2.
public struct SignatureBundle: Hashable, Sendable {
    /// The signed content and its signature.
    @nonexhaustive
    public enum Content: Hashable, Sendable {
        /// A signature over the bytes of the document.
        case message(digest: [UInt8]?, signature: [UInt8])
        /// A signature over a DSSE envelope, whose payload is a statement about the document.
        case envelope(Envelope)
    }

    /// A DSSE envelope.
    public struct Envelope: Hashable, Sendable {
        /// The signed bytes.
        public var payload: [UInt8]
        /// Their type, `application/vnd.in-toto+json` for statements.
        public var payloadType: String
        /// The signatures, of which exactly one makes a valid bundle.
        public var signatures: [Signature]

        /// Creates an envelope.
        public init(payload: [UInt8], payloadType: String, signatures: [Signature]) {
            self.payload = payload
            self.payloadType = payloadType
            self.signatures = signatures
        }

        /// The bytes that the signatures are over.
        package var encoded: [UInt8] { DSSE.encode(payload, type: payloadType) }
    }

    /// One signature of an envelope.
    public struct Signature: Hashable, Sendable {
        /// The raw signature: DER for ECDSA, 64 bytes for Ed25519.
        public var bytes: [UInt8]
        /// The identifier of the key; not authenticated.
        public var keyID: String

        /// Creates a signature.
        public init(bytes: [UInt8], keyID: String = "") {
            self.bytes = bytes
            self.keyID = keyID
        }
    }

    /// The material that identifies the signer.
    @nonexhaustive
    public enum Signer: Hashable, Sendable {
        /// A key that the verifier must know, with a hint that is not authenticated.
        case key(hint: String)
        /// A certificate in DER, and those of its issuers in a bundle before 0.3.
        case certificate([UInt8], chain: [[UInt8]])
    }

    /// The version of the form: 1, 2 or 3 for 0.1, 0.2 and 0.3.
    public var version: Int
    /// The signed content and its signature.
    public var content: Content
    /// The material that identifies the signer.
    public var signer: Signer
    /// The entries of transparency logs.
    public var logEntries: [LogEntry]
    /// RFC 3161 responses, in DER.
    public var timestamps: [[UInt8]]
    /// The bytes that the bundle was read from.
    private var original: [UInt8]?

    /// Creates a bundle of version 0.3.
    public init(_ content: Content, by signer: Signer, logEntries: [LogEntry] = [], timestamps: [[UInt8]] = []) {
        self.init(version: 3, content, by: signer, logEntries: logEntries, timestamps: timestamps, original: nil)
    }

    init(
        version: Int, _ content: Content, by signer: Signer, logEntries: [LogEntry], timestamps: [[UInt8]],
        original: [UInt8]?
    ) {
        self.version = version
        self.content = content
        self.signer = signer
        self.logEntries = logEntries
        self.timestamps = timestamps
        self.original = original
    }

    /// The bundle of a statement that a key signed.
    package init(_ statement: SignedStatement, signature: [UInt8], hint: String) {
        self.init(
            .envelope(
                Envelope(
                    payload: statement.payload, payloadType: DSSE.statementType,
                    signatures: [Signature(bytes: signature, keyID: hint)])), by: .key(hint: hint))
    }

    /// The bundle in JSON on one line: the bytes it was read from, without line ends, or else version 0.3.
    public var bytes: [UInt8] {
        if let original {
            // Inside of texts JSON has no bare line ends, so these are space.
            return original.filter { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        }
        return encode()
    }
}

extension SignatureBundle {
    /// An entry of a transparency log.
    public struct LogEntry: Hashable, Sendable {
        /// The index in the log as a whole.
        public var index: Int64
        /// The SHA-256 of the log's key in DER.
        public var logID: [UInt8]
        /// The kind, as in `hashedrekord`.
        public var kind: String
        /// The version of the kind.
        public var kindVersion: String
        /// The time of the entry, in seconds since 1970; 0 if the log states none.
        public var integratedTime: Int64
        /// The log's signature over the entry, in the first version of the log.
        public var promise: [UInt8]?
        /// The proof that the entry is in the log.
        public var proof: InclusionProof?
        /// The entry, in canonical JSON.
        public var body: [UInt8]
    }

    /// A path from an entry to a signed root of the log.
    public struct InclusionProof: Hashable, Sendable {
        /// The index in the tree of the proof.
        public var index: Int64
        /// The root that the path leads to.
        public var rootHash: [UInt8]
        /// The number of leaves of the tree.
        public var treeSize: Int64
        /// The hashes from the leaf up.
        public var hashes: [[UInt8]]
        /// The signed note of the root.
        public var checkpoint: String
    }
}
