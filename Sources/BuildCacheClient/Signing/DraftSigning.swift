import BuildCacheBytes
import BuildCacheCore
package import BuildCacheOCI
import BuildCacheSigning
import Synchronization

/// The signatures of one export: what is known of the documents that are there, and what was signed.
final class DraftSigning: Sendable {
    let trust: CacheTrust
    let store: any SignatureStore
    private let state = Mutex(State())

    private struct State {
        /// The documents under the names, as they were seen before layers were stored.
        var current: [String: Descriptor] = [:]
        var files: [Digest: SignatureFile] = [:]
        var signed: Set<Digest> = []
        var problems: [CacheProblem] = []
    }

    init(_ trust: CacheTrust, _ store: any SignatureStore) {
        self.trust = trust
        self.store = store
    }

    /// The documents that were left out of a merge, each told once.
    func takeProblems() -> [CacheProblem] {
        state.withLock { state in
            defer { state.problems = [] }
            return state.problems
        }
    }

    /// Notes the document under a name, so that it is not read again for its sequence.
    func note(_ current: NamedDocument, as name: String) {
        guard let document = current.document else { return }
        state.withLock { $0.current[name] = document.descriptor }
    }

    func hasSigned(_ document: Digest) -> Bool { state.withLock { $0.signed.contains(document) } }

    /// The signatures of a document that is there, read once per export.
    private func file(of document: Descriptor) async throws -> SignatureFile {
        if let known = state.withLock({ $0.files[document.digest] }) { return known }
        let file = try await store.signatures(of: document)
        state.withLock { $0.files[document.digest] = file }
        return file
    }

    // MARK: Verifying

    /// Whether a document that is there may be merged with.
    ///
    /// An export signs all that it merges with, so one that signs merges only with documents of signers that it trusts.
    ///
    /// - Throws: `CacheError` `.untrusted` where the policy asks for an error.
    func trusts(_ document: RawDocument, as name: String) async throws -> Bool {
        if hasSigned(document.digest) { return true }
        var policy = trust.verification
        if policy.mode == .off {
            guard let signing = trust.signing else { return true }
            policy = VerificationPolicy(.required, verifiers: signing.signers.map(\.verifier), maximumAge: nil)
            policy.now = signing.now
        }
        do {
            let check = SignatureCheck(policy, place: store.signaturePlace(of: name))
            _ = try await check.accept(document.digest, signedBy: try await file(of: document.descriptor))
            return true
        } catch let error as CacheError where error.code == .untrusted && policy.refusal == .miss {
            let problem = CacheProblem(
                .refusedCache, "the cache that was there is replaced and not merged with", because: error)
            state.withLock { state in if !state.problems.contains(problem) { state.problems.append(problem) } }
            return false
        }
    }

    // MARK: Signing

    /// Signs a document that a name is about to lead to.
    ///
    /// - Parameter current: The document that it replaces; `nil` for the one that was noted.
    func sign(_ root: RawDocument, over current: NamedDocument?, as name: String) async throws {
        var bundles: [SignatureBundle] = []
        if let copied = trust.copied, copied.digest == root.digest { bundles += copied.signatures.map(\.bundle) }
        if let signing = trust.signing {
            let place = store.signaturePlace(of: name)
            let replaced = current?.document?.descriptor ?? state.withLock { $0.current[name] }
            let claims = try await claims(about: root.digest, replacing: replaced, at: place, signing)
            bundles += try await signing.sign(SignedStatement(document: root.bytes, claims: claims))
        }
        guard !bundles.isEmpty else { return }
        try Task.checkCancellation()
        try await store.addSignatures(bundles, to: root)
        state.withLock { state in
            state.signed.insert(root.digest)
            state.files[root.digest] = nil
        }
    }

    private func claims(
        about document: Digest, replacing replaced: Descriptor?, at place: String, _ signing: SigningPolicy
    ) async throws -> SignatureClaims {
        var claims = SignatureClaims(name: place, signedAt: signing.now(), sequence: 1)
        let copied = trust.copied
        claims.copiedFrom = copied?.digest
        claims.copiedSigner = copied?.signatures.first?.signer
        // Readers with this memory refuse a lower sequence, also where the signatures of the document that is there are lost.
        let remembered = try await trust.verification.memory?.entries(of: place).values.map(\.sequence).max() ?? 0
        claims.sequence = remembered.addingClamped(1)
        guard let replaced else { return claims }
        let known = signing.claims(
            in: try await file(of: replaced), about: replaced.digest, at: place, trust.verification.verifiers)
        guard let known else { return claims }
        if replaced.digest == document {
            // The same document is signed again, and nothing comes after it.
            claims.sequence = max(known.sequence, remembered, 1)
            claims.previous = known.previous
        } else {
            claims.sequence = max(known.sequence, remembered).addingClamped(1)
            claims.previous = replaced.digest
        }
        return claims
    }
}

extension CacheDraft {
    /// Signs the documents that the name of this draft is about to lead to, if the export is signed.
    ///
    /// A ``SignatureStore`` with a ``CacheStore/publish(_:as:)`` of its own calls it just before it moves the name, once per try. The
    /// documents need not be stored yet.
    ///
    /// - Parameters:
    ///   - documents: The documents of the export.
    ///   - current: The document under the name now, as far as it was read.
    /// - Throws: `CacheError` `.untrusted` for a signer that lies; what signers and the store throw. The name must stay as it is then.
    public func sign(_ documents: CacheDocuments, over current: NamedDocument?) async throws {
        try await sign(documents.root, over: current)
    }

    /// As ``sign(_:over:)``, for a store that writes its documents in another form.
    package func sign(_ root: RawDocument, over current: NamedDocument?) async throws {
        try await signing?.sign(root, over: current, as: name)
    }

    /// Whether the export is signed.
    package var isSigned: Bool { signing != nil }
}
