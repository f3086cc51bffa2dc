@testable import BuildCacheCore
import NIOHTTP1
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheHTTP

@Suite("A connection that stands still", .timeLimit(.minutes(10)))
struct StallTests {
    @Test("counts as broken after a silence, and not after a long time")
    func watches() async throws {
        let clock = ManualClock()
        let activity = Activity(patience: .seconds(4), slowestRate: 0)
        let transfer = Task {
            try await withStallTimeout(activity, clock: clock) {
                for await _ in AsyncStream<Never>.makeStream().stream {}
                throw CancellationError()
            }
        }
        // It looks every second, so a byte is seen by the look that follows.
        for _ in 0..<10 {
            for _ in 0..<3 { await clock.step() }
            await clock.sleeper()
            activity.moved(1)
        }
        for _ in 0..<5 { await clock.step() }
        let error = await #expect(throws: Stall.self) { try await transfer.value }
        #expect(error?.limit == .seconds(4))
        #expect(clock.now.offset == .seconds(35))
    }

    @Test("is one that moves a byte now and then: a download must move 256 bytes a second")
    func trickles() async throws {
        let clock = ManualClock()
        let activity = Activity(patience: .seconds(40), slowestRate: 256)
        let transfer = Task {
            try await withStallTimeout(activity, clock: clock) {
                for await _ in AsyncStream<Never>.makeStream().stream {}
                throw CancellationError()
            }
        }
        // It looks every ten seconds. Slow is fast enough …
        for _ in 0..<20 {
            await clock.sleeper()
            activity.moved(2560)
            await clock.step()
        }
        // … and a little slower is not.
        for _ in 0..<4 {
            await clock.sleeper()
            activity.moved(2559)
            await clock.step()
        }
        let error = await #expect(throws: Stall.self) { try await transfer.value }
        #expect(error?.moved == Int64(4 * 2559))
        #expect(clock.now.offset == .seconds(240))
    }

    @Test("for longer than a document may take ends the document, however steadily bytes come")
    func slowDocument() async throws {
        try await withServer { _ in
            var response = ServerResponse(200, body: pattern(2000))
            response.stallsAfter = 1000
            return response
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                var transport = transport
                let clock = ManualClock()
                transport.clock = clock
                transport.stallTimeout = .seconds(1_000_000)
                let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                clock.setRunning(true)
                let error = await #expect(throws: CacheError.self) { try await response.collect(upTo: 1 << 20) }
                #expect(error?.code == .unavailable)
                #expect(error?.retry == .worthwhile)
            }
        }
    }

    @Test("before it answers is broken off, and another is tried")
    func beforeAnswer() async throws {
        let (log, clock) = (RequestLog(), ManualClock())
        try await withServer { request in
            guard log.note(request) == 1 else { return ServerResponse(200) }
            clock.setRunning(true)
            for await _ in AsyncStream<Never>.makeStream().stream {}
            return ServerResponse(500)
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                var transport = transport
                transport.clock = clock
                transport.retryClock = ImmediateClock { clock.setRunning(false) }
                let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                await response.discard()
                #expect(response.status == .ok)
                #expect(log.requests.count == 2)
            }
        }
    }

    @Test("in the middle of a body is an error that is worth another try")
    func inBody() async throws {
        try await withServer { _ in
            var response = ServerResponse(200, body: pattern(1 << 20))
            response.stallsAfter = 600_000
            return response
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                var transport = transport
                let clock = ManualClock()
                transport.clock = clock
                let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                clock.setRunning(true)
                let error = await #expect(throws: CacheError.self) { try await response.stream.bytes }
                #expect(error?.code == .unavailable)
                #expect(error?.retry == .worthwhile)
                #expect(error?.message.hasSuffix("no byte moved for 60.0 seconds") == true)
            }
        }
    }

    @Test("after an answer that nobody wants does not keep anybody waiting")
    func whenDiscarded() async throws {
        try await withServer { _ in
            var response = ServerResponse(404, body: pattern(2000))
            response.stallsAfter = 1000
            return response
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                var transport = transport
                let clock = ManualClock()
                transport.clock = clock
                let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                clock.setRunning(true)
                await response.discard()
                #expect(response.status == .notFound)
            }
        }
    }
}
