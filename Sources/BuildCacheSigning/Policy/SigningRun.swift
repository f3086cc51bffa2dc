package import BuildCacheCore

extension SigningPolicy {
    /// Has a document signed by all signers, and verifies what they return.
    ///
    /// - Throws: `CacheError` `.untrusted` for a signature that does not verify, `.invalidSpec` without signers; what a signer throws.
    package func sign(_ statement: SignedStatement) async throws -> [SignatureBundle] {
        guard !signers.isEmpty else {
            throw CacheError(.invalidSpec, "the signing policy has no signer; add a key, or leave the policy out")
        }
        var all: [SignatureBundle] = []
        for signer in signers {
            let bundles = try await signer.sign(statement)
            guard !bundles.isEmpty else { throw CacheError(.untrusted, "a signer returned no signature") }
            for bundle in bundles {
                guard let signature = try signer.verifier.verify(bundle, document: statement.digest) else {
                    throw CacheError(.untrusted, "a signer returned a signature that its own verifier does not know")
                }
                guard signature.claims == nil || signature.claims == statement.claims else {
                    throw CacheError(.untrusted, "a signer returned a signature of other claims than it was given")
                }
                // Stored as one line, so it is checked as readers will read it.
                _ = try SignatureBundle(decoding: bundle.bytes)
            }
            all += bundles
        }
        return all
    }

    /// The newest claims that the signers, or other verifiers, have made about a document at a place; `nil` if none.
    package func claims(
        in file: SignatureFile, about document: Digest, at place: String, _ verifiers: [any SignatureVerifier]
    ) -> SignatureClaims? {
        let all = signers.map(\.verifier) + verifiers
        let claims = file.bundles.compactMap { bundle -> SignatureClaims? in
            for verifier in all {
                if let found = (try? verifier.verify(bundle, document: document))?.claims { return found }
            }
            return nil
        }
        return claims.filter { $0.name.isExactly(place) }
            .max { ($0.sequence, $0.signedAt) < ($1.sequence, $1.signedAt) }
    }
}
