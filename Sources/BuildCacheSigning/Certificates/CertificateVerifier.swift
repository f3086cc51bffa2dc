public import BuildCacheCore

/// A verifier of signatures whose keys Fulcio certified: Sigstore's own, or a private deployment's.
///
/// Everything comes from the trusted root and the bundle; no network is used. The caller renews the file.
///
/// - Source: `Documentation/Spec/signing.md` §1.3 and §6.
public struct CertificateVerifier: SignatureVerifier {
    private let root: TrustedRoot
    private let identities: [[CertificateField: String]]

    /// Creates a verifier.
    ///
    /// - Parameters:
    ///   - trustedRoot: The file of a trusted root, `trustedroot+json;version=0.1`.
    ///   - identities: Patterns, of which one must match with all its fields. `*` is anything, `*x*` contains, `*x` ends with, `x*` begins with x; a
    ///     star in the middle is a literal one. A pattern of the subject alone trusts every branch that can call a workflow: add
    ///     ``CertificateField/sourceRepositoryRef``.
    /// - Throws: `CacheError` `.invalidSpec` for anything but a trusted root, and without identities.
    public init(trustedRoot: [UInt8], identities: [[CertificateField: String]]) throws(CacheError) {
        guard !identities.isEmpty, identities.allSatisfy({ !$0.isEmpty }) else {
            throw CacheError(
                .invalidSpec, "an identity has no pattern: everybody can get a certificate; name the signers to trust")
        }
        root = try TrustedRoot(decoding: trustedRoot)
        self.identities = identities
    }

    /// Verifies a bundle; see ``SignatureVerifier/verify(_:document:)``.
    public func verify(_ bundle: SignatureBundle, document: Digest) throws(CacheError) -> VerifiedSignature? {
        guard case .certificate(let der, _) = bundle.signer else { return nil }
        let certificate = try Certificate(der: der)
        let fields = certificate.fields
        // Another signer of the same authority is not a bad one.
        guard identities.contains(where: { $0.allSatisfy { fields[$0]?.matchesIdentity($1) ?? ($1 == "*") } }) else {
            return nil
        }
        let (signature, message) = try signedBytes(of: bundle)
        let times = try verifiedTimes(of: bundle, der, signature, document)
        var issuerKey: Digest?
        for time in times {
            guard let key = certificate.issuerKey(at: time, root.certificateAuthorities) else {
                throw CacheError(
                    .untrusted,
                    "the certificate does not lead to a trusted authority at \(time), or is not for code signing")
            }
            issuerKey = key
        }
        guard let issuerKey, certificate.hasPromise(of: root.certificateLogs, issuerKey: issuerKey) else {
            throw CacheError(.untrusted, "no trusted log has promised to list the certificate")
        }
        let isSigned =
            if let message { certificate.key.verifies(signature, of: message) } else {
                certificate.key.verifies(signature, ofDigest: document)
            }
        guard isSigned else {
            throw CacheError(.untrusted, "the signature is not one of the key in its certificate")
        }
        var claims: SignatureClaims?
        switch bundle.content {
        case .message(let digest, _):
            guard digest ?? document.bytes == document.bytes else {
                throw CacheError(.untrusted, "the bundle names the digest of another document")
            }
        case .envelope(let envelope): claims = try envelope.claims(about: document)
        }
        return VerifiedSignature(
            document: document, signer: fields[.subjectAlternativeName] ?? "", claims: claims,
            verifiedTime: times.min(), bundle: bundle)
    }

    /// The signature, and the bytes it is over; `nil` where these are the document.
    private func signedBytes(of bundle: SignatureBundle) throws(CacheError) -> ([UInt8], [UInt8]?) {
        switch bundle.content {
        case .message(_, let signature): return (signature, nil)
        case .envelope(let envelope):
            guard let signature = envelope.signatures.first, envelope.signatures.count == 1 else {
                throw CacheError(
                    .untrusted, "the bundle has \(envelope.signatures.count) signatures: expected exactly one")
            }
            return (signature.bytes, envelope.encoded)
        }
    }

    /// The times that logs and time authorities have signed, one at least.
    private func verifiedTimes(
        of bundle: SignatureBundle, _ certificate: [UInt8], _ signature: [UInt8], _ document: Digest
    ) throws(CacheError) -> [Timestamp] {
        guard !bundle.logEntries.isEmpty else {
            throw CacheError(.untrusted, "the bundle has no entry of a transparency log")
        }
        guard Set(bundle.logEntries.map { LogPlace(log: $0.logID, index: $0.index) }).count == bundle.logEntries.count
        else { throw CacheError(.untrusted, "the bundle has one log entry twice") }
        var times: [Timestamp] = []
        for entry in bundle.logEntries {
            let time = try entry.verify(
                in: root.logs, of: bundle.content, certificate: certificate, document: document)
            if let time { times.append(time) }
        }
        // One that no trusted authority has signed counts for nothing, as to other verifiers.
        times += bundle.timestamps.compactMap { SignedTimestamp.time(in: $0, of: signature, root.timeAuthorities) }
        guard !times.isEmpty else {
            throw CacheError(.untrusted, "neither a log nor a time authority states when the bundle was signed")
        }
        return times
    }

    private struct LogPlace: Hashable {
        var log: [UInt8]
        var index: Int64
    }
}
