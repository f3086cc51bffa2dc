@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGraph
@testable import BuildCacheOCI
@testable import BuildCacheTesting
@testable import BuildCacheClient
import NIOCore
@testable import TestServers
import Testing

@testable import BuildCacheRegistry

@Suite("A push")
struct PushTests {
    @Test("looks whether the blob is there, then sends it in one request")
    func smallBlob() async throws {
        let registry = FakeRegistry()
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(1000)
            let first = try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            #expect(registry.methods == ["HEAD", "POST", "PUT"])
            let second = try await repository.put(blob.descriptor, from: MemorySource([]))
            #expect([first, second] == [.written, .alreadyPresent])
            #expect(registry.openUploads == 0)
        }
    }

    @Test("goes on where the connection broke")
    func resumes() async throws {
        let registry = FakeRegistry()
        registry.manners.fault = { number, request in
            number == 3 && request.method == "PATCH" ? .reset(after: 5 * mebibyte) : nil
        }
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(20 * mebibyte)
            try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            let parts = registry.log.filter { $0.method == "PATCH" }.map { $0.headers["content-range"] ?? "" }
            #expect(parts == ["0-\(20 * mebibyte - 1)", "\(5 * mebibyte)-\(20 * mebibyte - 1)"])
            #expect(try await repository.stat(blob.descriptor.digest)?.size == blob.descriptor.size)
            #expect(registry.openUploads == 0)
        }
    }

    @Test("falls back to one request where parts are refused")
    func withoutParts() async throws {
        let registry = FakeRegistry()
        registry.manners.takesParts = false
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(17 * mebibyte)
            try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            #expect(try await repository.stat(blob.descriptor.digest)?.size == blob.descriptor.size)
        }
    }

    @Test("sends parts no smaller than the registry's minimum")
    func minimumParts() async throws {
        let registry = FakeRegistry()
        registry.manners.minimumPart = "\(6 * mebibyte)"
        try await withRepository(registry, profile: RegistryProfile(upload: .chunks(Int64(mebibyte)))) {
            repository, _, _ in
            let blob = makeBlob(17 * mebibyte)
            try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            let sizes = registry.log.filter { $0.method == "PATCH" }.compactMap {
                Int($0.headers["content-length"] ?? "")
            }
            #expect(sizes == [6 * mebibyte, 6 * mebibyte, 5 * mebibyte])
        }
    }

    @Test("sends parts where a request would be too large")
    func tooLarge() async throws {
        let registry = FakeRegistry()
        registry.manners.largestBody = 16 * mebibyte
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(33 * mebibyte)
            try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            #expect(try await repository.stat(blob.descriptor.digest)?.size == blob.descriptor.size)
        }
    }

    @Test("mounts what another repository of the registry has, and sends nothing")
    func mounts() async throws {
        let registry = FakeRegistry()
        try await withRepository(registry) { repository, client, address in
            let blob = makeBlob(1000)
            try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            registry.clearLog()
            let other = try await RegistryRepository(try Reference("\(address)/other:latest"), client: client)
            let outcome = try await other.put(blob.descriptor, from: MemorySource([]))
            #expect(outcome == .alreadyPresent)
            #expect(registry.methods == ["HEAD", "POST"])
            #expect(registry.log.last?.query["from"] == "app")
        }
    }

    @Test("of one blob by many at once sends it once")
    func once() async throws {
        let registry = FakeRegistry()
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(mebibyte)
            let outcomes = try await Array(repeating: (), count: 8).mapConcurrently(limit: 8) { _ in
                try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]), isMissing: true)
            }
            #expect(outcomes.count { $0 == .written } == 1)
            #expect(registry.methods.count { $0 == "PUT" } == 1)
        }
    }

    @Test("does not fail for those whose source is good when another's is not")
    func otherSource() async throws {
        let registry = FakeRegistry()
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(mebibyte)
            let good = MemorySource([blob.bytes])
            let bad = FaultySource(good, .changed(blob.descriptor.digest))
            let outcomes = try await (0..<6).map { $0 }.mapConcurrently(limit: 6) { number in
                try? await repository.put(blob.descriptor, from: number.isMultiple(of: 2) ? bad : good)
            }
            #expect(outcomes.enumerated().allSatisfy { $0.isMultiple(of: 2) || $1 != nil })
            let stored = try await repository.stat(blob.descriptor.digest)
            #expect(stored?.size == blob.descriptor.size)
        }
    }

    @Test("of a manifest waits for another writer's blob that makes the registry stumble")
    func stumbles() async throws {
        let registry = FakeRegistry()
        try await withRepository(registry) { repository, _, _ in
            registry.manners.fault = { number, _ in number < 3 ? .status(400, code: "DIGEST_INVALID") : nil }
            let manifest = RawDocument(mediaType: .ociManifest, bytes: Array("{}".utf8))
            try await repository.putManifest(manifest, as: .tag("cache"))
            #expect(registry.methods == ["PUT", "PUT", "PUT"])
            let stored = try await repository.manifest(.tag("cache"))
            #expect(stored?.digest == manifest.digest)
        }
    }

    @Test("never stores other bytes than those of the digest")
    func wrongBytes() async throws {
        let registry = FakeRegistry()
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(1000)
            let source = FaultySource(MemorySource([blob.bytes]), .changed(blob.descriptor.digest))
            let error = await #expect(throws: CacheError.self) {
                try await repository.put(blob.descriptor, from: source)
            }
            #expect(error?.code == .corrupted)
            let stored = try await repository.stat(blob.descriptor.digest)
            #expect(stored == nil)
            #expect(registry.openUploads == 0)
        }
    }

    @Test("says which option to set when the registry takes no index")
    func refusedIndex() async throws {
        let registry = FakeRegistry()
        registry.manners.fault = { _, request in
            request.method == "PUT" && request.path.contains("/manifests/") ? .status(400) : nil
        }
        try await withCache(registry, layout: .ociIndex) { cache in
            let sample = try SampleCache.diamond()
            let error = await #expect(throws: CacheError.self) {
                try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            }
            #expect(error?.code == .unsupported)
            #expect(error?.message.contains("image-manifest=true") == true)
        }
    }

    @Test("asks at most twelve times when there is nothing new, and writes nothing")
    func nothingNew() async throws {
        let registry = FakeRegistry()
        try await withCache(registry) { cache in
            let sample = try SampleCache.chain(of: 8)
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            registry.clearLog()
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            #expect(registry.log.count <= 12)
            #expect(registry.methods.allSatisfy { ["HEAD", "GET"].contains($0) })
        }
    }
}

@Suite("A pull")
struct PullTests {
    @Test("asks for what is missing when an answer ends early")
    func resumes() async throws {
        let registry = FakeRegistry()
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(3 * mebibyte)
            try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            registry.clearLog()
            registry.manners.fault = { number, _ in number == 1 ? .truncation(after: mebibyte) : nil }
            var bytes: [UInt8] = []
            for try await chunk in try await repository.open(blob.descriptor, range: nil) {
                bytes += chunk.readableBytesView
            }
            #expect(bytes == blob.bytes)
            #expect(registry.log.count == 2)
            let range = registry.log.last?.headers["range"] ?? ""
            #expect(range.hasPrefix("bytes=") && !range.hasPrefix("bytes=0-"))
        }
    }

    @Test("fetches a large blob in several ranges, in order", arguments: [true, false])
    func ranges(_ knowsRanges: Bool) async throws {
        let registry = FakeRegistry()
        registry.manners.knowsRanges = knowsRanges
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(21 * mebibyte + 7)
            try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            registry.clearLog()
            var bytes: [UInt8] = []
            for try await chunk in try await repository.open(blob.descriptor, range: nil) {
                bytes += chunk.readableBytesView
            }
            #expect(bytes == blob.bytes)
            #expect(registry.log.count == (knowsRanges ? 6 : 1))
        }
    }

    @Test("of a layer that is lost costs the results with it, and says so")
    func lostBlob() async throws {
        let registry = FakeRegistry()
        try await withCache(registry) { cache in
            let sample = try SampleCache.chain(of: 3)
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            registry.manners.lostBlobs = [sample.layers[2].descriptor.digest.description]
            let known = try #require(try await cache.importCache(progress: .discarded))
            #expect(known.graph.recordCount == sample.graph.recordCount)
            #expect(try known.graph.recordIDs.reduce(0) { try $0 + known.graph[$1].results.count } == 2)
            #expect(known.problems.map(\.kind) == [.lostLayer])
        }
    }

    @Test("refuses a manifest that is not what the registry says it is")
    func wrongDigest() async throws {
        let registry = FakeRegistry()
        try await withCache(registry) { cache in
            let sample = try SampleCache.diamond()
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            registry.manners.namesWrongDigests = true
            let error = await #expect(throws: CacheError.self) {
                try await cache.importCache(progress: .discarded)
            }
            #expect(error?.code == .corrupted)
        }
    }

    @Test("asks a mirror first, and the registry itself for what the mirror does not have")
    func mirrors() async throws {
        let (registry, mirror) = (FakeRegistry(), FakeRegistry())
        try await withServer(mirror.respond) { mirrorAddress in
            try await withServer(registry.respond) { address in
                let hosts = [address: RegistryHost(plainHTTP: true, mirrors: ["\(mirrorAddress)/copies"])]
                try await RegistryClient.forTests(hosts: hosts) { client in
                    let reference = try Reference("\(address)/app:latest")
                    let repository = try await RegistryRepository(reference, client: client)
                    let blob = makeBlob(100)
                    try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
                    #expect(mirror.log.isEmpty)
                    #expect(try await repository.stat(blob.descriptor.digest)?.size == 100)
                    #expect(mirror.log.map(\.path) == ["/v2/copies/app/blobs/\(blob.descriptor.digest)"])
                    #expect(mirror.log.first?.query["ns"] == address)
                }
            }
        }
    }
}

@Suite("With one request in ten failing at random")
struct RandomFaultTests {
    @Test("100 exports and imports in a row succeed and verify")
    func hundredRounds() async throws {
        let (registry, faults) = (FakeRegistry(), RandomFaults(seed: 20_261_123))
        registry.manners.fault = { _, _ in faults.next() }
        try await withCache(registry) { cache in
            for round in 0..<100 {
                let sample = try SampleCache.diamond("round \(round)")
                _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
                let known = try #require(try await cache.importCache(progress: .discarded))
                #expect(known.graph == sample.graph)
                for layer in sample.layers {
                    var bytes: [UInt8] = []
                    for try await chunk in try await known.blobs.open(layer.descriptor, range: nil) {
                        bytes += chunk.readableBytesView
                    }
                    #expect(bytes == layer.stored)
                }
            }
        }
    }
}
