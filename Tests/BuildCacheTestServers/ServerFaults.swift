public import BuildCacheCore
import Synchronization
import TestServers

/// A request that a test server got.
public struct ObservedRequest: Hashable, Sendable {
    /// Counted from 1.
    public var number: Int
    /// As in `PUT`.
    public var method: String
    /// Without the query, as it was sent.
    public var path: String
    /// The parameters, decoded.
    public var query: [String: String]
    /// By lower-case name.
    public var headers: [String: String]
}

/// What goes wrong with one request.
public struct ServerFault: Sendable {
    enum Kind: Sendable {
        case answer(status: Int, headers: [(name: String, value: String)], body: String)
        case reset
        case lostAnswer
        case replaced(status: Int)
        case truncated(after: Int)
        case stalled(after: Int)
    }
    let kind: Kind

    /// The server answers this and does nothing.
    public static func answer(
        _ status: Int, headers: [(name: String, value: String)] = [], body: String = ""
    ) -> ServerFault {
        ServerFault(kind: .answer(status: status, headers: headers, body: body))
    }
    /// The connection breaks and the server does nothing.
    public static let reset = ServerFault(kind: .reset)
    /// The server does what it is asked, and the connection breaks before the answer.
    public static let lostAnswer = ServerFault(kind: .lostAnswer)
    /// The server does what it is asked and answers with another status, as a proxy does that did not wait for it.
    public static func replacedAnswer(_ status: Int) -> ServerFault { ServerFault(kind: .replaced(status: status)) }
    /// The connection breaks after so many bytes of the answer's body.
    public static func truncated(after count: Int) -> ServerFault { ServerFault(kind: .truncated(after: count)) }
    /// After so many bytes of the answer's body nothing more comes.
    public static func stalled(after count: Int) -> ServerFault { ServerFault(kind: .stalled(after: count)) }
}

/// What a test server does wrong, what time it believes it is, and what it was asked: to be changed while it runs.
public final class ServerFaults: Sendable {
    private struct State {
        var plan: @Sendable (ObservedRequest) -> ServerFault? = { _ in nil }
        var requests: [ObservedRequest] = []
        var secondsAhead: Int64 = 0
        var delay: Duration?
    }
    private let state = Mutex(State())

    /// Makes a server do everything right.
    public init() {}

    /// All requests so far.
    public var requests: [ObservedRequest] { state.withLock { $0.requests } }

    /// Forgets the requests so far.
    public func forgetRequests() { state.withLock { $0.requests = [] } }

    /// From now on each request fails as `plan` says, which is called from many tasks.
    public func set(_ plan: @escaping @Sendable (ObservedRequest) -> ServerFault?) {
        state.withLock { $0.plan = plan }
    }

    /// From now on nothing fails.
    public func clear() { set { _ in nil } }

    /// From now on every answer waits for so long.
    public func delayAnswers(by delay: Duration?) { state.withLock { $0.delay = delay } }

    /// How far the server's clock was moved.
    public var secondsAhead: Int64 { state.withLock { $0.secondsAhead } }

    /// Moves the server's clock forward.
    public func advanceClock(bySeconds seconds: Int64) { state.withLock { $0.secondsAhead += seconds } }

    /// What time the server believes it is.
    public var now: Timestamp {
        Timestamp(seconds: Timestamp.now().seconds + secondsAhead) ?? .now()
    }

    /// Answers a request, or does what the plan has for it.
    func respond(
        to request: ServerRequest, _ answer: (ServerRequest) async throws -> ServerResponse
    ) async throws -> ServerResponse {
        let (observed, plan, delay) = state.withLock { state in
            let observed = ObservedRequest(
                number: state.requests.count + 1, method: request.method, path: request.path, query: request.query,
                headers: request.headers)
            state.requests.append(observed)
            return (observed, state.plan, state.delay)
        }
        // Outside of the lock, because a plan may want to change the clock.
        let fault = plan(observed)
        if let delay { try await Task.sleep(for: delay) }
        switch fault?.kind {
        case nil: return try await answer(request)
        case .answer(let status, let headers, let body):
            _ = try await request.bytes()
            return ServerResponse(status, headers: headers, body: Array(body.utf8))
        case .reset: return .reset
        case .lostAnswer:
            _ = try await answer(request)
            return .reset
        case .replaced(let status):
            _ = try await answer(request)
            return ServerResponse(status)
        case .truncated(let count):
            var response = try await answer(request)
            // A body that is shorter has nothing to be cut.
            if response.body.count > count { response.resetAfter = max(1, count) }
            return response
        case .stalled(let count):
            var response = try await answer(request)
            response.stallsAfter = count
            return response
        }
    }
}
