import BuildCacheCore

extension SignatureBundle.LogEntry {
    /// Verifies the entry: its promise, its proof, and that it is about a signature.
    ///
    /// - Returns: The time that the log has signed; `nil` if it has signed none.
    /// - Throws: `CacheError` `.untrusted` for an unknown log, and if any of that fails.
    func verify(
        in logs: [TrustedRoot.Log], of content: SignatureBundle.Content, certificate: [UInt8], document: Digest
    ) throws(CacheError) -> Timestamp? {
        let known = logs.filter { $0.id == logID }
        guard !known.isEmpty else { throw CacheError(.untrusted, "the signature is in a log that is not trusted") }
        guard promise != nil || proof != nil else {
            throw CacheError(.untrusted, "a log entry has neither a promise nor a proof")
        }
        try checkContent(content, certificate, document)
        var time: Timestamp?
        if let promise {
            guard let integrated = Timestamp(seconds: integratedTime), integratedTime > 0,
                known.contains(where: {
                    $0.validity.contains(integrated) && $0.key.verifies(promise, of: promisedBytes)
                })
            else { throw CacheError(.untrusted, "the promise of the log does not verify") }
            time = integrated
        }
        if let proof {
            guard proof.index >= 0, proof.index < proof.treeSize,
                let root = proof.root(ofLeaf: body), root == proof.rootHash,
                let checkpoint = Checkpoint(proof.checkpoint), checkpoint.treeSize == proof.treeSize,
                checkpoint.rootHash == root, known.contains(where: { checkpoint.isSigned(by: $0) })
            else { throw CacheError(.untrusted, "the inclusion proof of the log does not verify") }
        }
        return time
    }

    /// The bytes of the log's promise, in canonical JSON.
    private var promisedBytes: [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        json.key("body")
        json.string(String(decoding: Base64.encode(body), as: UTF8.self))
        json.key("integratedTime")
        json.integer(integratedTime)
        json.key("logID")
        json.string(logID.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined())
        json.key("logIndex")
        json.integer(index)
        json.endObject()
        return json.bytes
    }

    /// Checks that digest, signature and certificate of the entry are those of the bundle.
    private func checkContent(
        _ content: SignatureBundle.Content, _ certificate: [UInt8], _ document: Digest
    ) throws(CacheError) {
        let entry: LogBody
        do throws(CacheError) { entry = try LogBody(body) } catch {
            throw CacheError(.untrusted, error.message)
        }
        guard entry.kind == kind, entry.version == kindVersion else {
            throw CacheError(.untrusted, "the log entry is of another kind than it says")
        }
        let isRight: Bool
        switch (content, kind, kindVersion) {
        case (.message(_, let signature), "hashedrekord", "0.0.1"),
            (.message(_, let signature), "hashedrekord", "0.0.2"):
            isRight = entry.hash == document.hex && entry.signatures.map(\.signature) == [signature]
        case (.envelope(let envelope), "dsse", "0.0.1"), (.envelope(let envelope), "dsse", "0.0.2"),
            (.envelope(let envelope), "intoto", "0.0.2"):
            isRight =
                entry.hash == Digest(of: envelope.payload).hex
                && entry.signatures.map(\.signature) == envelope.signatures.map(\.bytes)
        case (.envelope(let envelope), "hashedrekord", "0.0.2"):
            isRight =
                entry.hash == Digest(of: envelope.encoded).hex
                && entry.signatures.map(\.signature) == envelope.signatures.map(\.bytes)
        default:
            throw CacheError(.untrusted, "unsupported log entry \(kind.quoted) \(kindVersion.quoted)")
        }
        guard isRight, entry.signatures.allSatisfy({ $0.certificate == certificate }) else {
            throw CacheError(.untrusted, "the log entry is about another signature")
        }
    }
}

/// The canonical body of an entry, of a `hashedrekord` or a `dsse`.
private struct LogBody {
    var kind = ""
    var version = ""
    var hash = ""
    var signatures: [(signature: [UInt8], certificate: [UInt8])] = []

    init(_ bytes: [UInt8]) throws(CacheError) {
        self = try JSONReader.read(bytes, as: "log entry") { (json: inout JSONReader) throws(CacheError) -> LogBody in
            var entry = LogBody()
            try json.strictObject { (key, json) throws(CacheError) in
                switch key {
                case "kind": entry.kind = try json.text()
                case "apiVersion": entry.version = try json.text()
                case "spec": try entry.readSpec(&json)
                default: try json.skipValue()
                }
            }
            return entry
        }
    }

    private init() {}

    private mutating func readSpec(_ json: inout JSONReader) throws(CacheError) {
        try json.strictObject { (key, json) throws(CacheError) in
            switch key {
            case "data":
                hash = try LogBody.readHash(&json)
            case "hashedRekordV002", "dsseV002", "content": try readSpec(&json)
            case "payloadHash": hash = try LogBody.readHash(&json)
            case "envelope": try readEnvelope(&json)
            case "signature": signatures.append(try LogBody.readSignature(&json))
            case "signatures":
                try json.elements(atMost: 16) { json throws(CacheError) in
                    signatures.append(try LogBody.readSignature(&json))
                }
            default: try json.skipValue()
            }
        }
    }

    /// A hash in hexadecimal, perhaps one level deeper, or in base64 in the second version.
    private static func readHash(_ json: inout JSONReader) throws(CacheError) -> String {
        var (algorithm, value) = ("", "")
        var inner: String?
        try json.strictObject { (key, json) throws(CacheError) in
            switch key {
            case "hash": inner = try readHash(&json)
            case "algorithm": algorithm = try json.text()
            case "value": value = try json.text()
            case "digest":
                let bytes = try json.base64()
                guard bytes.count == 32 else { throw json.invalid("a digest has \(bytes.count) bytes") }
                value = bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
            default: try json.skipValue()
            }
        }
        if let inner { return inner }
        guard algorithm == "sha256" || algorithm == "SHA2_256" else {
            throw json.invalid("unknown hash \(algorithm.quoted)")
        }
        return value
    }

    /// The envelope in an `intoto` entry, whose signatures are in base64 twice.
    private mutating func readEnvelope(_ json: inout JSONReader) throws(CacheError) {
        try json.strictObject { (key, json) throws(CacheError) in
            guard key == "signatures" else { return _ = try json.skipValue() }
            try json.elements(atMost: 16) { json throws(CacheError) in
                var (signature, pem): ([UInt8], [UInt8]) = ([], [])
                try json.strictObject { (key, json) throws(CacheError) in
                    switch key {
                    case "sig": signature = Base64.decode(try json.base64()) ?? []
                    case "publicKey": pem = try json.base64()
                    default: try json.skipValue()
                    }
                }
                signatures.append((signature, try LogBody.certificate(inPEM: pem, json)))
            }
        }
    }

    /// `content` and `publicKey` of a hashedrekord, `signature` and `verifier` of a dsse.
    private static func readSignature(
        _ json: inout JSONReader
    ) throws(CacheError) -> (signature: [UInt8], certificate: [UInt8]) {
        var (signature, pem): ([UInt8], [UInt8]) = ([], [])
        var der: [UInt8]?
        try json.strictObject { (key, json) throws(CacheError) in
            switch key {
            case "content", "signature": signature = try json.base64()
            case "verifier" where json.peek() == UInt8(ascii: "{"):
                try json.strictObject { (key, json) throws(CacheError) in
                    if key == "x509Certificate" {
                        der = try json.wrapped("rawBytes", "raw_bytes")
                    } else {
                        try json.skipValue()
                    }
                }
            case "verifier": pem = try json.base64()
            case "publicKey":
                try json.strictObject { (key, json) throws(CacheError) in
                    if key == "content" { pem = try json.base64() } else { try json.skipValue() }
                }
            default: try json.skipValue()
            }
        }
        if let der { return (signature, der) }
        return (signature, try certificate(inPEM: pem, json))
    }

    private static func certificate(inPEM pem: [UInt8], _ json: JSONReader) throws(CacheError) -> [UInt8] {
        let lines = String(decoding: pem, as: UTF8.self).split { $0.isNewline }
        guard lines.first == "-----BEGIN CERTIFICATE-----", lines.last == "-----END CERTIFICATE-----",
            let der = Base64.decode(lines.dropFirst().dropLast().joined().utf8)
        else { throw json.invalid("the log entry has no certificate") }
        return der
    }
}

extension SignatureBundle.InclusionProof {
    /// The root of a tree with this leaf; `nil` if the path has not the length of such a tree.
    ///
    /// - Source: RFC 9162 §2.1.3.2.
    func root(ofLeaf leaf: [UInt8]) -> [UInt8]? {
        var (node, last) = (index, treeSize - 1)
        var hash = Digest(of: [0] + leaf).bytes
        for sibling in hashes {
            guard last > 0, sibling.count == 32 else { return nil }
            if node & 1 == 1 || node == last {
                hash = Digest(of: [1] + sibling + hash).bytes
                while node & 1 == 0, node != 0 { (node, last) = (node >> 1, last >> 1) }
            } else {
                hash = Digest(of: [1] + hash + sibling).bytes
            }
            (node, last) = (node >> 1, last >> 1)
        }
        return last == 0 ? hash : nil
    }
}

/// The signed note of a log's root.
private struct Checkpoint {
    var treeSize: Int64
    var rootHash: [UInt8]
    private var text: [UInt8]
    private var signatures: [(hint: [UInt8], bytes: [UInt8])]

    init?(_ note: String) {
        guard note.utf8.count <= 64 << 10, let gap = note.ranges(of: "\n\n").first else { return nil }
        let head = note[..<gap.lowerBound].split(separator: "\n", omittingEmptySubsequences: false)
        guard head.count >= 3, !head[0].isEmpty, let size = Int64(decimal: head[1], in: 1...Int64.max),
            let root = Base64.decode(head[2].utf8), root.count == 32
        else { return nil }
        treeSize = size
        rootHash = root
        text = Array(note[..<gap.lowerBound].utf8) + [10]
        signatures = note[gap.upperBound...].split(separator: "\n").prefix(16).compactMap { line in
            let parts = line.split(separator: " ")
            guard parts.count == 3, parts[0] == "\u{2014}", let bytes = Base64.decode(parts[2].utf8), bytes.count > 4
            else { return nil }
            return (Array(bytes.prefix(4)), Array(bytes.dropFirst(4)))
        }
    }

    /// Whether the log has signed the note; others may have, too.
    func isSigned(by log: TrustedRoot.Log) -> Bool {
        signatures.contains { $0.hint.elementsEqual(log.id.prefix(4)) && log.key.verifies($0.bytes, of: text) }
    }
}
