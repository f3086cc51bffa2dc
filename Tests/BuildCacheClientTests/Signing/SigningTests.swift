import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheGraph
import BuildCacheSigning
import BuildCacheTesting
import Synchronization
import TestTools
import Testing

@Suite("A signed export")
struct SigningTests {
    @Test("states its place, time and sequence, and the document that it replaces")
    func history() async throws {
        try await SignedMemory.with { memory in
            var trust = try CacheTrust.test()
            let now = Mutex(try Timestamp("2026-01-02T03:04:05Z"))
            trust.signing?.now = { now.withLock { $0 } }
            trust.verification.now = { now.withLock { $0 } }
            let cache = memory.cache(trust)
            try await cache.export(try SampleCache.chain(of: 2))
            #expect(
                memory.claims()
                    == SignatureClaims(
                        name: "memory:main", signedAt: try Timestamp("2026-01-02T03:04:05Z"), sequence: 1))
            let first = Digest(of: memory.document())
            now.withLock { $0 = Timestamp(seconds: $0.seconds + 60) ?? $0 }
            try await cache.export(try SampleCache.chain(of: 3))
            #expect(memory.claims()?.sequence == 2)
            #expect(memory.claims()?.previous == first)
            #expect(memory.claims()?.signedAt.description == "2026-01-02T03:05:05Z")
            // The same document again is the same step of its history, with a newer time.
            now.withLock { $0 = Timestamp(seconds: $0.seconds + 60) ?? $0 }
            try await cache.export(try SampleCache.chain(of: 3))
            #expect(memory.file().lines.count == 1)
            #expect(memory.claims()?.sequence == 2)
            #expect(memory.claims()?.previous == first)
            #expect(memory.claims()?.signedAt.description == "2026-01-02T03:06:05Z")
        }
    }

    @Test("goes on where readers with a memory are, if the signatures that were there are lost")
    func lostHistory() async throws {
        try await SignedMemory.with { memory in
            let trust = try CacheTrust.test { $0.memory = SignatureMemory() }
            let cache = memory.cache(trust)
            for count in 1...3 {
                try await cache.export(try SampleCache.chain(of: count))
                #expect(try await cache.imports(try SampleCache.chain(of: count)) == true)
            }
            memory.store.writeSignatureFile(nil, of: Digest(of: memory.document()))
            try await cache.export(try SampleCache.chain(of: 4))
            #expect(try await cache.imports(try SampleCache.chain(of: 4)) == true)
        }
    }

    @Test("of a signer that fails, lies, repeats itself or returns nothing publishes nothing", arguments: 0..<6)
    func badSigner(_ kind: Int) async throws {
        try await SignedMemory.with { memory in
            let good = try CacheTrust.test()
            try await memory.cache(good).export(try SampleCache.chain(of: 2))
            let before = memory.document()
            let signer = ScriptedSigner(base: try .test()) { statement, key in
                var claims = statement.claims
                switch kind {
                case 0: throw CacheError(.unavailable, "the key service is down")
                case 1: return []
                case 2: return try await KeySigner.test(TestKeys.p256).sign(statement)
                case 3: return try await key.sign(SignedStatement(document: [1], claims: claims))
                case 4:
                    claims.name = "memory:other"
                    return try await key.sign(SignedStatement(document: statement.document, claims: claims))
                default:
                    claims.sequence += 1
                    return try await key.sign(SignedStatement(document: statement.document, claims: claims))
                }
            }
            let trust = CacheTrust(signing: SigningPolicy(signers: [signer]))
            let error = await #expect(throws: CacheError.self) {
                try await memory.cache(trust).export(try SampleCache.diamond())
            }
            #expect(error?.code == (kind == 0 ? .unavailable : .untrusted))
            #expect(memory.document() == before)
            #expect(try await memory.cache(good).imports(try SampleCache.chain(of: 2)) == true)
        }
    }

    @Test("of a signer that hangs ends with its task, and publishes nothing")
    func hangingSigner() async throws {
        try await SignedMemory.with { memory in
            let (hangs, hasBegun) = AsyncStream<Void>.makeStream()
            let signer = ScriptedSigner(base: try .test()) { _, _ in
                hasBegun.yield()
                for await _ in AsyncStream<Never>.makeStream().stream {}
                throw CancellationError()
            }
            let cache = memory.cache(CacheTrust(signing: SigningPolicy(signers: [signer])))
            let export = Task { try await cache.export(try SampleCache.chain(of: 2)) }
            for await _ in hangs { break }
            export.cancel()
            await #expect(throws: CancellationError.self) { try await export.value }
            #expect(memory.document().isEmpty)
        }
    }

    @Test("is seen by a reader between any two of its steps as the cache from before or the new one")
    func readersBetween() async throws {
        try await SignedMemory.with { memory in
            let trust = try CacheTrust.test()
            let (old, new) = (try SampleCache.chain(of: 2), try SampleCache.chain(of: 3))
            let reader = memory.cache(trust)
            try await reader.export(old)
            let seen = Mutex<[Bool]>([])
            let writer = memory.cache(trust) {
                let isOld = try await reader.imports(old)
                let isNew = try await reader.imports(new)
                seen.withLock { $0.append(isOld == true || isNew == true) }
            }
            try await writer.export(new)
            #expect(seen.withLock { $0.count } > 4)
            #expect(seen.withLock { $0.allSatisfy { $0 } })
        }
    }

    @Test("costs two steps more at the store than one that is not")
    func steps() async throws {
        try await SignedMemory.with { memory in
            func steps(_ trust: CacheTrust) async throws -> Int {
                let count = Mutex(0)
                try await memory.cache(trust) { count.withLock { $0 += 1 } }.export(try SampleCache.chain(of: 3))
                return count.withLock { $0 }
            }
            let signed = try CacheTrust.test()
            try await memory.cache(signed).export(try SampleCache.chain(of: 2))
            let plain = try await steps(CacheTrust())
            try await memory.cache(signed).export(try SampleCache.chain(of: 2))
            #expect(try await steps(signed) <= plain + 2)
        }
    }

    @Test("with several keys is accepted by readers of any, and counts against a threshold")
    func rotation() async throws {
        try await SignedMemory.with { memory in
            let (old, new) = (try KeySigner.test(), try KeySigner.test(TestKeys.p256))
            let sample = try SampleCache.diamond()
            try await memory.cache(CacheTrust(signing: SigningPolicy(signers: [old, new]))).export(sample)
            for (keys, threshold) in [([old], 1), ([new], 1), ([old, new], 2)] {
                let policy = VerificationPolicy(.required, verifiers: keys.map(\.verifier), threshold: threshold)
                #expect(try await memory.cache(CacheTrust(verification: policy)).imports(sample) == true)
            }
            let other = try KeySigner.test(TestKeys.otherEd25519)
            let policy = VerificationPolicy(.required, verifiers: [old.verifier, other.verifier], threshold: 2)
            #expect(try await memory.cache(CacheTrust(verification: policy)).imports(sample) == nil)
        }
    }

    @Test("of a merge takes nothing that is not signed, and says so", arguments: [false, true])
    func merge(_ hasPolicy: Bool) async throws {
        try await SignedMemory.with { memory in
            var trust = try CacheTrust.test()
            try await memory.cache(trust, writePolicy: .merge).export(try SampleCache.step("good"))
            // Another job, without the key, adds its records.
            try await memory.cache(CacheTrust(), writePolicy: .merge).export(try SampleCache.step("poison"))
            if !hasPolicy { trust.verification = .off }
            let receipt = try await memory.cache(trust, writePolicy: .merge).export(try SampleCache.step("new"))
            #expect(receipt.problems.contains { $0.kind == .refusedCache })
            #expect(try await memory.cache(try .test()).imports(try SampleCache.step("new")) == true)
            // What is signed is merged.
            let next = try await memory.cache(trust, writePolicy: .merge).export(try SampleCache.step("next"))
            #expect(next.problems.isEmpty)
            let merged = try await memory.cache(try .test()).importCache(progress: .discarded)
            #expect(merged?.graph.recordCount == 3)
        }
    }

    @Test("is renewed and countersigned by name, without moving a layer")
    func resign() async throws {
        try await SignedMemory.with { memory in
            let (first, second) = (try CacheTrust.test(), try CacheTrust.test(TestKeys.p256))
            let sample = try SampleCache.diamond()
            try await memory.cache(first).export(sample)
            try await memory.cache(first).export(try SampleCache.chain(of: 2))
            let layers = memory.store.digests
            var trust = second
            trust.verification = first.verification
            let client = CacheClient(destinations: [
                CacheClient.Destination(name: "main", exporter: memory.cache(CacheTrust()).base, trust: trust)
            ])
            let signed = try await client.resign(["main"])
            #expect(signed == ["main": Digest(of: memory.document())])
            #expect(memory.store.digests == layers)
            #expect(memory.file().lines.count == 2)
            #expect(Set(memory.file().bundles.compactMap { $0.unverifiedClaims?.sequence }) == [2])
            #expect(try await memory.cache(second).imports(try SampleCache.chain(of: 2)) == true)
            #expect(try await memory.cache(first).imports(try SampleCache.chain(of: 2)) == true)
            // A document that the policy refuses is not signed.
            memory.store.writeSignatureFile(nil, of: Digest(of: memory.document()))
            let error = await #expect(throws: CacheError.self) { try await client.resign() }
            #expect(error?.code == .untrusted)
            #expect(memory.file().lines.isEmpty)
            await #expect(throws: CacheError.self) { try await client.resign(["unknown"]) }
        }
    }

    @Test("that is copied states where it comes from, and its old signatures go along with the same bytes")
    func copy() async throws {
        try await SignedMemory.with { memory in
            let (source, target) = (try CacheTrust.test(), try CacheTrust.test(TestKeys.p256))
            let sample = try SampleCache.diamond()
            try await memory.cache(source, "a").export(sample)
            func client(_ verification: VerificationPolicy) -> CacheClient {
                CacheClient(
                    sources: [.init(name: "a", importer: memory.cache(source, "a").base, verification: verification)],
                    destinations: [.init(name: "b", exporter: memory.cache(target, "b").base, trust: target)])
            }
            let report = try await client(source.verification).copyCaches()
            try report.exported.check()
            let claims = memory.file(of: "b").bundles.compactMap(\.unverifiedClaims).first { $0.name == "memory:b" }
            #expect(claims?.copiedFrom == Digest(of: memory.document("a")))
            #expect(claims?.copiedSigner == (try KeySigner.test().hint))
            #expect(try await memory.cache(target, "b").imports(sample) == true)
            var policy = source.verification
            policy.names = ["memory:a"]
            #expect(memory.document("a") == memory.document("b"))
            #expect(try await memory.cache(CacheTrust(verification: policy), "b").imports(sample) == true)
            // A source that its policy refuses is not copied.
            let error = await #expect(throws: CacheError.self) { try await client(target.verification).copyCaches() }
            #expect(error?.code == .untrusted)
        }
    }

    @Test("and its import are refused by backends without signatures")
    func unsupported() async throws {
        let trust = try CacheTrust.test()
        let client = CacheClient(
            sources: [.init(name: "a", importer: ScriptedBackend(), verification: trust.verification)],
            destinations: [.init(name: "b", exporter: ScriptedBackend(), trust: trust)])
        let imported = try await client.importCaches()
        let exported = try await client.exportCaches(LayerGraph(), from: LayerSource(blobs: MemorySource([])))
        for result in [
            imported.outcomes.map { $0.result.map { _ in () } }, exported.outcomes.map { $0.result.map { _ in () } },
        ] {
            guard case .failure(let error) = result.first else {
                Issue.record("a backend without signatures was used")
                continue
            }
            #expect(error.code == .unsupported)
        }
    }
}
