public import BuildCacheCore
public import BuildCacheGraph
public import BuildCacheSigning

/// The signatures of a destination: how an export is signed, and which caches it may merge with.
public struct CacheTrust: Sendable {
    /// The signers; `nil`, the default, signs nothing.
    public var signing: SigningPolicy?
    /// The rules for the cache that is there, when an export merges with it or replaces it.
    ///
    /// Default ``VerificationPolicy/off``. An export that signs merges then with what its own signers have signed, and replaces
    /// anything else: merging signs it.
    public var verification: VerificationPolicy
    /// The document that is copied, and its signatures.
    package var copied: CopiedDocument?

    /// Creates rules.
    public init(signing: SigningPolicy? = nil, verification: VerificationPolicy = .off) {
        self.signing = signing
        self.verification = verification
    }

    /// Whether neither signs nor verifies.
    var isOff: Bool { signing == nil && verification.mode == .off && copied == nil }
}

/// The document at the source of a copy.
package struct CopiedDocument: Sendable {
    var digest: Digest
    /// Verified by the source's policy.
    var signatures: [VerifiedSignature]
}

/// An exporter that can sign.
public protocol SigningExporter: CacheExporter {
    /// As ``CacheExporter/exportCache(_:from:progress:)``, signed.
    ///
    /// A signer that fails, or returns a signature that does not verify, fails the export: nothing is published, except by a store whose
    /// `publish` is its own and does not call `CacheDraft.sign`.
    ///
    /// - Throws: Also `CacheError` `.unsupported` if the store keeps no signatures, `.untrusted`, and what the signers throw.
    func exportCache(
        _ graph: LayerGraph, from source: LayerSource, trust: CacheTrust, progress: ProgressSink
    ) async throws -> ExportReceipt

    /// Signs the documents that the names lead to, and moves no bytes of layers.
    ///
    /// The documents keep their sequence, so this renews signatures before they are too old, and adds those of new keys. With a
    /// verification policy a document that it refuses is not signed.
    ///
    /// - Returns: The documents that were signed, by name.
    /// - Throws: `CacheError` `.untrusted`, `.unsupported` if the store keeps no signatures, `.notFound` if no name leads to a cache.
    func resign(trust: CacheTrust, progress: ProgressSink) async throws -> [String: Digest]
}

/// An importer that can verify signatures.
public protocol VerifyingImporter: CacheImporter {
    /// As ``CacheImporter/importCache(progress:)``, by a policy.
    ///
    /// No byte of a document is parsed before its signatures are accepted. A refused one is left out with a
    /// ``CacheProblem/Kind/refusedCache``, or an error where the policy says so.
    ///
    /// - Throws: Also `CacheError` `.unsupported` if the store keeps no signatures, `.untrusted` where the policy asks for an error.
    func importCache(verification: VerificationPolicy, progress: ProgressSink) async throws -> ImportedCache?
}

extension CacheStore {
    /// The store as one that keeps signatures.
    ///
    /// - Throws: `CacheError` `.unsupported` if it keeps none.
    func keepingSignatures() throws(CacheError) -> any SignatureStore {
        guard let store = self as? any SignatureStore else {
            throw CacheError(
                .unsupported, "this backend keeps no signatures; leave the policy out, or use a backend that does")
        }
        return store
    }
}
