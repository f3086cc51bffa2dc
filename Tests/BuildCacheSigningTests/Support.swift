import BuildCacheCore
import BuildCacheSigning
import TestTools

extension KeySigner {
    static func test(_ pem: String = TestKeys.ed25519) throws -> KeySigner { try KeySigner(pem: Secret(pem)) }
}

extension SignatureClaims {
    /// The claims of the specification's vector.
    static func test(
        name: String = "s3:ci/main", kind: Kind = .cache, signedAt: String = "2026-01-02T03:04:05Z", sequence: Int64 = 7
    ) throws -> SignatureClaims {
        SignatureClaims(name: name, kind: kind, signedAt: try Timestamp(signedAt), sequence: sequence)
    }
}

extension VerificationPolicy {
    /// Rules at a moment.
    static func test(
        _ signers: [any DocumentSigner], mode: Mode = .required, now: String = "2026-01-02T04:00:00Z",
        change: (inout VerificationPolicy) -> Void = { _ in }
    ) throws -> VerificationPolicy {
        var policy = VerificationPolicy(mode, verifiers: signers.map(\.verifier))
        let now = try Timestamp(now)
        policy.now = { now }
        change(&policy)
        return policy
    }
}

/// A signed document and the rules of its reader.
struct Signed {
    let document: [UInt8]
    var file = SignatureFile()

    init(_ document: String = "{}") { self.document = Array(document.utf8) }

    var digest: Digest { Digest(of: document) }

    mutating func sign(_ claims: SignatureClaims, by signer: any DocumentSigner) async throws {
        let statement = SignedStatement(document: document, claims: claims)
        file = SignatureFile(file.bundles + (try await signer.sign(statement)))
    }

    func check(
        _ policy: VerificationPolicy, at place: String = "s3:ci/main", kind: SignatureClaims.Kind = .cache
    ) async throws -> [VerifiedSignature] {
        // As it is stored: what is accepted must survive being written and read.
        let read = SignatureFile(decoding: file.bytes)
        return try await SignatureCheck(policy, place: place, kind: kind).accept(digest, signedBy: read)
    }
}
