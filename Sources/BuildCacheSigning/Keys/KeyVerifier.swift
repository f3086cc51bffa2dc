public import BuildCacheCore

/// A verifier of signatures by a set of public keys.
///
/// The hints in a bundle are not trusted: all keys are tried.
public struct KeyVerifier: SignatureVerifier {
    private let keys: [PublicKey]
    private let hints: [String]

    /// Reads public keys.
    ///
    /// - Parameter pem: Texts with one key or several each.
    /// - Throws: `CacheError` `.invalidSpec` for a text without a key, `.unsupported` for an algorithm other than ECDSA on P-256 and Ed25519.
    public init(pem: [String]) throws(CacheError) {
        var keys: [PublicKey] = []
        for text in pem { keys += try PublicKey.read(pem: text) }
        guard !keys.isEmpty else { throw CacheError(.invalidSpec, "no public key was given") }
        self.init(keys)
    }

    init(_ keys: [PublicKey]) {
        self.keys = keys
        hints = keys.map(\.hint)
    }

    /// Verifies a bundle; see ``SignatureVerifier/verify(_:document:)``.
    public func verify(_ bundle: SignatureBundle, document: Digest) throws(CacheError) -> VerifiedSignature? {
        guard case .key(let hint) = bundle.signer else { return nil }
        switch bundle.content {
        case .message(let digest, let signature):
            guard let place = keys.firstIndex(where: { $0.verifies(signature, ofDigest: document) }) else {
                return try unverified(hint)
            }
            guard digest ?? document.bytes == document.bytes else {
                throw CacheError(.untrusted, "the bundle names the digest of another document")
            }
            return VerifiedSignature(document: document, signer: hints[place], claims: nil, bundle: bundle)
        case .envelope(let envelope):
            guard let signature = envelope.signatures.first, envelope.signatures.count == 1 else {
                throw CacheError(
                    .untrusted, "the bundle has \(envelope.signatures.count) signatures: expected exactly one")
            }
            let message = envelope.encoded
            guard let place = keys.firstIndex(where: { $0.verifies(signature.bytes, of: message) }) else {
                return try unverified(hint)
            }
            return VerifiedSignature(
                document: document, signer: hints[place], claims: try envelope.claims(about: document), bundle: bundle)
        }
    }

    /// The outcome for a signature that no key verifies: unknown, or bad if it says that a known key made it.
    private func unverified(_ hint: String) throws(CacheError) -> VerifiedSignature? {
        guard hints.contains(hint) else { return nil }
        throw CacheError(.untrusted, "the signature is not one of the key \(hint.quoted) that it names")
    }
}

extension SignatureBundle.Envelope {
    /// The claims of a payload whose signature was verified.
    ///
    /// - Throws: `CacheError` `.untrusted` if the payload is not a statement about the document, or has malformed claims.
    func claims(about document: Digest) throws(CacheError) -> SignatureClaims? {
        guard payloadType == DSSE.statementType else {
            throw CacheError(
                .untrusted, "unknown payload type \(payloadType.quoted): expected \(DSSE.statementType)")
        }
        return try SignatureClaims(annotations: try StatementSubject(of: document, in: payload).annotations)
    }
}
