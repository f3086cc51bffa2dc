import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheGraph
import BuildCacheSigning
import BuildCacheTesting
import Foundation
import TestTools
import Testing

/// The rows of the table of threats, `Documentation/Spec/signing.md` §9, against stores.
@Suite("An attacker with the rights of a store")
struct StoreAttackTests {
    @Test("a PR's job writes main's cache: readers refuse it, with a problem that says why")
    func pullRequest() async throws {
        try await SignedMemory.with { memory in
            let main = try CacheTrust.test()
            try await memory.cache(main).export(try SampleCache.chain(of: 2))
            for trust in [CacheTrust(), try .test(TestKeys.otherEd25519)] {
                try await memory.cache(trust).export(try SampleCache.diamond())
                let client = CacheClient(sources: [
                    .init(name: "main", importer: memory.cache(main).base, verification: main.verification)
                ])
                let report = try await client.importCaches()
                #expect(report.graph.recordCount == 0)
                let problem = try #require(report.problems.first)
                #expect(problem.kind == .refusedCache)
                #expect(problem.code == .untrusted)
                #expect(problem.endpoint == "main")
            }
        }
    }

    @Test("store or registry taken over, new document: a miss, or an error where asked")
    func newDocument() async throws {
        try await SignedMemory.with { memory in
            var trust = try CacheTrust.test()
            try await memory.cache(trust).export(try SampleCache.chain(of: 2))
            memory.store.write(Array("{}".utf8), as: "main")
            #expect(try await memory.cache(trust).imports(try SampleCache.chain(of: 2)) == nil)
            trust.verification.refusal = .error
            let error = await #expect(throws: CacheError.self) {
                try await memory.cache(trust).importCache(progress: .discarded)
            }
            #expect(error?.code == .untrusted)
        }
    }

    @Test("old signed document put back: the memory refuses it, and a fresh machine until the maximum age does not")
    func replay() async throws {
        try await SignedMemory.with { memory in
            let trust = try CacheTrust.test { $0.memory = SignatureMemory() }
            try await memory.cache(trust).export(try SampleCache.chain(of: 2))
            let old = memory.document()
            try await memory.cache(trust).export(try SampleCache.chain(of: 3))
            #expect(try await memory.cache(trust).imports(try SampleCache.chain(of: 3)) == true)
            memory.store.write(old, as: "main")
            #expect(try await memory.cache(trust).imports(try SampleCache.chain(of: 2)) == nil)
            #expect(try await memory.cache(try .test()).imports(try SampleCache.chain(of: 2)) == true)
            let late = try CacheTrust.test { policy in
                policy.now = { Timestamp(seconds: Timestamp.now().seconds + 31 * 86_400) ?? .zero }
            }
            #expect(try await memory.cache(late).imports(try SampleCache.chain(of: 2)) == nil)
        }
    }

    @Test("signed document of another name served: the name refuses it")
    func otherName() async throws {
        try await SignedMemory.with { memory in
            let trust = try CacheTrust.test()
            try await memory.cache(trust, "pr").export(try SampleCache.diamond())
            try await memory.cache(trust, "main").export(try SampleCache.chain(of: 2))
            memory.store.write(memory.document("pr"), as: "main")
            #expect(try await memory.cache(trust, "main").imports(try SampleCache.diamond()) == nil)
            #expect(try await memory.cache(trust, "pr").imports(try SampleCache.diamond()) == true)
        }
    }

    @Test("layers or config exchanged: the digests under the signed document refuse them")
    func layers() async throws {
        let directory = try TemporaryDirectory()
        try await ScratchStore.withTemporary { scratch in
            let trust = try CacheTrust.test()
            let cache = SignedCache(try LocalCache(LocalOptions(dest: directory.path), scratch: scratch), trust: trust)
            let sample = try SampleCache.chain(of: 2)
            try await cache.export(sample)
            let blobs = directory.path + "/blobs/sha256/"
            var layersRead = 0
            for name in try FileManager.default.contentsOfDirectory(atPath: blobs) {
                let path = blobs + name
                let good = try Data(contentsOf: URL(fileURLWithPath: path))
                var bad = good
                bad[bad.count / 2] ^= 1
                try replace(path, bad)
                // The manifest is refused, the config is damaged, and a layer fails when it is read.
                if let read = try? await cache.importCache(progress: .discarded) {
                    #expect(read.graph == sample.graph || !read.problems.isEmpty)
                    if read.graph == sample.graph {
                        layersRead += 1
                        await #expect(throws: CacheError.self) {
                            for layer in sample.layers {
                                _ = try await read.blobs.bytes(of: layer.descriptor, limit: 1 << 20)
                            }
                        }
                    }
                }
                try replace(path, good)
            }
            #expect(layersRead == sample.layers.count)
            #expect(try await cache.imports(sample) == true)
        }
    }

    private func replace(_ path: String, _ bytes: Data) throws {
        try FileManager.default.removeItem(atPath: path)
        try bytes.write(to: URL(fileURLWithPath: path))
    }

    @Test("signature taken away: required refuses it, and only ifPresent does not")
    func stripped() async throws {
        try await SignedMemory.with { memory in
            var trust = try CacheTrust.test()
            let sample = try SampleCache.chain(of: 2)
            try await memory.cache(trust).export(sample)
            memory.store.writeSignatureFile(nil, of: Digest(of: memory.document()))
            #expect(try await memory.cache(trust).imports(sample) == nil)
            trust.verification.mode = .ifPresent
            #expect(try await memory.cache(trust).imports(sample) == true)
        }
    }

    @Test("oversized or garbage signature file: refused")
    func garbage() async throws {
        try await SignedMemory.with { memory in
            let trust = try CacheTrust.test()
            let sample = try SampleCache.chain(of: 2)
            try await memory.cache(trust).export(sample)
            let document = Digest(of: memory.document())
            let good = memory.store.signatureFile(of: document) ?? []
            for bytes in [
                Array("garbage".utf8), [], [UInt8](repeating: 0, count: 1 << 20),
                good + [UInt8](repeating: UInt8(ascii: " "), count: 1 << 20),
                Array(repeating: good, count: 17).flatMap { $0 },
            ] {
                memory.store.writeSignatureFile(bytes, of: document)
                #expect(try await memory.cache(trust).imports(sample) == nil)
            }
        }
    }

    @Test(
        "each byte of the document and of its signature file flipped, cut or doubled: refused, or the very same cache")
    func flips() async throws {
        try await SignedMemory.with { memory in
            let trust = try CacheTrust.test()
            let sample = try SampleCache.step("flipped")
            try await memory.cache(trust).export(sample)
            let (document, digest) = (memory.document(), Digest(of: memory.document()))
            let file = memory.store.signatureFile(of: digest) ?? []
            for (bytes, isDocument) in [(document, true), (file, false)] {
                for index in bytes.indices {
                    var flipped = bytes
                    flipped[index] ^= 1 << UInt8(index % 8)
                    for changed in index % 16 == 0 ? [flipped, Array(bytes.prefix(index)), bytes + bytes] : [flipped] {
                        if isDocument {
                            memory.store.write(changed, as: "main")
                        } else {
                            memory.store.writeSignatureFile(changed, of: digest)
                        }
                        let outcome = try await memory.cache(trust).imports(sample)
                        if isDocument, !changed.isEmpty { #expect(outcome == nil, "byte \(index)") }
                        if !isDocument { #expect(outcome != false, "byte \(index)") }
                    }
                }
                memory.store.write(document, as: "main")
                memory.store.writeSignatureFile(file, of: digest)
            }
            #expect(try await memory.cache(trust).imports(sample) == true)
        }
    }

    @Test("nothing of a document is parsed before it is verified: one past all limits is refused by its signature")
    func unparsed() async throws {
        try await SignedMemory.with { memory in
            let trust = try CacheTrust.test()
            for text in [String(repeating: "[", count: 100_000), "", "\u{0}", #"{"layers":[{"blob":1}]}"#]
            where !text.isEmpty {
                memory.store.write(Array(text.utf8), as: "main")
                #expect(try await memory.cache(trust).imports(try SampleCache.chain(of: 1)) == nil)
                // As control: without a policy it is parsed, and fails for what it is.
                await #expect(throws: CacheError.self) {
                    try await memory.cache(CacheTrust()).importCache(progress: .discarded)
                }
            }
        }
    }

    @Test("a prune keeps the signatures of live names, and removes those of dead ones", arguments: [false, true])
    func prune(_ isLocal: Bool) async throws {
        let directory = try TemporaryDirectory()
        try await ScratchStore.withTemporary { scratch in
            let (memory, trust) = (SignedMemory(scratch: scratch), try CacheTrust.test())
            let local = SignedCache(try LocalCache(LocalOptions(dest: directory.path), scratch: scratch), trust: trust)
            let cache: any PrunableBackend = isLocal ? local : memory.cache(trust)
            func signatures() async throws -> Int {
                let store = try await cache.openForPruning(isReadOnly: true)
                defer { store.close() }
                guard case .listed(let blobs) = try await store.blobs() else { return 0 }
                return blobs.count { $0.id.hasPrefix("signatures/") }
            }
            try await cache.export(try SampleCache.chain(of: 2))
            try await cache.export(try SampleCache.chain(of: 3))
            #expect(try await signatures() == 2)
            let later = Timestamp(seconds: Timestamp.now().seconds + 365 * 86_400) ?? .zero
            try await cache.prune(try await cache.planPrune(Retention(), now: later))
            #expect(try await signatures() == 1)
            let imported = try await cache.importCache(progress: .discarded)
            #expect(imported?.graph == (try SampleCache.chain(of: 3)).graph)
            imported?.close()
            try await cache.prune(try await cache.planPrune(Retention(maximumCount: 0), now: later))
            #expect(try await signatures() == 0)
        }
    }

    @Test("a list of signatures tells signer, claims and verdict")
    func list() async throws {
        try await SignedMemory.with { memory in
            let trust = try CacheTrust.test()
            try await memory.cache(trust).export(try SampleCache.chain(of: 2))
            let base = memory.cache(trust).base
            let listed = try await base.listSignatures(verification: trust.verification)
            #expect(listed.map(\.verdict) == [.good(signer: try KeySigner.test().hint)])
            #expect(listed.first?.claims?.name == "memory:main")
            let other = try CacheTrust.test(TestKeys.p256)
            guard case .refused = try await base.listSignatures(verification: other.verification).first?.verdict else {
                Issue.record("a signature of an unknown key is listed as good")
                return
            }
        }
    }
}
