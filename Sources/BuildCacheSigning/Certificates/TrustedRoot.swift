import BuildCacheCore

/// The authorities and logs of a Sigstore deployment, from a file of its trusted root.
///
/// - Source: sigstore/protobuf-specs, `trustedroot+json;version=0.1`; `Documentation/Spec/signing.md` §6.
struct TrustedRoot: Sendable {
    /// A time span; open where a bound is absent.
    struct Validity: Hashable, Sendable {
        var start: Timestamp?
        var end: Timestamp?

        func contains(_ time: Timestamp) -> Bool {
            (start.map { $0.utc <= time.utc } ?? true) && (end.map { time.utc <= $0.utc } ?? true)
        }
    }

    /// A log of entries or of certificates.
    struct Log: Sendable {
        var id: [UInt8]
        var key: PublicKey
        var validity: Validity
    }

    /// An authority that issues certificates or times.
    struct Authority: Sendable {
        /// The certificates in DER, the root last.
        var chain: [[UInt8]]
        var validity: Validity
    }

    var logs: [Log] = []
    var certificateLogs: [Log] = []
    var certificateAuthorities: [Authority] = []
    var timeAuthorities: [Authority] = []

    private static let maximumBytes = 1 << 20
    private static let maximumEntries = 64

    /// Reads a trusted root; a log whose key is of another algorithm, or valid since no time, is left out.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if it is not one, or has no certificate authority.
    init(decoding bytes: [UInt8]) throws(CacheError) {
        guard bytes.count <= TrustedRoot.maximumBytes else {
            throw CacheError(.invalidSpec, "the trusted root has more than \(TrustedRoot.maximumBytes) bytes")
        }
        do throws(CacheError) {
            self = try JSONReader.read(bytes, as: "trusted root") {
                (json: inout JSONReader) throws(CacheError) -> TrustedRoot in try TrustedRoot(reading: &json)
            }
        } catch {
            throw CacheError(.invalidSpec, error.message)
        }
        guard !certificateAuthorities.isEmpty else {
            throw CacheError(.invalidSpec, "the trusted root has no certificate authority")
        }
    }

    private init(reading json: inout JSONReader) throws(CacheError) {
        var (logs, certificateLogs, authorities, times): ([Log], [Log], [Authority], [Authority]) = ([], [], [], [])
        try json.strictObject { (key, json) throws(CacheError) in
            switch key.camelCased {
            case "tlogs": logs = try TrustedRoot.readLogs(&json)
            case "ctlogs": certificateLogs = try TrustedRoot.readLogs(&json)
            case "certificateAuthorities": authorities = try TrustedRoot.readAuthorities(&json)
            case "timestampAuthorities": times = try TrustedRoot.readAuthorities(&json)
            default: try json.skipValue()
            }
        }
        self.logs = logs
        self.certificateLogs = certificateLogs
        certificateAuthorities = authorities
        timeAuthorities = times
    }

    private static func readLogs(_ json: inout JSONReader) throws(CacheError) -> [Log] {
        var logs: [Log] = []
        try json.elements(atMost: maximumEntries) { json throws(CacheError) in
            var (id, key): ([UInt8], [UInt8]) = ([], [])
            var validity = Validity()
            try json.strictObject { (name, json) throws(CacheError) in
                switch name.camelCased {
                case "logId": id = try json.wrapped("keyId", "key_id")
                case "publicKey":
                    try json.strictObject { (name, json) throws(CacheError) in
                        switch name.camelCased {
                        case "rawBytes": key = try json.base64()
                        case "validFor": validity = try Validity(reading: &json)
                        default: try json.skipValue()
                        }
                    }
                default: try json.skipValue()
                }
            }
            // A span without a start would trust the key for any time.
            if validity.start != nil, let key = try? PublicKey(der: key) {
                logs.append(Log(id: id, key: key, validity: validity))
            }
        }
        return logs
    }

    private static func readAuthorities(_ json: inout JSONReader) throws(CacheError) -> [Authority] {
        var authorities: [Authority] = []
        try json.elements(atMost: maximumEntries) { json throws(CacheError) in
            var authority = Authority(chain: [], validity: Validity())
            try json.strictObject { (name, json) throws(CacheError) in
                switch name.camelCased {
                case "certChain":
                    try json.strictObject { (name, json) throws(CacheError) in
                        guard name == "certificates" else { return _ = try json.skipValue() }
                        try json.elements(atMost: maximumEntries) { json throws(CacheError) in
                            authority.chain.append(try json.wrapped("rawBytes", "raw_bytes"))
                        }
                    }
                case "validFor": authority.validity = try Validity(reading: &json)
                default: try json.skipValue()
                }
            }
            guard !authority.chain.isEmpty else { throw json.invalid("an authority has no certificates") }
            authorities.append(authority)
        }
        return authorities
    }
}

extension TrustedRoot.Validity {
    fileprivate init(reading json: inout JSONReader) throws(CacheError) {
        var (start, end): (Timestamp?, Timestamp?) = (nil, nil)
        try json.strictObject { (name, json) throws(CacheError) in
            switch name {
            case "start": start = try json.string().map { text throws(CacheError) in try Timestamp(text) }
            case "end": end = try json.string().map { text throws(CacheError) in try Timestamp(text) }
            default: try json.skipValue()
            }
        }
        self.init(start: start, end: end)
    }
}
