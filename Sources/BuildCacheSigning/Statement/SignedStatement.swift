public import BuildCacheCore

/// A statement for signers: the digest of a document and the claims about it.
///
/// ``payload`` is an in-toto statement in the form of cosign 3, and ``encoded`` the bytes that a DSSE signature is over.
///
/// - Source: `Documentation/Spec/signing.md` §2 and §3.
public struct SignedStatement: Sendable {
    /// The document, for signers that sign its bytes.
    public let document: [UInt8]
    /// The digest of ``document``.
    public let digest: Digest
    /// The claims about it.
    public let claims: SignatureClaims

    /// Creates a statement about a document.
    public init(document: [UInt8], claims: SignatureClaims) {
        self.document = document
        self.claims = claims
        digest = Digest(of: document)
    }

    /// The in-toto statement, in compact JSON with sorted claims.
    public var payload: [UInt8] {
        var json = JSONWriter(reservingCapacity: 512)
        json.beginObject()
        json.key("_type")
        json.string("https://in-toto.io/Statement/v1")
        json.key("subject")
        json.beginArray()
        json.beginObject()
        json.key("digest")
        json.beginObject()
        json.key("sha256")
        json.string(digest.hex)
        json.endObject()
        json.key("annotations")
        json.beginObject()
        for (key, value) in claims.annotations.sorted(by: { $0.key < $1.key }) {
            json.key(key)
            json.string(value)
        }
        json.endObject()
        json.endObject()
        json.endArray()
        json.key("predicateType")
        json.string(SignedStatement.predicateType)
        json.key("predicate")
        json.beginObject()
        json.endObject()
        json.endObject()
        return json.bytes
    }

    /// The DSSE pre-authentication encoding of ``payload``.
    public var encoded: [UInt8] { DSSE.encode(payload, type: DSSE.statementType) }

    /// The type of the statement's predicate, as cosign 3 writes it.
    package static let predicateType = "https://sigstore.dev/cosign/sign/v1"
}

/// Dead simple signing envelopes.
///
/// - Source: secure-systems-lab/dsse, protocol.md.
package enum DSSE {
    package static let statementType = "application/vnd.in-toto+json"

    /// The bytes that a signature is over.
    package static func encode(_ payload: [UInt8], type: String) -> [UInt8] {
        Array("DSSEv1 \(type.utf8.count) \(type) \(payload.count) ".utf8) + payload
    }
}
