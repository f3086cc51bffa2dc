@testable import BuildCacheAzure
@testable import BuildCacheBytes
@testable import BuildCacheClient
@testable import BuildCacheCore
@testable import BuildCacheSigning
@testable import BuildCacheSpec
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
@testable import TestTools
import Testing

@Suite("A signed cache in Azure")
struct SignedTests {
    @Test(
        "keeps a promise: it",
        arguments: BackendConformance.checks + BackendConformance.mergeChecks + BackendConformance.pruneChecks)
    func promises(_ check: BackendConformance.Check) async throws {
        let trust = try CacheTrust.test()
        try await AzureBlobServer().run { server, url in
            try await ScratchStore.withTemporary { scratch in
                try await check.run(
                    BackendConformance { setup in
                        SignedCache(
                            AzureBlobCache(
                                server.options(url, names: [setup.cache]), export: setup.export, scratch: scratch),
                            trust: trust)
                    })
            }
        }
    }

    @Test("states account, container and blob, and is refused without its signature")
    func place() async throws {
        let trust = try CacheTrust.test()
        try await AzureBlobServer().run { server, url in
            try await withCache(server, url) { cache in
                let signed = SignedCache(cache, trust: trust)
                try await signed.export(try SampleCache.chain(of: 2))
                let listed = try await cache.listSignatures(verification: trust.verification)
                #expect(listed.map(\.claims?.name) == ["azblob:\(server.account)/cache/a/b/manifests/buildkit"])
                try await cache.export(try SampleCache.diamond())
                let imported = try await signed.importCache(progress: .discarded)
                #expect(imported?.problems.map(\.kind) == [.refusedCache])
            }
        }
    }
}

extension CacheTrust {
    /// Signs with a key, and requires it.
    static func test(_ pem: String = TestKeys.p256) throws -> CacheTrust {
        let signer = try KeySigner(pem: Secret(pem))
        return CacheTrust(
            signing: SigningPolicy(signers: [signer]),
            verification: VerificationPolicy(.required, verifiers: [signer.verifier]))
    }
}
