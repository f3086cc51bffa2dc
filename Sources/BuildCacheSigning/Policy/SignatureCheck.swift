package import BuildCacheCore

/// The decision about the signatures of one document.
///
/// - Source: `Documentation/Spec/signing.md` §7.
package struct SignatureCheck: Sendable {
    /// Clocks of signers may be ahead by this.
    private static let clockTolerance = Duration.seconds(300)

    package let policy: VerificationPolicy
    /// The place that the document was read from.
    package let place: String
    package let kind: SignatureClaims.Kind

    package init(_ policy: VerificationPolicy, place: String, kind: SignatureClaims.Kind = .cache) {
        self.policy = policy
        self.place = place
        self.kind = kind
    }

    /// Decides about the signatures of a document.
    ///
    /// - Returns: The signatures that count, one per signer; none if the document has no signatures and needs none.
    /// - Throws: `CacheError` `.untrusted` with the reason.
    package func accept(_ document: Digest, signedBy file: SignatureFile) async throws -> [VerifiedSignature] {
        if file.lines.isEmpty {
            guard policy.mode == .required else { return [] }
            throw refusal("the document has no signature")
        }
        let remembered = try await policy.memory?.entries(of: place) ?? [:]
        var accepted: [String: VerifiedSignature] = [:]
        var reasons: [String] = []
        for line in file.lines {
            do throws(CacheError) {
                guard let signature = try verified(line, document) else { continue }
                try check(signature, remembered[signature.signer])
                if let known = accepted[signature.signer], !signature.isNewer(than: known) { continue }
                accepted[signature.signer] = signature
            } catch {
                reasons.append(error.message)
            }
        }
        guard accepted.count >= policy.threshold else {
            if let reason = reasons.first { throw refusal(reason) }
            throw refusal(
                accepted.isEmpty
                    ? "no signature is by a trusted signer"
                    : "\(accepted.count) trusted signers have signed: expected \(policy.threshold)")
        }
        return accepted.values.sorted { $0.signer < $1.signer }
    }

    /// Remembers signatures, so that older ones are refused from now on.
    package func remember(_ signatures: [VerifiedSignature]) async throws {
        try await policy.memory?.add(signatures, at: place)
    }

    /// The signature if any verifier knows its signer.
    private func verified(_ line: SignatureFile.Line, _ document: Digest) throws(CacheError) -> VerifiedSignature? {
        guard let bundle = line.bundle else {
            if case .malformed(let reason) = line { throw refusal(reason) }
            return nil
        }
        var failure: CacheError?
        for verifier in policy.verifiers {
            do throws(CacheError) {
                if let signature = try verifier.verify(bundle, document: document) { return signature }
            } catch {
                // Another verifier may have a key with the same hint.
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        return nil
    }

    private func check(_ signature: VerifiedSignature, _ remembered: SignatureMemory.Entry?) throws(CacheError) {
        guard let claims = signature.claims else {
            if policy.requiresClaims { throw refusal("the signature has no claims about name and time") }
            if let time = signature.verifiedTime { try checkAge(time) }
            return
        }
        guard claims.kind == kind else {
            throw refusal(
                "the document was signed as \(claims.kind.description.quoted), not as \(kind.description.quoted)")
        }
        let names = policy.names ?? [place]
        guard names.contains(where: { $0.isExactly(claims.name) }) else {
            throw refusal("the document was signed for \(claims.name.quoted), not for \(place.quoted)")
        }
        guard claims.signedAt.elapsed(since: policy.now()) <= SignatureCheck.clockTolerance else {
            throw refusal("the signature is of \(claims.signedAt), which is in the future; check the clock")
        }
        try checkAge(signature.verifiedTime ?? claims.signedAt)
        if let remembered, remembered.isNewer(than: claims, signature.document) {
            throw refusal(
                "the document is older than one that was read before: its sequence is \(claims.sequence) of "
                    + "\(claims.signedAt), after \(remembered.sequence) of \(remembered.signedAt)")
        }
    }

    private func checkAge(_ time: Timestamp) throws(CacheError) {
        let age = policy.now().elapsed(since: time)
        guard age >= .zero - SignatureCheck.clockTolerance else {
            throw refusal("the signature is of \(time), which is in the future; check the clock")
        }
        if let maximum = policy.maximumAge, age > maximum {
            throw refusal("the signature is of \(time), longer ago than the limit of \(maximum)")
        }
    }

    private func refusal(_ reason: String) -> CacheError {
        CacheError(.untrusted, reason, context: .init(subject: place))
    }
}

extension VerifiedSignature {
    fileprivate func isNewer(than other: VerifiedSignature) -> Bool {
        guard let claims else { return false }
        guard let others = other.claims else { return true }
        return (claims.sequence, claims.signedAt) > (others.sequence, others.signedAt)
    }
}

extension SignatureMemory.Entry {
    /// Whether a document goes back behind this one.
    fileprivate func isNewer(than claims: SignatureClaims, _ document: Digest) -> Bool {
        if claims.sequence != sequence { return claims.sequence < sequence }
        // Parallel writers make equal sequences; only the older one of two is a step back.
        return document != digest && claims.signedAt < signedAt
    }
}
