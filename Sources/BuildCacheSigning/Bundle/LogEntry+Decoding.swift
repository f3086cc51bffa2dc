import BuildCacheCore

extension SignatureBundle.LogEntry {
    /// Reads an entry.
    init(reading json: inout JSONReader) throws(CacheError) {
        self.init(
            index: 0, logID: [], kind: "", kindVersion: "", integratedTime: 0, promise: nil, proof: nil, body: [])
        var keys: Set<String> = []
        try json.strictObject { (key, json) throws(CacheError) in
            let name = key.camelCased
            guard keys.insert(name).inserted else { throw json.invalid("\(key.quoted) is doubled") }
            switch name {
            case "logIndex": index = try json.number()
            case "logId": logID = try json.wrapped("keyId", "key_id")
            case "kindVersion":
                try json.strictObject { (key, json) throws(CacheError) in
                    switch key {
                    case "kind": kind = try json.text()
                    case "version": kindVersion = try json.text()
                    default: throw json.invalid("unknown member \(key.quoted)")
                    }
                }
            case "integratedTime": integratedTime = try json.number()
            case "inclusionPromise": promise = try json.wrapped("signedEntryTimestamp", "signed_entry_timestamp")
            case "inclusionProof": proof = try SignatureBundle.InclusionProof(reading: &json)
            case "canonicalizedBody": body = try json.base64()
            default: throw json.invalid("unknown member \(key.quoted)")
            }
        }
        guard !body.isEmpty, !logID.isEmpty else { throw json.invalid("a log entry has no body or no log") }
    }
}

extension SignatureBundle.InclusionProof {
    private static let maximumHashes = 64

    fileprivate init(reading json: inout JSONReader) throws(CacheError) {
        self.init(index: 0, rootHash: [], treeSize: 0, hashes: [], checkpoint: "")
        var keys: Set<String> = []
        try json.strictObject { (key, json) throws(CacheError) in
            let name = key.camelCased
            guard keys.insert(name).inserted else { throw json.invalid("\(key.quoted) is doubled") }
            switch name {
            case "logIndex": index = try json.number()
            case "rootHash": rootHash = try json.base64()
            case "treeSize": treeSize = try json.number()
            case "hashes":
                try json.elements(atMost: Self.maximumHashes) { json throws(CacheError) in
                    hashes.append(try json.base64())
                }
            case "checkpoint":
                try json.strictObject { (key, json) throws(CacheError) in
                    guard key == "envelope" else { throw json.invalid("unknown member \(key.quoted)") }
                    checkpoint = try json.text()
                }
            default: throw json.invalid("unknown member \(key.quoted)")
            }
        }
    }
}

extension String {
    /// The JSON spelling of a name that may be the one of the protocol buffer: `log_index` is `logIndex`.
    var camelCased: String {
        guard utf8.contains(UInt8(ascii: "_")) else { return self }
        let words = split(separator: "_", omittingEmptySubsequences: false)
        return words.dropFirst().reduce(String(words.first ?? "")) { $0 + $1.prefix(1).uppercased() + $1.dropFirst() }
    }
}
