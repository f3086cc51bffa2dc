@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheHTTP
import NIOCore
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

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
        _ body: (HTTPTransport, ImmediateClock) async throws -> Value
    ) async throws -> Value {
        try await withTransport(environment: environment, connectionsPerHost: connectionsPerHost) { transport in
            var transport = transport
            let clock = ImmediateClock()
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
