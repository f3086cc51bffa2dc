import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheGraph
import BuildCacheSigning
import BuildCacheTesting
import TestTools

extension KeySigner {
    static func test(_ pem: String = TestKeys.ed25519) throws -> KeySigner { try KeySigner(pem: Secret(pem)) }
}

extension CacheTrust {
    /// Signs with a key, and requires it.
    static func test(
        _ pem: String = TestKeys.ed25519, change: (inout VerificationPolicy) -> Void = { _ in }
    ) throws -> CacheTrust {
        let signer = try KeySigner.test(pem)
        var policy = VerificationPolicy(.required, verifiers: [signer.verifier])
        change(&policy)
        return CacheTrust(signing: SigningPolicy(signers: [signer]), verification: policy)
    }
}

/// A signer that does what a test says.
struct ScriptedSigner: DocumentSigner {
    var base: KeySigner
    var script: @Sendable (SignedStatement, KeySigner) async throws -> [SignatureBundle]
    var verifier: any SignatureVerifier { base.verifier }

    func sign(_ statement: SignedStatement) async throws -> [SignatureBundle] { try await script(statement, base) }
}

/// A store in memory with signed caches in it.
struct SignedMemory {
    let store = MemoryStore()
    let scratch: ScratchStore

    func cache(
        _ trust: CacheTrust, _ name: String = "main", writePolicy: WritePolicy = .replace,
        beforeStep: @escaping @Sendable () async throws -> Void = {}
    ) -> SignedCache<MemoryCache> {
        var cache = MemoryCache(name, export: ExportOptions(writePolicy: writePolicy), in: store, scratch: scratch)
        cache.beforeStep = beforeStep
        return SignedCache(cache, trust: trust)
    }

    func document(_ name: String = "main") -> [UInt8] { store.bytes(named: name) ?? [] }

    func file(of name: String = "main") -> SignatureFile {
        SignatureFile(decoding: store.signatureFile(of: Digest(of: document(name))) ?? [])
    }

    func claims(of name: String = "main") -> SignatureClaims? { file(of: name).bundles.last?.unverifiedClaims }

    static func with(_ body: (SignedMemory) async throws -> Void) async throws {
        try await ScratchStore.withTemporary { try await body(SignedMemory(scratch: $0)) }
    }
}

extension SignedCache {
    /// Whether the import gives the cache of a sample; `nil` if the cache was refused.
    func imports(_ sample: SampleCache) async throws -> Bool? {
        guard let cache = try await importCache(progress: .discarded) else { return false }
        if cache.problems.contains(where: { $0.kind == .refusedCache }) {
            return cache.graph.recordCount == 0 ? nil : false
        }
        return cache.graph == sample.graph
    }
}
