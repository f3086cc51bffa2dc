public import BuildCacheCore
import BuildCacheBytes
import BuildCacheOCI
public import BuildCacheSigning

extension StoredCache {
    /// Signs the documents under all names again; see ``SigningExporter/resign(trust:progress:)``.
    public func resign(trust: CacheTrust, progress: ProgressSink) async throws -> [String: Digest] {
        try await running(.sign, at: traits.name, side: .destination, progress: progress) {
            guard trust.signing != nil else {
                throw CacheError(.invalidSpec, "no signing policy was given; add a key to sign with")
            }
            try trust.verification.validate()
            let store = try await openStore(for: .export)
            defer { store.close() }
            store.chooseForm(signing: trust.signing, trust.verification)
            let signing = DraftSigning(trust, try store.keepingSignatures())
            let limit = limits.documentBytes
            var signed: [String: Digest] = [:]
            for name in store.cacheNames {
                guard let found = try await store.document(named: name, limit: limit), let root = found.document,
                    !root.bytes.isEmpty
                else { continue }
                let place = signing.store.signaturePlace(of: name)
                if trust.verification.mode != .off {
                    let file = try await signing.store.signatures(of: root.descriptor)
                    _ = try await SignatureCheck(trust.verification, place: place).accept(root.digest, signedBy: file)
                }
                try await signing.sign(root, over: found, as: name)
                signed[found.name] = root.digest
            }
            guard !signed.isEmpty else {
                throw CacheError(.notFound, "no cache is there to sign yet; export one first")
            }
            return signed
        }
    }

    /// The signatures beside the documents of all names, and the verdict of a policy about each.
    ///
    /// - Parameter verification: The rules; the age and the claims of a signature are listed also where they refuse it.
    /// - Throws: `CacheError` `.unsupported` if the store keeps no signatures; what the store throws.
    public func listSignatures(
        verification: VerificationPolicy, progress: ProgressSink = .discarded
    ) async throws -> [ListedSignature] {
        try await running(.import, at: traits.name, side: .source, progress: progress) {
            let store = try await openStore(for: .import)
            defer { store.close() }
            store.chooseForm(verification)
            let signatures = try store.keepingSignatures()
            var listed: [ListedSignature] = []
            for name in store.cacheNames {
                guard let found = try await store.document(named: name, limit: limits.documentBytes),
                    let document = found.document
                else { continue }
                let check = SignatureCheck(verification, place: signatures.signaturePlace(of: name))
                for line in try await signatures.signatures(of: document.descriptor).lines {
                    let verdict = try await ListedSignature.Verdict(line, document.digest, check)
                    listed.append(
                        ListedSignature(
                            name: found.name, document: document.digest, claims: line.bundle?.unverifiedClaims,
                            verdict: verdict))
                }
            }
            return listed
        }
    }
}

/// A signature as a person reads it.
public struct ListedSignature: Sendable {
    /// The verdict of a policy.
    @nonexhaustive
    public enum Verdict: Hashable, Sendable {
        /// The signature verifies; the signer is the hint of a key or the name in a certificate.
        case good(signer: String)
        /// The signature is refused, with the reason.
        case refused(String)
    }

    /// The name that leads to the document.
    public var name: String
    /// The document.
    public var document: Digest
    /// The claims as they stand there, verified only if ``verdict`` is good.
    public var claims: SignatureClaims?
    /// The verdict of the policy.
    public var verdict: Verdict
}

extension ListedSignature.Verdict {
    fileprivate init(_ line: SignatureFile.Line, _ document: Digest, _ check: SignatureCheck) async throws {
        var policy = check.policy
        policy.threshold = 1
        policy.mode = .required
        guard !policy.verifiers.isEmpty else {
            self = .refused("no verifier was given")
            return
        }
        var file = SignatureFile()
        file.lines = [line]
        do {
            let accepted = try await SignatureCheck(policy, place: check.place).accept(document, signedBy: file)
            self = .good(signer: accepted.first?.signer ?? "")
        } catch let error as CacheError where error.code == .untrusted {
            self = .refused(error.message)
        }
    }
}
