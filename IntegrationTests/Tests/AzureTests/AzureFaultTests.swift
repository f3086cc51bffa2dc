@testable import BuildCacheAzure
@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGraph
@testable import BuildCacheHTTP
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
@testable import BuildCacheClient
import Synchronization
@testable import TestTools
import Testing

@Suite("A cache in Azure with something wrong")
struct AzureFaultTests {
    /// So large that it goes in blocks and comes in ranges.
    private static let large = SampleLayer(String(repeating: "0123456789", count: 2_000_000), isCompressed: false)

    // MARK: Containers

    @Test("does not make a container when it is only read, and makes it when it is written")
    func container() async throws {
        try await AzureBlobServer().run { server, url in
            try await withCache(server, url) { cache in
                #expect(try await cache.imported() == nil)
                #expect(server.names(in: "cache") == nil)
                _ = try await cache.export(try .diamond())
                #expect(server.names(in: "cache")?.count == 5)
            }
        }
    }

    // MARK: Credentials

    @Test("says clearly what is wrong with a key, a signature or a signature that ended")
    func refusals() async throws {
        try await AzureBlobServer().run { server, url in
            try await withCache(server, url) { cache in _ = try await cache.export(try .diamond()) }
            let other = try AzureBlobServer()
            var wrongKey = server.options(url)
            wrongKey.secretAccessKey = other.key
            var ended = server.options(
                try ServiceURL(url.base + "?sr=c&sp=r&sv=2021-12-02&se=2020-01-01T00%3A00%3A00Z&sig=hidden"))
            ended.secretAccessKey = nil
            for (options, words) in [
                (wrongKey, "the account key is another account's"), (ended, "ended at 2020-01-01"),
            ] {
                try await ScratchStore.withTemporary { scratch in
                    let cache = AzureBlobCache(options, scratch: scratch, client: AzureClient(transport: .immediate()))
                    let error = await #expect(throws: CacheError.self) { try await cache.imported() }
                    #expect(error?.code == .denied)
                    #expect(error?.message.contains(words) == true, "\(words)")
                    #expect(error.map { $0.debugDescription }?.contains("hidden") == false)
                }
            }
        }
    }

    @Test("can be read and written with a shared access signature; one that ends in the middle is a clear error")
    func sharedAccessSignature() async throws {
        try await AzureBlobServer().run { server, url in
            server.put([], as: "other", in: "cache")
            let sample = try SampleCache.single(Self.large)
            let signed = try server.signedURL(
                container: "cache", permissions: "rcw",
                expires: Timestamp(seconds: server.faults.now.seconds + 3600) ?? .zero, base: url)
            var options = server.options(signed)
            options.secretAccessKey = nil
            let settled = options
            try await ScratchStore.withTemporary { scratch in
                let cache = AzureBlobCache(settled, scratch: scratch, client: AzureClient(transport: .immediate()))
                _ = try await cache.export(sample)
                let found = try #require(try await cache.imported())
                #expect(try await found.blobs.bytes(of: Self.large.descriptor) == Self.large.stored)

                let reads = Mutex(0)
                server.faults.set { request in
                    guard request.headers["x-ms-range"] != nil else { return nil }
                    let count = reads.withLock { count in
                        count += 1
                        return count
                    }
                    if count == 3 { server.faults.advanceClock(bySeconds: 4000) }
                    return nil
                }
                let error = await #expect(throws: CacheError.self) {
                    try await found.blobs.bytes(of: Self.large.descriptor)
                }
                #expect(error?.code == .denied)
                #expect(error?.message.contains("shared access signature") == true)
                #expect(error.map { $0.debugDescription }?.contains("sig=") == false)
            }
        }
    }

    // MARK: Blobs

    @Test("counts archived layers as lost, says so, and the next export replaces them, whatever their size")
    func archivedLayers() async throws {
        try await AzureBlobServer().run { server, url in
            let sample = try SampleCache.diamond()
            let small = sample.layers[1]
            try await withCache(server, url) { cache in
                _ = try await cache.export(sample)
                _ = try await cache.export(try .single(Self.large))
                _ = try await cache.export(sample)
                let before = try #require(try await cache.imported())
                for layer in [small, Self.large] {
                    server.archive("a/b/blobs/\(layer.descriptor.digest)", in: "cache")
                }
                let error = await #expect(throws: CacheError.self) {
                    try await before.blobs.bytes(of: small.descriptor)
                }
                #expect(error?.code == .notFound)
                #expect((error?.cause as? ArchivedBlob)?.tier == "Archive")
                let found = try #require(try await cache.imported())
                #expect(found.graph == sample.graph.removingResults { $0.content == .blob(small.descriptor.digest) })
                #expect(found.problems.map(\.kind) == [.lostLayer])
                #expect(found.problems.first?.message.contains("is in the archive tier Archive,") == true)
                for (sample, layer) in [(sample, small), (try .single(Self.large), Self.large)] {
                    #expect(try await cache.export(sample).transfers[layer.descriptor.digest] == .written)
                    let healed = try #require(try await cache.imported())
                    #expect(healed.graph == sample.graph)
                    #expect(try await healed.blobs.bytes(of: layer.descriptor) == layer.stored)
                }
            }
        }
    }

    @Test("says of an archived config that it is that, and replaces it only if the caller allows that")
    func archivedConfig() async throws {
        try await AzureBlobServer().run { server, url in
            let sample = try SampleCache.chain(of: 2)
            try await withCache(server, url) { cache in
                _ = try await cache.export(sample)
                let config = try #require(server.names(in: "cache")?.first { $0.contains("/manifests/") })
                server.archive(config, in: "cache")
                let read = await #expect(throws: CacheError.self) { try await cache.imported() }
                #expect(read?.code == .notFound)
                #expect(read?.cause is ArchivedBlob)
                let written = await #expect(throws: CacheError.self) { try await cache.export(sample) }
                #expect(written?.code == .occupied)
                let plan = try await cache.planPrune(Retention(maximumAge: .zero))
                #expect(plan.removedNames == [])
                #expect(plan.problems.first?.message.contains("archived and cannot be read now") == true)
                for policy in [WritePolicy.replace, .merge] {
                    server.archive(config, in: "cache")
                    var options = ExportOptions(mode: .max, writePolicy: policy)
                    options.replacesOtherContent = true
                    try await ScratchStore.withTemporary { scratch in
                        let allowed = AzureBlobCache(
                            cache.options, export: options, scratch: scratch,
                            client: AzureClient(transport: .immediate()))
                        _ = try await allowed.export(sample)
                    }
                    #expect(try await cache.imported()?.graph == sample.graph)
                }
            }
        }
    }

    @Test("takes the placeholder of a folder for no cache, under a name and in a prune")
    func placeholders() async throws {
        try await AzureBlobServer().run { server, url in
            let sample = try SampleCache.chain(of: 2)
            try await withCache(server, url) { cache in
                _ = try await cache.export(sample)
                let config = try #require(server.names(in: "cache")?.first { $0.contains("/manifests/") })
                server.put([], as: config + "/nested", in: "cache")
                let plan = try await cache.planPrune(
                    Retention(maximumCount: 1), now: Timestamp(seconds: Timestamp.now().seconds + 86_400 * 30) ?? .zero)
                #expect(plan.removedNames == [])
                #expect(!plan.problems.contains { $0.kind == .keptBlobs })
                server.put([], as: config, in: "cache")
                #expect(try await cache.imported() == nil)
                _ = try await cache.export(sample)
                #expect(try await cache.imported()?.graph == sample.graph)
            }
        }
    }

    @Test("replaces a layer of which this process has read other bytes than its own")
    func damagedLayer() async throws {
        try await AzureBlobServer().run { server, url in
            let sample = try SampleCache.chain(of: 3)
            let victim = sample.layers[1]
            try await withCache(server, url) { cache in
                _ = try await cache.export(sample)
                let found = try #require(try await cache.imported())
                var bytes = victim.stored
                bytes[0] ^= 1
                server.put(bytes, as: "a/b/blobs/\(victim.descriptor.digest)", in: "cache")
                let error = await #expect(throws: CacheError.self) {
                    try await found.blobs.bytes(of: victim.descriptor)
                }
                #expect(error?.code == .corrupted)
                for outcome in [PutOutcome.written, .alreadyPresent] {
                    #expect(try await cache.export(sample).transfers[victim.descriptor.digest] == outcome)
                }
                let healed = try #require(try await cache.imported())
                #expect(healed.graph == sample.graph)
                #expect(try await healed.blobs.bytes(of: victim.descriptor) == victim.stored)
            }
        }
    }

    @Test("corrects a wrong clock by the service's, once for all requests; not by more than a day")
    func wrongClock() async throws {
        try await AzureBlobServer().run { server, url in
            server.put([1], as: "blob", in: "cache")
            let key = try SharedKey(account: server.account, key: server.key)
            for (seconds, isCorrected) in [(-1200, true), (5000, true), (90_000, false)] as [(Int64, Bool)] {
                server.faults.forgetRequests()
                let requests = BlobRequests(
                    AzureAuthorization.sharedKey(key), transport: .immediate(),
                    now: { Timestamp(seconds: Timestamp.now().seconds + seconds) ?? .zero })
                let blob = BlockBlob(try url.appending("/cache/blob"), requests)
                guard isCorrected else {
                    let error = await #expect(throws: CacheError.self) {
                        try await blob.properties(retries: requests.transport.retries())
                    }
                    #expect(error?.message.contains("the clock of this machine is off") == true)
                    continue
                }
                for _ in 0..<2 { #expect(try await blob.properties(retries: requests.transport.retries())?.size == 1) }
                #expect(server.faults.requests.count == 3)
            }
        }
    }

    @Test("misses blobs that are gone or cut short, and the next export heals")
    func missingBlobs() async throws {
        try await AzureBlobServer().run { server, url in
            let sample = try SampleCache.diamond()
            let gone = sample.layers[1].descriptor.digest
            let cut = sample.layers[2].descriptor.digest
            try await withCache(server, url) { cache in
                _ = try await cache.export(sample)
                let before = try #require(try await cache.imported())
                server.remove("a/b/blobs/\(gone)", in: "cache")
                server.put([1, 2, 3], as: "a/b/blobs/\(cut)", in: "cache")
                let error = await #expect(throws: CacheError.self) {
                    try await before.blobs.bytes(of: sample.layers[1].descriptor)
                }
                #expect(error?.code == .notFound)
                let after = try #require(try await cache.imported())
                #expect(after.problems.map(\.kind) == [.lostLayer, .lostLayer])
                #expect(
                    after.graph
                        == sample.graph.removingResults { $0.content == .blob(gone) || $0.content == .blob(cut) })
                let receipt = try await cache.export(sample)
                #expect(receipt.transfers.values.count { $0 == .written } == 2)
                let healed = try #require(try await cache.imported())
                #expect(healed.graph == sample.graph)
                for layer in sample.layers {
                    #expect(try await healed.blobs.bytes(of: layer.descriptor) == layer.stored)
                }
            }
        }
    }

    @Test("shows nothing of a blob whose upload broke off, and the next export brings all of it")
    func halfUploaded() async throws {
        try await AzureBlobServer().run { server, url in
            let sample = try SampleCache.single(Self.large)
            let name = "a/b/blobs/\(Self.large.descriptor.digest)"
            try await withCache(server, url) { cache in
                _ = try await cache.export(try .diamond())
                // The third block and all after it fail.
                let blocks = Mutex(0)
                server.faults.set { request in
                    guard request.query["comp"] == "block" else { return nil }
                    let count = blocks.withLock { count in
                        count += 1
                        return count
                    }
                    return count > 2 ? .answer(500) : nil
                }
                let error = await #expect(throws: CacheError.self) { try await cache.export(sample) }
                #expect(error?.code == .unavailable)
                #expect(server.bytes(name, in: "cache") == nil)
                server.faults.clear()
                _ = try await cache.export(sample)
                #expect(server.bytes(name, in: "cache") == Self.large.stored)
            }
        }
    }

    @Test(
        "takes a blob that somebody else has just stored for its own, whichever status says so", arguments: [409, 412])
    func storedMeanwhile(_ status: Int) async throws {
        try await AzureBlobServer().run { server, url in
            let sample = try SampleCache.diamond()
            try await withCache(server, url) { cache in
                server.faults.set { request in
                    guard request.method == "PUT", request.headers["if-none-match"] == "*",
                        request.path.contains("blobs")
                    else { return nil }
                    for layer in sample.layers where request.path.hasSuffix("\(layer.descriptor.digest)") {
                        server.put(layer.stored, as: "a/b/blobs/\(layer.descriptor.digest)", in: "cache")
                    }
                    return status == 409 ? nil : .answer(412)
                }
                let receipt = try await cache.export(sample)
                #expect(receipt.transfers.values.allSatisfy { $0 == .alreadyPresent })
                #expect(try await cache.imported()?.graph == sample.graph)
            }
        }
    }

    // MARK: Names

    @Test("never undoes a later write with a request that is sent again")
    func conditionalManifest() async throws {
        try await AzureBlobServer().run { server, url in
            let (old, ours, theirs) = (
                try SampleCache.diamond("old"), try SampleCache.diamond("ours"), try SampleCache.diamond("theirs")
            )
            try await withCache(server, url) { cache in
                _ = try await cache.export(theirs)
                let later = try #require(server.bytes("a/b/manifests/buildkit", in: "cache"))
                _ = try await cache.export(old)
                // Our write arrives and its answer does not; before we send it again, somebody else writes.
                let writes = Mutex(0)
                server.faults.set { request in
                    guard request.method == "PUT", request.path.contains("manifests") else { return nil }
                    let count = writes.withLock { count in
                        count += 1
                        return count
                    }
                    if count == 2 { server.put(later, as: "a/b/manifests/buildkit", in: "cache") }
                    return count == 1 ? .lostAnswer : nil
                }
                _ = try await cache.export(ours)
                // The repeated request met its condition not; what is there now was read before it was replaced.
                #expect(writes.withLock { $0 } == 3)
                #expect(server.faults.requests.last { $0.method == "PUT" }?.headers["if-match"] != nil)
                #expect(try await cache.imported()?.graph == ours.graph)
            }
        }
    }

    @Test("reads and unites all its names")
    func names() async throws {
        try await AzureBlobServer().run { server, url in
            let (one, other) = (try SampleCache.diamond("one"), try SampleCache.diamond("other"))
            try await ScratchStore.withTemporary { scratch in
                func cache(_ names: [String]) -> AzureBlobCache {
                    AzureBlobCache(server.options(url, names: names), scratch: scratch)
                }
                _ = try await cache(["one"]).export(one)
                _ = try await cache(["other", "third"]).export(other)
                var both = one.graph
                try both.merge(other.graph)
                #expect(try await cache(["one", "other", "none"]).imported()?.graph == both)
                #expect(try await cache(["third"]).imported()?.graph == other.graph)
                server.put(Array("{".utf8), as: "a/b/manifests/one", in: "cache")
                let found = try #require(try await cache(["one", "other"]).imported())
                #expect(found.graph == other.graph)
                #expect(found.problems.count == 1)
            }
        }
    }

    // MARK: Answers

    @Test("takes HTML with 503 and a storm of 429 for what they are")
    func storms() async throws {
        try await AzureBlobServer().run { server, url in
            let sample = try SampleCache.diamond()
            let seen = Mutex<[String: Int]>([:])
            server.faults.set { request in
                let count = seen.withLock { seen in
                    seen[request.method + request.path, default: 0] += 1
                    return seen[request.method + request.path, default: 0]
                }
                switch count % 4 {
                case 1: return .answer(503, headers: [("Content-Type", "text/html")], body: "<html>no</html>")
                case 2: return .answer(429, headers: [("Retry-After", "2")])
                default: return nil
                }
            }
            try await withCache(server, url) { cache in
                _ = try await cache.export(sample)
                #expect(try await cache.imported()?.graph == sample.graph)
                server.faults.set { _ in .answer(503, body: "<html>no</html>") }
                let error = await #expect(throws: CacheError.self) { try await cache.imported() }
                #expect(error?.code == .unavailable)
                #expect(error?.retry == .exhausted)
            }
        }
    }

    @Test("succeeds a hundred times in a row when one request in ten fails")
    func randomFaults() async throws {
        try await AzureBlobServer().run { server, url in
            try await withCache(server, url) { cache in
                for seed in 0..<100 {
                    let generator = Mutex(SeededGenerator(seed: UInt64(seed)))
                    server.faults.set { _ in
                        generator.withLock { generator in
                            guard Int.random(in: 0..<10, using: &generator) == 0 else { return nil }
                            let faults: [ServerFault] = [
                                .reset, .answer(500), .answer(503, body: "<html></html>"),
                                .answer(429, headers: [("Retry-After", "1")]), .truncated(after: 100), .lostAnswer,
                            ]
                            return faults.randomElement(using: &generator)
                        }
                    }
                    // Every tenth is large, to go in blocks.
                    let sample =
                        seed % 10 == 0
                        ? try SampleCache.single(
                            SampleLayer(String(repeating: "run \(seed)", count: 1_700_000), isCompressed: false))
                        : try SampleCache.diamond("run \(seed)")
                    _ = try await cache.export(sample)
                    let found = try #require(try await cache.imported())
                    #expect(found.graph == sample.graph, "seed \(seed)")
                    for layer in sample.layers {
                        #expect(try await found.blobs.bytes(of: layer.descriptor) == layer.stored, "seed \(seed)")
                    }
                }
            }
        }
    }

    @Test("takes a connection that stands still for broken, and reads the rest on another one")
    func stalls() async throws {
        try await AzureBlobServer().run { server, url in
            let sample = try SampleCache.single(Self.large)
            let clock = ManualClock()
            var transport = HTTPTransport.immediate()
            transport.clock = clock
            try await withCache(server, url, client: AzureClient(transport: transport)) { cache in
                _ = try await cache.export(sample)
                let found = try #require(try await cache.imported())
                let reads = Mutex(0)
                server.faults.set { request in
                    guard request.headers["x-ms-range"] != nil else { return nil }
                    let count = reads.withLock { count in
                        count += 1
                        return count
                    }
                    return count == 1 ? .stalled(after: 100) : nil
                }
                // So few bytes come in one range.
                let range = Int64(10)..<5_000_010
                let stream = try await found.blobs.open(Self.large.descriptor, range: range)
                async let bytes = stream.bytes
                // It looks four times within the limit, and a hundred bytes are as good as none.
                for _ in 0..<4 { await clock.step() }
                #expect(try await bytes == Array(Self.large.stored[10..<5_000_010]))
                #expect(reads.withLock { $0 } == 2)
            }
        }
    }
}
