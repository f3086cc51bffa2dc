@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGitHubActions
@testable import BuildCacheHTTP
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
@testable import BuildCacheClient
import Synchronization
@testable import TestTools
import Testing

@Suite("An operation at GitHub", .timeLimit(.minutes(10)))
struct BoundTests {
    private static let timeout = Duration.seconds(600)

    /// The lengths of all pauses that were reported.
    private func pauses(_ log: ProgressLog) -> [Duration] {
        log.events.compactMap { if case .waiting(let duration, _) = $0 { duration } else { nil } }
    }

    private func reasons(_ log: ProgressLog) -> [String] {
        log.events.compactMap { if case .waiting(_, let reason) = $0 { reason } else { nil } }
    }

    @Test(
        "ends well and soon although every second answer is lost after the service acted", arguments: [1, 2],
        [ServerFault.replacedAnswer(503), .lostAnswer])
    func lostAnswers(_ version: Int, _ fault: ServerFault) async throws {
        try await GitHubCacheServer().run { server, url in
            // One layer, so that requests follow each other and each is lost that can be.
            let sample = try SampleCache.chain(of: 1)
            let clock = ImmediateClock()
            let start = clock.now
            let log = ProgressLog()
            server.faults.set { $0.number % 2 == 1 ? fault : nil }
            try await withCache(server, url, version, client: .immediate(clock)) { cache in
                let receipt = try await cache.exportCache(sample.graph, from: sample.source, progress: log.sink)
                #expect(receipt.published.count == 1)
                #expect(try await cache.imported() != nil)
                // The entry of the layer was begun, and the number of it was lost.
                #expect(receipt.problems.map(\.subject) == [sample.layers[0].descriptor.digest.description])
                #expect(receipt.problems.first?.message.contains("its answer was lost") == true)
            }
            #expect(start.duration(to: clock.now) < .seconds(30))
            #expect(pauses(log).count > 2)
            #expect(reasons(log).allSatisfy { $0.contains(" 503 ") || $0.contains("the connection broke") })
        }
    }

    @Test(
        "ends well although any answers are lost of an export of many layers, also if it merges", arguments: [1, 2],
        [WritePolicy.replace, .merge])
    func manyLayers(_ version: Int, _ policy: WritePolicy) async throws {
        try await GitHubCacheServer(uploadsPerMinute: .max).run { server, url in
            let sample = try SampleCache.chain(of: 12)
            let clock = ImmediateClock()
            let start = clock.now
            var transport = HTTPTransport.shared
            // Which of several requests at once is unlucky is chance; none is so unlucky.
            transport.retry.attempts = 100
            var client = GitHubActionsClient(environment: .empty, transport: transport)
            client.clock = clock
            client.grace = .seconds(3600)
            server.faults.set { $0.number % 2 == 1 ? .replacedAnswer(503) : nil }
            try await withCache(server, url, version, client: client, writePolicy: policy) { cache in
                for _ in 0..<2 {
                    let receipt = try await cache.export(sample)
                    #expect(receipt.published.count == 1)
                }
                #expect(try await cache.imported() != nil)
            }
            #expect(start.duration(to: clock.now) < Self.timeout)
        }
    }

    @Test("fails within its timeout when the versions of an index are begun by others for ever", arguments: [1, 2])
    func blockedVersions(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let clock = ImmediateClock()
            let start = clock.now
            let log = ProgressLog()
            server.faults.set { request in
                let reserves = request.path.hasSuffix("/caches") || request.path.hasSuffix("/CreateCacheEntry")
                guard request.method == "POST", reserves else { return nil }
                return version == 1
                    ? .answer(
                        409, body: #"{"typeKey":"ArtifactCacheItemAlreadyExistsException","message":"it exists"}"#)
                    : .answer(409, body: #"{"code":"already_exists","msg":"it exists"}"#)
            }
            try await withCache(server, url, version, client: .immediate(clock)) { cache in
                let error = await #expect(throws: CacheError.self) {
                    let sample = try SampleCache.chain(of: 1)
                    _ = try await cache.exportCache(sample.graph, from: sample.source, progress: log.sink)
                }
                #expect(error?.code == .busy)
                #expect(error?.message.contains("another job has begun version") == true)
                #expect(error?.message.contains("of waiting are over, see timeout") == true)
            }
            #expect(start.duration(to: clock.now) <= Self.timeout)
            #expect(reasons(log).contains { $0.contains("another job has begun version 1 of the index") })
        }
    }

    @Test("fails within its timeout when the service wants every request to wait, and tells of it", arguments: [1, 2])
    func slowedDown(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let clock = ImmediateClock()
            let start = clock.now
            let log = ProgressLog()
            server.faults.set { $0.number % 2 == 1 ? .answer(429, headers: [("Retry-After", "89")]) : nil }
            try await withCache(server, url, version, client: .immediate(clock)) { cache in
                let error = await #expect(throws: CacheError.self) {
                    let sample = try SampleCache.chain(of: 1)
                    _ = try await cache.exportCache(sample.graph, from: sample.source, progress: log.sink)
                }
                #expect(error?.code == .unavailable)
                #expect(error?.retry == .exhausted)
                #expect(error?.message.contains(" 429 ") == true)
                #expect(error?.message.contains("that may be paused altogether") == true)
            }
            #expect(start.duration(to: clock.now) <= Self.timeout)
            #expect(pauses(log).allSatisfy { $0 >= .seconds(89) })
        }
    }

    @Test("bounds the pauses of each layer on its own when layers are read after an import", arguments: [1, 2])
    func readsLong(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let sample = try SampleCache.chain(of: 15)
            try await withCache(server, url, version) { cache in
                _ = try await cache.export(sample)
                let found = try #require(try await cache.imported())
                let seen = Mutex<Set<String>>([])
                server.faults.set { request in
                    // Each address once.
                    seen.withLock { $0.insert(request.path).inserted }
                        ? .answer(503, headers: [("Retry-After", "80")]) : nil
                }
                for layer in sample.layers {
                    #expect(try await found.blobs.bytes(of: layer.descriptor) == layer.stored)
                }
            }
        }
    }
}
