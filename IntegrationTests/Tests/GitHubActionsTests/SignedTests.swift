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

    @Test("in BuildKit's form is an index of another name with one bundle under its digest", arguments: [1, 2])
    func buildKitForm(_ version: Int) async throws {
        let key = try KeySigner(pem: Secret(TestKeys.p256))
        // Over the document, as BuildKit's command is asked for it.
        let signer = DocumentBytesSigner(key: key)
        var trust = CacheTrust(signing: SigningPolicy(signers: [signer], usesBuildKitForm: true))
        trust.verification = VerificationPolicy(.required, verifiers: [key.verifier], requiresClaims: false)
        trust.verification.usesBuildKitForm = true
        let rules = trust
        try await GitHubCacheServer(uploadsPerMinute: .max).run { server, url in
            try await ScratchStore.withTemporary { scratch in
                let client = GitHubActionsClient.immediate()
                let options = server.options(url, version)
                let cache = GitHubActionsCache(
                    options, export: ExportOptions(mode: .max), scratch: scratch, client: client)
                let signed = SignedCache(cache, trust: rules)
                let sample = try SampleCache.chain(of: 2)
                let receipt = try await signed.export(sample)
                let name = try #require(receipt.published.keys.first)
                #expect(name.hasPrefix("index-buildkit-1-") && name.hasSuffix("-sig#1"))
                let digest = try #require(receipt.published.values.first?.digest)
                let entries = try client.entries(options)
                #expect(try await entries.read(key: "buildkit-blob-1-\(digest)-sig", limit: 1 << 18) != nil)
                #expect(try await signed.importCache(progress: .discarded)?.graph == sample.graph)
                // The same index again finds its signature there.
                try await signed.export(sample)
                // An index that is not signed has another name.
                #expect(try await cache.importCache(progress: .discarded) == nil)
                let other = try CacheTrust.test(TestKeys.ed25519)
                var refusing = other.verification
                refusing.usesBuildKitForm = true
                let refused = try await cache.importCache(verification: refusing, progress: .discarded)
                #expect(refused?.problems.map(\.kind) == [.refusedCache])
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

/// Signs the bytes of the document, as an external program by BuildKit's contract does.
private struct DocumentBytesSigner: DocumentSigner {
    let key: KeySigner
    var verifier: any SignatureVerifier { key.verifier }

    func sign(_ statement: SignedStatement) async throws -> [SignatureBundle] {
        let signature = try key.rawSignature(over: statement.document)
        return [SignatureBundle(.message(digest: nil, signature: signature), by: .key(hint: key.hint))]
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
