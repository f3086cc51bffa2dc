public import BuildCacheCore

/// A signer of documents.
public protocol DocumentSigner: Sendable {
    /// The verifier of the signatures that it makes.
    ///
    /// Each signature is verified before it is stored, so a signer that fails or lies fails the export and nothing is published.
    var verifier: any SignatureVerifier { get }

    /// Signs a statement about a document, or the document itself.
    ///
    /// - Returns: The signatures, normally one.
    func sign(_ statement: SignedStatement) async throws -> [SignatureBundle]
}

/// A verifier of signatures by signers it knows.
public protocol SignatureVerifier: Sendable {
    /// Verifies a signature of a document.
    ///
    /// - Returns: `nil` if the signature is by a signer that this verifier does not know.
    /// - Throws: `CacheError` `.untrusted` if the signature is bad: it says that a known signer made it and does not verify, or is about
    ///   another document.
    func verify(_ bundle: SignatureBundle, document: Digest) throws(CacheError) -> VerifiedSignature?
}

/// A signature that a verifier accepted.
public struct VerifiedSignature: Hashable, Sendable {
    /// The document that was signed.
    public var document: Digest
    /// The identity of the signer: the hint of its key or the name in its certificate.
    public var signer: String
    /// The claims about the document; `nil` if the signature has none.
    public var claims: SignatureClaims?
    /// A time of the signature that a log or a time authority states; `nil` for keys.
    public var verifiedTime: Timestamp?
    /// The bundle.
    public var bundle: SignatureBundle

    /// Creates a result.
    public init(
        document: Digest, signer: String, claims: SignatureClaims?, verifiedTime: Timestamp? = nil,
        bundle: SignatureBundle
    ) {
        self.document = document
        self.signer = signer
        self.claims = claims
        self.verifiedTime = verifiedTime
        self.bundle = bundle
    }
}
