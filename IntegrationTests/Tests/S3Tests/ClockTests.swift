@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheTesting
@testable import BuildCacheClient
import Testing

@testable import BuildCacheS3

@Suite("A clock that is wrong", .timeLimit(.minutes(10)))
struct ClockTests {
    private static let plain = ExportOptions(mode: .max)

    @Test("is corrected by the first refusal, for all requests that follow", arguments: [-1200, 1200, 72_000])
    func corrected(_ seconds: Int64) async throws {
        let server = ObjectServer()
        try await server.run(now: { Timestamp(seconds: Timestamp.now().seconds + seconds) ?? .zero }) { cache, _ in
            let sample = try SampleCache.chain(of: 3)
            _ = try await cache(Self.plain).export(sample)
            #expect(server.refusedTimes == 1)
            // Nothing looks old either.
            let receipt = try await cache(Self.plain).export(sample)
            #expect(receipt.transfers.values.allSatisfy { $0 == .alreadyPresent })
            #expect(try await cache(Self.plain).importCache(progress: .discarded)?.graph == sample.graph)
            #expect(server.refusedTimes == 1)
        }
    }

    @Test("is corrected by a response without a body, too")
    func correctedByHead() async throws {
        let server = ObjectServer()
        server.put("blobs/\(Digest(of: [1]))", [1])
        try await server.run(now: { Timestamp(seconds: Timestamp.now().seconds - 1000) ?? .zero }) { _, bucket in
            let stat = try await bucket.stat(Digest(of: [1]))
            #expect(stat?.size == 1)
            #expect(server.refusedTimes == 1)
        }
    }

    @Test("by more than a day is said to be that, and not followed", arguments: [-90_030, 90_030])
    func tooFar(_ seconds: Int64) async throws {
        let server = ObjectServer()
        try await server.run(now: { Timestamp(seconds: Timestamp.now().seconds + seconds) ?? .zero }) { cache, _ in
            let error = await #expect(throws: CacheError.self) { try await cache(Self.plain).export(try .chain(of: 1)) }
            #expect(error?.code == .denied)
            #expect(error?.message.contains("the clock of this machine is wrong by 1500 minutes") == true)
            #expect(server.refusedTimes == 1)
        }
    }
}
