@testable import BuildCacheBytes
@testable import BuildCacheClient
@testable import BuildCacheCore
@testable import BuildCacheGitHubActions
@testable import BuildCacheSigning
@testable import BuildCacheSpec
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
@testable import TestTools
import Testing

@Suite("A signed cache at GitHub")
struct SignedTests {
    @Test(
        "keeps a promise in both versions of the protocol: it",
        arguments: BackendConformance.checks + BackendConformance.mergeChecks, [1, 2])
    func promises(_ check: BackendConformance.Check, _ version: Int) async throws {
        let trust = try CacheTrust.test()
        try await GitHubCacheServer(uploadsPerMinute: .max).run { server, url in
            let client = GitHubActionsClient.immediate()
            try await ScratchStore.withTemporary { scratch in
                try await check.run(
                    BackendConformance { setup in
                        SignedCache(
                            GitHubActionsCache(
                                server.options(url, version, scope: setup.cache), export: setup.export,
                                scratch: scratch, client: client), trust: trust)
                    })
            }
        }
    }

    @Test("keeps its signatures in a namespace of their own, and is refused without them", arguments: [1, 2])
    func place(_ version: Int) async throws {
        let trust = try CacheTrust.test()
        #expect(GitHubKeys.signatureVersion == "b3ec462098074fc2d88c685195b6f8ed79bd80e70b0b615fd1bf7bcf3ddbf368")
        try await GitHubCacheServer(uploadsPerMinute: .max).run { server, url in
            try await ScratchStore.withTemporary { scratch in
                let cache = GitHubActionsCache(
                    server.options(url, version), export: ExportOptions(mode: .max), scratch: scratch,
                    client: .immediate())
                let signed = SignedCache(cache, trust: trust)
                try await signed.export(try SampleCache.chain(of: 2))
                let listed = try await cache.listSignatures(verification: trust.verification)
                #expect(listed.count == 1)
                #expect(listed.first?.claims?.name.hasPrefix("gha:buildkit@refs/") == true)
                // Signed by another key, too.
                let other = CacheTrust(signing: try CacheTrust.test(TestKeys.ed25519).signing)
                _ = try await cache.resign(trust: other, progress: .discarded)
                #expect(try await cache.listSignatures(verification: trust.verification).count == 2)
                // As BuildKit would, without the key.
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
