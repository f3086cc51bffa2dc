import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import BuildCacheSpec
import NIOCore
import Synchronization
import TestServers
import Testing

/// A clock on which every sleep is over at once, and noted.
final class NotingClock: Clock, Sendable {
    struct Instant: InstantProtocol {
        var offset: Duration
        func advanced(by duration: Duration) -> Instant { Instant(offset: offset + duration) }
        func duration(to other: Instant) -> Duration { other.offset - offset }
        static func < (left: Instant, right: Instant) -> Bool { left.offset < right.offset }
    }
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

/// A clock on which time passes only when a test says so.
final class ManualClock: Clock, Sendable {
    typealias Instant = NotingClock.Instant
    private struct State {
        var now = Instant(offset: .zero)
        var runs = false
        var lastNumber = 0
        var sleepers: [Int: (deadline: Instant, continuation: CheckedContinuation<Void, any Error>)] = [:]
    }
    private let state = Mutex(State())

    var now: Instant { state.withLock { $0.now } }
    var minimumResolution: Duration { .nanoseconds(1) }

    /// Whether every sleep is over at once, those that are going on as well.
    func setRunning(_ runs: Bool) {
        state.withLock { $0.runs = runs }
        if runs { wake() }
    }

    /// Returns when somebody sleeps.
    func sleeper() async {
        while state.withLock({ $0.sleepers.isEmpty }), !Task.isCancelled { await Task.yield() }
    }

    /// Waits until somebody sleeps and lets the time pass that was slept for.
    func step() async {
        await sleeper()
        wake()
    }

    private func wake() {
        let sleepers = state.withLock { state in
            defer { state.sleepers = [:] }
            state.now = state.sleepers.values.map(\.deadline).reduce(state.now) { max($0, $1) }
            return state.sleepers.values.map(\.continuation)
        }
        for sleeper in sleepers { sleeper.resume() }
    }

    func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let isOver = state.withLock { state in
                    if state.runs {
                        state.now = max(state.now, deadline)
                    } else {
                        state.sleepers[number] = (deadline, continuation)
                    }
                    return state.runs
                }
                if isOver { continuation.resume() } else if Task.isCancelled { cancel(number) }
            }
        } onCancel: {
            cancel(number)
        }
        try Task.checkCancellation()
    }

    private func cancel(_ number: Int) {
        state.withLock { $0.sleepers.removeValue(forKey: number) }?.continuation.resume(throwing: CancellationError())
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
