public import BuildCacheCore

extension SignatureBundle {
    /// The most bytes of a bundle, and of a signature file.
    public static let maximumBytes = 256 << 10
    private static let maximumEntries = 32
    private static let maximumSignatures = 16

    /// Reads a bundle.
    ///
    /// Members that no version has, and doubled ones, are refused: what another verifier sees there, this one must not overlook.
    ///
    /// - Throws: `CacheError` `.untrusted` for anything but a bundle of version 0.1 to 0.3 with all that its version requires;
    ///   `.limitExceeded` past ``maximumBytes``, 32 log entries or 32 timestamps.
    public init(decoding bytes: [UInt8]) throws(CacheError) {
        guard bytes.count <= SignatureBundle.maximumBytes else {
            throw CacheError(
                .limitExceeded,
                "the signature has \(bytes.count) bytes: expected at most \(SignatureBundle.maximumBytes)")
        }
        do throws(CacheError) {
            self = try JSONReader.read(bytes, as: "signature bundle") {
                (json: inout JSONReader) throws(CacheError) -> SignatureBundle in
                try SignatureBundle.read(&json, original: bytes)
            }
        } catch {
            throw CacheError(error.code == .limitExceeded ? .limitExceeded : .untrusted, error.message)
        }
    }

    private static func read(_ json: inout JSONReader, original: [UInt8]) throws(CacheError) -> SignatureBundle {
        var version: Int?
        var material = Material()
        var content: Content?
        try json.strictObject { (key, json) throws(CacheError) in
            switch key {
            case "mediaType", "media_type": version = try readVersion(&json)
            case "verificationMaterial", "verification_material":
                try material.startOnce(in: json)
                try material.read(&json)
            case "messageSignature", "message_signature":
                guard content == nil else { throw json.invalid("the bundle has two contents") }
                content = try readMessage(&json)
            case "dsseEnvelope", "dsse_envelope":
                guard content == nil else { throw json.invalid("the bundle has two contents") }
                content = try readEnvelope(&json)
            default: throw json.invalid("unknown member \(key.quoted)")
            }
        }
        guard let version else { throw json.invalid("the bundle has no mediaType") }
        guard let content else { throw json.invalid("the bundle has no signature") }
        guard let signer = material.signer else { throw json.invalid("the bundle has neither a key nor a certificate") }
        if version == 3, material.isChain { throw json.invalid("version 0.3 has no x509CertificateChain") }
        for entry in material.entries {
            if version == 1, entry.promise == nil { throw json.invalid("a log entry has no inclusion promise") }
            if version > 1, entry.proof == nil { throw json.invalid("a log entry has no inclusion proof") }
        }
        return SignatureBundle(
            version: version, content, by: signer, logEntries: material.entries, timestamps: material.timestamps,
            original: original)
    }

    private static func readVersion(_ json: inout JSONReader) throws(CacheError) -> Int {
        let text = try json.text()
        switch text {
        case mediaType, "application/vnd.dev.sigstore.bundle+json;version=0.3": return 3
        case "application/vnd.dev.sigstore.bundle+json;version=0.2": return 2
        case "application/vnd.dev.sigstore.bundle+json;version=0.1": return 1
        default: throw json.invalid("unknown media type \(text.quoted)")
        }
    }

    private static func readMessage(_ json: inout JSONReader) throws(CacheError) -> Content {
        var digest: [UInt8]?
        var signature: [UInt8] = []
        try json.strictObject { (key, json) throws(CacheError) in
            switch key {
            case "messageDigest", "message_digest":
                var (algorithm, value): (String?, [UInt8]) = (nil, [])
                try json.strictObject { (key, json) throws(CacheError) in
                    switch key {
                    case "algorithm": algorithm = try json.text()
                    case "digest": value = try json.base64()
                    default: throw json.invalid("unknown member \(key.quoted)")
                    }
                }
                guard algorithm == "SHA2_256", value.count == 32 else {
                    throw json.invalid("the digest of the message is not a SHA2_256")
                }
                digest = value
            case "signature": signature = try json.base64()
            default: throw json.invalid("unknown member \(key.quoted)")
            }
        }
        guard !signature.isEmpty else { throw json.invalid("the signature is empty") }
        return .message(digest: digest, signature: signature)
    }

    private static func readEnvelope(_ json: inout JSONReader) throws(CacheError) -> Content {
        var envelope = Envelope(payload: [], payloadType: "", signatures: [])
        try json.strictObject { (key, json) throws(CacheError) in
            switch key {
            case "payload": envelope.payload = try json.base64()
            case "payloadType", "payload_type": envelope.payloadType = try json.text()
            case "signatures":
                try json.elements(atMost: maximumSignatures) { json throws(CacheError) in
                    var signature = Signature(bytes: [])
                    try json.strictObject { (key, json) throws(CacheError) in
                        switch key {
                        case "sig": signature.bytes = try json.base64()
                        case "keyid": signature.keyID = try json.text()
                        default: throw json.invalid("unknown member \(key.quoted)")
                        }
                    }
                    envelope.signatures.append(signature)
                }
            default: throw json.invalid("unknown member \(key.quoted)")
            }
        }
        return .envelope(envelope)
    }

    /// The verification material.
    private struct Material {
        var signer: Signer?
        var isChain = false
        var entries: [LogEntry] = []
        var timestamps: [[UInt8]] = []
        private var hasStarted = false

        /// Refuses a second spelling of a member that was read.
        mutating func startOnce(in json: JSONReader) throws(CacheError) {
            guard !hasStarted else { throw json.invalid("the verification material is doubled") }
            hasStarted = true
        }

        mutating func read(_ json: inout JSONReader) throws(CacheError) {
            var keys: Set<String> = []
            try json.strictObject { (key, json) throws(CacheError) in
                let kind: String
                switch key {
                case "publicKey", "public_key", "certificate", "x509CertificateChain", "x509_certificate_chain":
                    kind = "signer"
                case "tlogEntries", "tlog_entries": kind = "entries"
                case "timestampVerificationData", "timestamp_verification_data": kind = "timestamps"
                default: throw json.invalid("unknown member \(key.quoted)")
                }
                guard keys.insert(kind).inserted else { throw json.invalid("\(key.quoted) is doubled") }
                switch kind {
                case "entries":
                    try json.elements(atMost: maximumEntries) { json throws(CacheError) in
                        entries.append(try LogEntry(reading: &json))
                    }
                case "timestamps": try readTimestamps(&json)
                default: try readSigner(key, &json)
                }
            }
        }

        private mutating func readSigner(_ key: String, _ json: inout JSONReader) throws(CacheError) {
            switch key {
            case "publicKey", "public_key":
                var hint = ""
                try json.strictObject { (key, json) throws(CacheError) in
                    guard key == "hint" else { throw json.invalid("unknown member \(key.quoted)") }
                    hint = try json.text()
                }
                signer = .key(hint: hint)
            case "certificate":
                signer = .certificate(try json.wrapped("rawBytes", "raw_bytes"), chain: [])
            default:
                isChain = true
                var certificates: [[UInt8]] = []
                try json.strictObject { (key, json) throws(CacheError) in
                    guard key == "certificates" else { throw json.invalid("unknown member \(key.quoted)") }
                    try json.elements(atMost: maximumEntries) { json throws(CacheError) in
                        certificates.append(try json.wrapped("rawBytes", "raw_bytes"))
                    }
                }
                guard let first = certificates.first else { throw json.invalid("the certificate chain is empty") }
                signer = .certificate(first, chain: Array(certificates.dropFirst()))
            }
        }

        private mutating func readTimestamps(_ json: inout JSONReader) throws(CacheError) {
            try json.strictObject { (key, json) throws(CacheError) in
                guard key == "rfc3161Timestamps" || key == "rfc3161_timestamps", timestamps.isEmpty else {
                    throw json.invalid("unknown member \(key.quoted)")
                }
                try json.elements(atMost: maximumEntries) { json throws(CacheError) in
                    timestamps.append(try json.wrapped("signedTimestamp", "signed_timestamp"))
                }
            }
        }
    }
}

extension JSONReader {
    /// Reads the elements of an array.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past `limit` elements.
    mutating func elements(
        atMost limit: Int, _ element: (_ json: inout JSONReader) throws(CacheError) -> Void
    ) throws(CacheError) {
        guard try beginArray() else { throw invalid("null where an array is expected") }
        var count = 0
        while try nextElement() {
            count += 1
            guard count <= limit else {
                throw CacheError(.limitExceeded, "the signature has more than \(limit) elements in an array")
            }
            try element(&self)
        }
    }

    /// The bytes in the only member of an object.
    mutating func wrapped(_ name: String, _ other: String) throws(CacheError) -> [UInt8] {
        var bytes: [UInt8]?
        try strictObject { (key, json) throws(CacheError) in
            guard key == name || key == other, bytes == nil else {
                throw json.invalid("unknown member \(key.quoted)")
            }
            bytes = try json.base64()
        }
        guard let bytes, !bytes.isEmpty else { throw invalid("\(name) is missing") }
        return bytes
    }
}
