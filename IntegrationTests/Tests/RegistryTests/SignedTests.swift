@testable import BuildCacheBytes
@testable import BuildCacheClient
@testable import BuildCacheCore
@testable import BuildCacheRegistry
@testable import BuildCacheSigning
@testable import BuildCacheSpec
@testable import BuildCacheTesting
@testable import TestServers
@testable import TestTools
import Testing

@Suite("A signed cache in a registry")
struct SignedTests {
    private static func registry(_ hasReferrers: Bool) -> FakeRegistry {
        var manners = FakeRegistry.Manners()
        manners.hasReferrers = hasReferrers
        return FakeRegistry(manners)
    }

    @Test(
        "with a list of referrers, and without, keeps a promise: it",
        arguments: BackendConformance.checks + BackendConformance.mergeChecks + BackendConformance.pruneChecks,
        [false, true])
    func promises(_ check: BackendConformance.Check, _ hasReferrers: Bool) async throws {
        let trust = try CacheTrust.test()
        try await withServer(Self.registry(hasReferrers).respond) { address in
            try await RegistryClient.forTests { client in
                try await ScratchStore.withTemporary { scratch in
                    try await check.run(
                        BackendConformance { setup in
                            let options = RegistryOptions(ref: try Reference("\(address)/conformance:\(setup.cache)"))
                            return SignedCache(
                                RegistryCache(options, export: setup.export, scratch: scratch, client: client),
                                trust: trust)
                        })
                }
            }
        }
    }

    @Test("is found through its referrers or their tag, and refused without", arguments: [false, true])
    func forms(_ hasReferrers: Bool) async throws {
        let trust = try CacheTrust.test()
        let registry = Self.registry(hasReferrers)
        try await withCache(registry) { cache in
            let signed = SignedCache(cache, trust: trust)
            let sample = try SampleCache.chain(of: 2)
            try await signed.export(sample)
            registry.clearLog()
            let imported = try await signed.importCache(progress: .discarded)
            #expect(imported?.graph == sample.graph)
            let paths = registry.log.map(\.path)
            #expect(paths.contains { $0.contains("/manifests/sha256-") } == !hasReferrers)
            // A reader without a policy, as BuildKit, asks for nothing of it.
            registry.clearLog()
            _ = try await cache.importCache(progress: .discarded)
            #expect(!registry.log.contains { $0.path.contains("referrers") || $0.path.contains("sha256-") })
            // Countersigned by another key.
            let other = CacheTrust(signing: try CacheTrust.test(TestKeys.ed25519).signing)
            _ = try await cache.resign(trust: other, progress: .discarded)
            #expect(try await cache.listSignatures(verification: trust.verification).count == 2)
            try await cache.export(try SampleCache.diamond())
            let refused = try await signed.importCache(progress: .discarded)
            #expect(refused?.problems.map(\.kind).contains(.refusedCache) == true)
            #expect(refused?.graph.recordCount == 0)
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
