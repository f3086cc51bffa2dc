import BuildCacheCore

/// The part of an in-toto statement that names a document.
struct StatementSubject {
    /// The annotations of the subject with the document's digest.
    var annotations: [String: String]

    private static let maximumSubjects = 1024
    private static let maximumAnnotations = 64

    /// Finds the subject of a document in a statement whose signature was verified.
    ///
    /// Members that carry no claim, such as the predicate, are passed over: any predicate type is good.
    ///
    /// - Throws: `CacheError` `.untrusted` if the statement is malformed or does not name the document.
    init(of document: Digest, in payload: [UInt8]) throws(CacheError) {
        let found: StatementSubject?
        do throws(CacheError) {
            found = try JSONReader.read(payload, as: "signed statement") {
                (json: inout JSONReader) throws(CacheError) -> StatementSubject? in
                try StatementSubject.find(document, in: &json)
            }
        } catch {
            throw CacheError(.untrusted, error.message, cause: error)
        }
        guard let found else { throw CacheError(.untrusted, "the signed statement is about another document") }
        self = found
    }

    /// The first subject, whichever document it is about, of a statement that was not verified: for display only.
    init(anyIn payload: [UInt8]) throws(CacheError) {
        let found = try JSONReader.read(payload, as: "signed statement") {
            (json: inout JSONReader) throws(CacheError) -> StatementSubject? in
            try StatementSubject.find(nil, in: &json)
        }
        guard let found else { throw CacheError(.untrusted, "the signed statement has no subject") }
        self = found
    }

    private init(annotations: [String: String]) { self.annotations = annotations }

    private static func find(_ document: Digest?, in json: inout JSONReader) throws(CacheError) -> StatementSubject? {
        var found: StatementSubject?
        var type: String?
        try json.strictObject { (key, json) throws(CacheError) in
            switch key {
            case "_type": type = try json.string()
            case "subject":
                var count = 0
                guard try json.beginArray() else { return }
                while try json.nextElement() {
                    count += 1
                    guard count <= maximumSubjects else {
                        throw json.invalid("the statement has more than \(maximumSubjects) subjects")
                    }
                    let (digest, annotations) = try subject(&json)
                    if found == nil, document.map({ digest == $0.hex }) ?? true {
                        found = StatementSubject(annotations: annotations)
                    }
                }
            default: try json.skipValue()
            }
        }
        guard let type, type.hasPrefix("https://in-toto.io/Statement/") else {
            throw json.invalid("the payload is not an in-toto statement")
        }
        return found
    }

    private static func subject(_ json: inout JSONReader) throws(CacheError) -> (String?, [String: String]) {
        var digest: String?
        var annotations: [String: String] = [:]
        try json.strictObject { (key, json) throws(CacheError) in
            switch key {
            case "digest":
                try json.strictObject { (key, json) throws(CacheError) in
                    if key == "sha256" { digest = try json.string() } else { try json.skipValue() }
                }
            case "annotations":
                annotations = try json.claims(atMost: maximumAnnotations)
            default: try json.skipValue()
            }
        }
        return (digest, annotations)
    }
}

extension JSONReader {
    /// The texts of an object; values of other types are passed over.
    mutating func claims(atMost limit: Int) throws(CacheError) -> [String: String] {
        var claims: [String: String] = [:]
        try strictObject { (key, json) throws(CacheError) in
            guard json.peek() == UInt8(ascii: "\"") else {
                try json.skipValue()
                return
            }
            guard claims.count < limit else { throw json.invalid("more than \(limit) claims") }
            claims[key] = try json.string() ?? ""
        }
        return claims
    }

    /// Reads the members of an object whose keys are all different, upper and lower case being different too.
    ///
    /// Two readers could take different ones of two members with one key, so that one verifies what the other does not use.
    ///
    /// - Throws: `CacheError` `.corrupted` for `null`, any other value and a doubled key.
    mutating func strictObject(
        _ member: (_ key: String, _ json: inout JSONReader) throws(CacheError) -> Void
    ) throws(CacheError) {
        guard try beginObject() else { throw invalid("null where an object is expected") }
        var keys: Set<ExactText> = []
        while let key = try nextKey() {
            let text = key.text
            guard keys.insert(ExactText(text)).inserted else { throw invalid("the key \(text.quoted) is doubled") }
            guard keys.count <= 4096 else { throw invalid("an object has more than 4096 members") }
            try member(text, &self)
        }
    }

    /// A string that must be there.
    mutating func text() throws(CacheError) -> String {
        guard let text = try string() else { throw invalid("null where a string is expected") }
        return text
    }

    /// Bytes in base64 of either alphabet, padded or not.
    mutating func base64() throws(CacheError) -> [UInt8] {
        let text = try text()
        guard let bytes = Base64.decodeForURL(text.utf8) else { throw invalid("a string is not base64") }
        return bytes
    }

    /// A number of 64 bits, written as a number or as text.
    mutating func number() throws(CacheError) -> Int64 {
        guard peek() == UInt8(ascii: "\"") else { return try integer() }
        let text = try text()
        guard let value = Int64(decimal: text, in: 0...Int64.max) else {
            throw invalid("\(text.quoted) is not a number of 64 bits")
        }
        return value
    }
}
