@testable import BuildCacheCore
import NIOHTTP1
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheHTTP

@Suite("Documents of one host that are large", .timeLimit(.minutes(10)))
struct LargeDocumentTests {
    @Test("wait for one that stands still no longer than its time limit, and small ones do not wait")
    func turns() async throws {
        let (large, small) = (3 << 20, 1 << 10)
        try await withServer { request in
            if request.path == "/small" { return ServerResponse(200, body: [UInt8](repeating: 1, count: small)) }
            var response = ServerResponse(200, body: [UInt8](repeating: 1, count: large))
            // Most of the first one arrives, and no more.
            if request.path == "/first" { response.stallsAfter = large - 1 }
            return response
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let clock = ManualClock()
                var transport = transport
                transport.clock = clock
                let settled = transport
                @Sendable func document(_ path: String) async throws -> Int {
                    let request = OutgoingRequest(.GET, try ServiceURL("http://\(address)/\(path)"))
                    return try await settled.sendOnce(request).collect(upTo: 64 << 20).count
                }
                try await withThrowingTaskGroup(of: CacheError.Code?.self) { group in
                    group.addTask {
                        await #expect(throws: CacheError.self) { try await document("first") }?.code
                    }
                    let count = try await document("small")
                    #expect(count == small)
                    clock.setRunning(true)
                    let code = try await group.next()
                    #expect(code == .unavailable)
                    clock.setRunning(false)
                }
                let count = try await document("second")
                #expect(count == large)
            }
        }
    }

    @Test("are as many bytes as they may be, and no more", arguments: [(1 << 20) + 1, 2 << 20])
    func limits(_ count: Int) async throws {
        try await withServer { _ in
            ServerResponse(200, body: [UInt8](repeating: 1, count: count))
        } _: { address in
            try await HTTPTransport.forTests(attempts: 1) { transport, _ in
                let request = OutgoingRequest(.GET, try ServiceURL("http://\(address)/"))
                #expect(try await transport.send(request).collect(upTo: count).count == count)
                let error = await #expect(throws: CacheError.self) {
                    try await transport.send(request).collect(upTo: count - 1)
                }
                #expect(error?.code == .limitExceeded)
            }
        }
    }
}
