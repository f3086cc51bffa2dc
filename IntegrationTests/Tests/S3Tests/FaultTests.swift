@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGraph
@testable import BuildCacheHTTP
@testable import BuildCacheS3
@testable import BuildCacheSpec
@testable import BuildCacheTesting
@testable import BuildCacheClient
import NIOCore
import NIOHTTP1
@testable import TestServers
import Testing

extension SeaweedFSTests {
    /// Layers of which some go in parts, with the client that cuts them small.
    private static func layers(_ seed: Int) -> [SampleLayer] {
        // Services want parts of 5 MiB, but for the last one.
        [3_000, 150_000, 5_500_000].map { size in
            SampleLayer(String(repeating: "\(seed) \(size) ", count: size / 8), isCompressed: false)
        }
    }

    private static let client: S3Client = {
        var transport = HTTPTransport.shared
        transport.retry = RetryPolicy(firstPause: .milliseconds(1), longestPause: .milliseconds(4))
        var client = S3Client(environment: .empty, transport: transport)
        client.parts.threshold = 5 << 20
        client.parts.size = 5 << 20
        return client
    }()

    private static func graph(_ layers: [SampleLayer]) throws -> LayerGraph {
        var graph = LayerGraph()
        let root = try graph.addRecord(.record(content: Digest(of: "root".utf8)))
        for layer in layers {
            let id = try graph.addLayer(layer.descriptor)
            try graph.addRecord(
                .record(operation: layer.descriptor.digest, output: 0), inputs: [[Link(root)]],
                results: [CacheResult(layer: id, createdAt: .zero)])
        }
        return graph
    }

    @Test("survives a hundred exports and imports in which one request in ten fails, and leaves no upload behind")
    func faults() async throws {
        let real = try #require(S3TestServer.current).address
        var faults = 0
        for seed in 0..<100 {
            var options = try S3TestServer.options(prefix: "faults-\(seed)/")
            options.retryMaxAttempts = 12
            let layers = SeaweedFSTests.layers(seed)
            let graph = try SeaweedFSTests.graph(layers)
            let faulty = FaultyServer(before: real, failingOneIn: 10, seed: UInt64(seed + 1))
            let given = options
            try await withServer(faulty.respond) { address in
                var options = given
                options.endpointURL = try ServiceURL("http://\(address)")
                try await roundTrip(graph, layers, options)
            }
            faults += faulty.faults
            let bucket = try await S3Bucket(options, client: SeaweedFSTests.client)
            #expect(try await bucket.uploads(options.prefix).isEmpty, "seed \(seed)")
        }
        #expect(faults > 100)
    }

    private func roundTrip(_ graph: LayerGraph, _ layers: [SampleLayer], _ options: S3Options) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = S3Cache(
                options, export: ExportOptions(mode: .max), scratch: scratch, client: SeaweedFSTests.client)
            let receipt = try await cache.exportCache(
                graph, from: LayerSource(blobs: MemorySource(layers.map(\.stored))), progress: .discarded)
            #expect(receipt.published.count == 1)
            let found = try #require(try await cache.importCache(progress: .discarded))
            #expect(found.graph == graph)
            #expect(found.problems == [])
            for layer in layers {
                var bytes: [UInt8] = []
                for try await chunk in try await found.blobs.open(layer.descriptor, range: nil) {
                    bytes += Array(buffer: chunk)
                }
                #expect(bytes == layer.stored)
            }
        }
    }

    @Test("shows the uploads that nobody has ended")
    func showsUploads() async throws {
        let options = try S3TestServer.options()
        let bucket = try await S3Bucket(options, client: SeaweedFSTests.client)
        let key = bucket.keys.blob(Digest(of: "never ended".utf8))
        var request = S3Request(.POST, key, permission: "")
        request.query = [("uploads", "")]
        await (try await bucket.send(request)).discard()
        #expect(try await bucket.uploads(options.prefix).map(\.key) == [key])

        // An export of the next day clears it away, one of today leaves it to who may still be at work on it.
        for (age, count) in [(Int64(0), 1), (-1, 0)] {
            var client = SeaweedFSTests.client
            if age != 0 { client.leftoverAge = age }
            let given = client
            var other = options
            other.names = ["name \(age)"]
            let names = other
            let fresh = try SampleCache.diamond("\(age)")
            try await ScratchStore.withTemporary { scratch in
                _ = try await S3Cache(names, export: ExportOptions(mode: .max), scratch: scratch, client: given)
                    .exportCache(fresh.graph, from: fresh.source, progress: .discarded)
            }
            #expect(try await bucket.uploads(options.prefix).count == count)
        }
    }

    @Test("leaves no upload behind when a layer breaks off, has other bytes, or the export is cancelled")
    func aborts() async throws {
        let options = try S3TestServer.options()
        let bucket = try await S3Bucket(options, client: SeaweedFSTests.client)
        let layers = SeaweedFSTests.layers(1000)
        let graph = try SeaweedFSTests.graph(layers)
        let blobs = MemorySource(layers.map(\.stored))
        let large = layers[2].descriptor.digest
        try await ScratchStore.withTemporary { scratch in
            let cache = S3Cache(
                options, export: ExportOptions(mode: .max), scratch: scratch, client: SeaweedFSTests.client)
            for number in 1...3 {
                // New ones each time, because those that got through are not read again.
                let layers = SeaweedFSTests.layers(2000 + number)
                let source = FaultySource(MemorySource(layers.map(\.stored)), .reading(number, after: 5_400_000))
                let graph = try SeaweedFSTests.graph(layers)
                await #expect(throws: CacheError.self) {
                    try await cache.exportCache(graph, from: LayerSource(blobs: source), progress: .discarded)
                }
                #expect(try await bucket.uploads(options.prefix).isEmpty)
            }
            let changed = try await cache.exportCache(
                graph, from: LayerSource(blobs: FaultySource(blobs, .changed(large))), progress: .discarded)
            #expect(changed.problems.count == 1)
            #expect(try await bucket.stat(large) == nil)
            #expect(try await bucket.uploads(options.prefix).isEmpty)

            let slow = StalledSource(base: blobs, victim: large, after: 5_400_000)
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    await #expect(throws: CancellationError.self) {
                        try await cache.exportCache(graph, from: LayerSource(blobs: slow), progress: .discarded)
                    }
                }
                await slow.waitUntilStalled()
                group.cancelAll()
            }
            #expect(try await bucket.stat(large) == nil)
            #expect(try await bucket.uploads(options.prefix).isEmpty)
        }
    }

    @Test("asks little when everything is there: a look at its names, a list, and the config under its names")
    func warmExport() async throws {
        let real = try #require(S3TestServer.current).address
        let sample = try SampleCache.chain(of: 200)
        let counting = FaultyServer(before: real, failingOneIn: 0, seed: 1)
        let given = try S3TestServer.options()
        try await withServer(counting.respond) { address in
            var options = given
            options.endpointURL = try ServiceURL("http://\(address)")
            let used = options
            try await ScratchStore.withTemporary { scratch in
                let cache = S3Cache(
                    used, export: ExportOptions(mode: .max), scratch: scratch, client: SeaweedFSTests.client)
                _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
                let before = counting.requests.count
                let receipt = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
                #expect(receipt.transfers.values.allSatisfy { $0 == .alreadyPresent })
                #expect(counting.requests.count - before == 3)
                // And reading it: the config, and a list that says that nothing is lost.
                _ = try await cache.importCache(progress: .discarded)
                #expect(counting.requests.count - before == 5)
            }
        }
    }
}

/// Blobs of which one stands still in the middle until whoever reads is cancelled.
private final class StalledSource: BlobSource {
    private let base: any BlobSource
    private let victim: Digest
    private let limit: Int
    private let (stalled, stalling) = AsyncStream<Void>.makeStream()

    init(base: any BlobSource, victim: Digest, after limit: Int) {
        self.base = base
        self.victim = victim
        self.limit = limit
    }

    func waitUntilStalled() async { for await _ in stalled { return } }

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let stream = try await base.open(descriptor, range: range)
        guard descriptor.digest == victim else { return stream }
        let (limit, stalling) = (limit, stalling)
        return BlobStream(length: stream.length) {
            var iterator = stream.makeAsyncIterator()
            var passed = 0
            return {
                let chunk = try await iterator.next()
                passed += chunk?.readableBytes ?? 0
                if passed > limit {
                    stalling.yield()
                    for await _ in AsyncStream<Never>.makeStream().stream {}
                    try Task.checkCancellation()
                }
                return chunk
            }
        }
    }
}
