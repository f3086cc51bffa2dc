@testable import BuildCacheBytes
@testable import BuildCacheClient
@testable import BuildCacheCore
@testable import BuildCacheS3
@testable import BuildCacheSigning
@testable import BuildCacheSpec
@testable import BuildCacheTesting
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@Suite("A signed cache in S3")
struct SignedTests {
    @Test("costs two requests more to write and one to read, and is refused without its signature")
    func requests() async throws {
        let trust = try CacheTrust.test()
        let server = ObjectServer()
        try await server.run { makeCache, _ in
            let cache = makeCache(ExportOptions(mode: .max))
            let signed = SignedCache(cache, trust: trust)
            func count(_ body: () async throws -> Void) async throws -> Int {
                let before = server.requests.count
                try await body()
                return server.requests.count - before
            }
            try await signed.export(try SampleCache.chain(of: 2))
            #expect(server.keys.contains { $0.hasPrefix("signatures/sha256:") })
            let plainWrite = try await count { try await cache.export(try SampleCache.chain(of: 2)) }
            try await signed.export(try SampleCache.chain(of: 3))
            let signedWrite = try await count { try await signed.export(try SampleCache.chain(of: 2)) }
            // The signature of this document is there already, so its file is read before it is replaced.
            #expect(signedWrite <= plainWrite + 4)
            let plainRead = try await count { _ = try await cache.importCache(progress: .discarded) }
            let signedRead = try await count { _ = try await signed.importCache(progress: .discarded) }
            #expect(signedRead == plainRead + 1)
            let listed = try await cache.listSignatures(verification: trust.verification)
            #expect(listed.map(\.claims?.name) == ["s3:bkt/manifests/buildkit"])
            try await cache.export(try SampleCache.diamond())
            let imported = try await signed.importCache(progress: .discarded)
            #expect(imported?.problems.map(\.kind) == [.refusedCache])
        }
    }

    @Test("first written costs two requests more")
    func firstWrite() async throws {
        let trust = try CacheTrust.test()
        let counts = Mutex<[Int]>([])
        for isSigned in [false, true] {
            let server = ObjectServer()
            try await server.run { makeCache, _ in
                let cache = makeCache(ExportOptions(mode: .max))
                let signed = SignedCache(cache, trust: trust)
                try await signed.export(try SampleCache.chain(of: 2))
                let before = server.requests.count
                if isSigned {
                    try await signed.export(try SampleCache.chain(of: 3))
                } else {
                    try await cache.export(try SampleCache.chain(of: 3))
                }
                counts.withLock { $0.append(server.requests.count - before) }
            }
        }
        let found = counts.withLock { $0 }
        #expect(found[1] <= found[0] + 2)
    }

    @Test("is pruned with its signatures: a plan has the dead ones and no live one")
    func prune() async throws {
        let trust = try CacheTrust.test()
        let server = ObjectServer()
        try await server.run { makeCache, _ in
            let cache = makeCache(ExportOptions(mode: .max))
            let signed = SignedCache(cache, trust: trust)
            try await signed.export(try SampleCache.chain(of: 2))
            try await signed.export(try SampleCache.chain(of: 3))
            #expect(server.keys.count { $0.hasPrefix("signatures/") } == 2)
            let later = Timestamp(seconds: Timestamp.now().seconds + 365 * 86_400) ?? .zero
            let plan = try await cache.planPrune(Retention(gracePeriod: .seconds(30 * 86_400)), now: later)
            let live = try await cache.listSignatures(verification: trust.verification).map(\.document)
            let planned = plan.blobs.filter { $0.id.hasPrefix("signatures/") }.compactMap(\.digest)
            #expect(planned.count == 1)
            #expect(Set(planned).isDisjoint(with: live))
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
