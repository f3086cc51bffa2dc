import BuildCacheBytes
import BuildCacheCore
import BuildCacheOCI
import BuildCacheSigning

/// The documents of an import whose signatures were accepted.
struct VerifiedDocuments: Sendable {
    private struct Accepted: Sendable {
        var check: SignatureCheck
        var signatures: [VerifiedSignature]
    }

    /// The documents to parse.
    private(set) var documents: [NamedDocument] = []
    /// The documents that were refused, and why.
    private(set) var problems: [CacheProblem] = []
    private var accepted: [Accepted] = []

    /// All signatures that were accepted.
    var signatures: [VerifiedSignature] { accepted.flatMap(\.signatures) }

    /// Verifies documents, of which nothing was parsed.
    ///
    /// - Parameter found: The documents by the names that they were read under.
    /// - Throws: `CacheError` `.untrusted` where the policy asks for an error; what the store throws.
    init(
        _ found: [(name: String, document: NamedDocument)], in store: some CacheStore, by policy: VerificationPolicy
    ) async throws {
        guard policy.mode != .off else {
            documents = found.map(\.document)
            return
        }
        let signatures = try store.keepingSignatures()
        let checked = try await found.mapConcurrently(limit: 16) {
            found -> (NamedDocument, Result<Accepted, CacheError>) in
            // What cannot be read fails as it does without a policy.
            guard case .document(let document) = found.document.content else {
                return (found.document, .failure(CacheError(.corrupted, "")))
            }
            let check = SignatureCheck(policy, place: signatures.signaturePlace(of: found.name))
            do {
                let file = try await signatures.signatures(of: document.descriptor)
                let accepted = try await check.accept(document.digest, signedBy: file)
                return (found.document, .success(Accepted(check: check, signatures: accepted)))
            } catch let error as CacheError where error.code == .untrusted {
                return (found.document, .failure(error))
            }
        }
        for (document, result) in checked {
            switch result {
            case .success(let accepted):
                documents.append(document)
                self.accepted.append(accepted)
            case .failure where document.document == nil: documents.append(document)
            case .failure(let error):
                guard policy.refusal == .miss else { throw error }
                problems.append(
                    CacheProblem(
                        .refusedCache, "the cache is not trusted, and counts as one without hits", because: error))
            }
        }
    }

    /// Remembers what was accepted; called once all of it was read.
    func remember() async throws {
        for accepted in accepted { try await accepted.check.remember(accepted.signatures) }
    }
}
