import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import NIOCore
import Synchronization
import TestServers
import TestTools
import Testing

/// A clock on which every sleep is over at once, and noted.
final class NotingClock: Clock, Sendable {
    typealias Instant = ManualClock.Instant
    private let state = Mutex((now: Instant(offset: .zero), pauses: [Duration]()))
    private let whenPausing: @Sendable () -> Void

    init(whenPausing: @escaping @Sendable () -> Void = {}) { self.whenPausing = whenPausing }

    var now: Instant { state.withLock { $0.now } }
    var minimumResolution: Duration { .nanoseconds(1) }
    var pauses: [Duration] { state.withLock { $0.pauses } }

    func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        try Task.checkCancellation()
        state.withLock { state in
            state.pauses.append(deadline.offset - state.now.offset)
            state.now = max(state.now, deadline)
        }
        whenPausing()
    }
}

/// What a server was asked, in order.
final class RequestLog: Sendable {
    private let entries = Mutex<[ServerRequest]>([])

    var requests: [ServerRequest] { entries.withLock { $0 } }

    /// Takes note and returns how many there are now.
    func note(_ request: ServerRequest) -> Int {
        entries.withLock { entries in
            entries.append(request)
            return entries.count
        }
    }
}

extension HTTPTransport {
    /// Runs `body` with a transport that pauses on a clock of its own, and that clock.
    static func forTests<Value>(
        environment: Environment = .empty, connectionsPerHost: Int = defaultConnectionsPerHost, attempts: Int = 6,
        _ body: (HTTPTransport, NotingClock) async throws -> Value
    ) async throws -> Value {
        try await withTransport(environment: environment, connectionsPerHost: connectionsPerHost) { transport in
            var transport = transport
            let clock = NotingClock()
            transport.retryClock = clock
            transport.jitter = { 1 }
            transport.retry.attempts = attempts
            return try await body(transport, clock)
        }
    }
}

extension BlobStream {
    var bytes: [UInt8] {
        get async throws {
            var bytes: [UInt8] = []
            for try await chunk in self { bytes += chunk.readableBytesView }
            return bytes
        }
    }
}

/// So many bytes, no two places alike.
func pattern(_ count: Int) -> [UInt8] {
    var state: UInt32 = 1
    return (0..<count).map { _ in
        state = state &* 1_664_525 &+ 1_013_904_223
        return UInt8(state >> 24)
    }
}
