@testable import BuildCacheCore
@testable import BuildCacheHTTP
import NIOCore
import NIOHTTP1
import Synchronization
@testable import TestServers
@testable import TestTools

/// Stands before a server, and fails some of the requests: before they arrive, on the way, and after they were answered.
final class FaultyServer: Sendable {
    private struct State {
        var random: SeededGenerator
        var requests: [String] = []
        var faults = 0
    }

    private let address: String
    /// One request in so many fails; 0 for none.
    private let rate: UInt64
    private let state: Mutex<State>

    /// - Parameters:
    ///   - address: The real server.
    ///   - seed: Decides which requests fail, and how.
    init(before address: String, failingOneIn rate: UInt64, seed: UInt64) {
        self.address = address
        self.rate = rate
        state = Mutex(State(random: SeededGenerator(seed: seed)))
    }

    /// What was asked for, as in `PUT /cache/blobs/…`.
    var requests: [String] { state.withLock { $0.requests } }
    /// How many requests failed.
    var faults: Int { state.withLock { $0.faults } }

    private enum Fault: CaseIterable { case slowDown, internalError, reset, resetInBody, lostAnswer, truncatedAnswer }

    func respond(_ request: ServerRequest) async throws -> ServerResponse {
        let fault = state.withLock { state -> Fault? in
            state.requests.append("\(request.method) \(request.target)")
            guard rate > 0, UInt64.random(in: 0..<rate, using: &state.random) == 0 else { return nil }
            state.faults += 1
            return Fault.allCases.randomElement(using: &state.random)
        }
        switch fault {
        case .slowDown: return error(503, "SlowDown")
        case .internalError: return error(500, "InternalError")
        case .reset: return .reset
        case .resetInBody:
            _ = try await request.bytes(upTo: 1000)
            return .reset
        case .lostAnswer:
            _ = try await forward(request)
            return .reset
        case .truncatedAnswer:
            var response = try await forward(request)
            guard response.body.count > 1 else { return .reset }
            response.announcedLength = response.body.count
            response.resetAfter = response.body.count / 2
            return response
        case nil: return try await forward(request)
        }
    }

    private func error(_ status: Int, _ code: String) -> ServerResponse {
        ServerResponse(
            status, headers: [("Content-Type", "application/xml")],
            body: Array("<Error><Code>\(code)</Code><Message>a fault of the test</Message></Error>".utf8))
    }

    private func forward(_ request: ServerRequest) async throws -> ServerResponse {
        // The host is signed, so it stays the one that was asked.
        var headers = HTTPHeaders(request.headers.map { ($0.key, $0.value) })
        headers.replaceOrAdd(name: "Host", value: request.host)
        headers.remove(name: "Transfer-Encoding")
        headers.remove(name: "Connection")
        let body = try await request.bytes()
        var outgoing = OutgoingRequest(
            HTTPMethod(rawValue: request.method), try ServiceURL("http://\(address)\(request.target)"),
            headers: headers,
            body: body.isEmpty ? nil : .bytes(ByteBuffer(bytes: body)))
        outgoing.returnsEveryAnswer = true
        let response = try await HTTPTransport.shared.sendOnce(outgoing)
        var answer = ServerResponse(
            Int(response.status.code),
            headers: response.headers.filter {
                request.method == "HEAD" || !["content-length", "transfer-encoding"].contains($0.name.lowercased())
            }.map { ($0.name, $0.value) })
        answer.body = try await response.collect(upTo: 1 << 28)
        return answer
    }
}
