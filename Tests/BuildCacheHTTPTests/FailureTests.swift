import BuildCacheCore
import BuildCacheHTTP
import BuildCacheSpec
import Logging
import NIOHTTP1
import Synchronization
import TestServers
import Testing

@testable import BuildCacheHTTP

@Suite("What a server refuses", .timeLimit(.minutes(10)))
struct FailureTests {
    private func failure(_ response: ServerResponse) async throws -> CacheError {
        try await withServer { _ in
            response
        } _: { address in
            try await HTTPTransport.forTests(attempts: 1) { transport, _ in
                let request = OutgoingRequest(.GET, try ServiceURL("http://\(address)/blob?signature=secret"))
                do { return await (try await transport.send(request)).failure().error } catch let error as CacheError {
                    return error
                }
            }
        }
    }

    @Test(
        "is one kind of error each",
        arguments: [
            (401, CacheError.Code.denied), (403, .denied), (404, .notFound), (413, .limitExceeded), (416, .corrupted),
            (429, .unavailable), (500, .unavailable), (501, .unsupported), (503, .unavailable), (507, .storageFull),
            (418, .unsupported),
        ])
    func hasCode(_ status: Int, _ code: CacheError.Code) async throws {
        #expect(try await failure(ServerResponse(status)).code == code)
    }

    @Test(
        "is told in the server's words",
        arguments: [
            (#"{"errors":[{"code":"DENIED","message":"no access","detail":[{}]}]}"#, "DENIED: no access"),
            (#"{"error":"invalid_grant","error_description":"no such user"}"#, "invalid_grant: no such user"),
            (#"{"details":"incorrect username"}"#, "incorrect username"),
            ("try\r\n  elsewhere", "try elsewhere"),
            ("{broken", "{broken"),
            ("\u{1B}[31mred\u{7}", "[31mred"),
            ("", "Forbidden"),
        ])
    func quotes(_ body: String, _ words: String) async throws {
        let error = try await failure(ServerResponse(403, json: body))
        #expect(error.message.hasPrefix("GET http://127.0.0.1:"))
        #expect(error.message.hasSuffix("/blob returned 403 \(words)"))
    }

    @Test("is cut short, however much the server says")
    func bounds() async throws {
        let error = try await failure(ServerResponse(403, body: Array(repeating: UInt8(ascii: "x"), count: 4 << 20)))
        #expect(error.message.utf8.count < 500)
        let deep = String(repeating: "[", count: 100_000)
        #expect(try await failure(ServerResponse(403, json: #"{"errors":\#(deep)"#)).message.utf8.count < 1000)
    }

    @Test("is retried after the time that the server names, in seconds or by date")
    func readsRetryAfter() {
        let now = Timestamp(seconds: 784_111_777) ?? .zero
        #expect(retryAfter("120", now: now) == .seconds(120))
        #expect(retryAfter("0", now: now) == .zero)
        #expect(retryAfter("Sun, 06 Nov 1994 08:49:47 GMT", now: now) == .seconds(10))
        #expect(retryAfter("Sun, 06 Nov 1994 08:49:27 GMT", now: now) == .zero)
        for text in [nil, "", "-1", "1.5", "soon", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            #expect(retryAfter(text, now: now) == nil, "\(text ?? "nothing")")
        }
        #expect(retryAfter("99999999999999999", now: now) == .seconds(1 << 32))
    }

    @Test("is logged and thrown without signatures and credentials")
    func redacts() async throws {
        let lines = Mutex<[String]>([])
        let closed = try freePort()
        try await withServer { request in
            request.path == "/moved"
                ? ServerResponse(302, headers: [("Location", "/blob?signature=secret")])
                : ServerResponse(request.path == "/blob" ? 503 : 403, json: #"{"errors":[{"code":"DENIED"}]}"#)
        } _: { address in
            try await HTTPTransport.forTests(attempts: 2) { transport, _ in
                var transport = transport
                transport.logger = Logger(label: "test") { _ in
                    LineLog(lines: { line in lines.withLock { $0.append(line) } })
                }
                for url in ["\(address)/blob", "\(address)/moved", "\(address)/denied", "127.0.0.1:\(closed)/"] {
                    var request = OutgoingRequest(.GET, try ServiceURL("http://\(url)?signature=secret"))
                    request.credentials.add(name: "Authorization", value: "Bearer secret")
                    let error = await #expect(throws: CacheError.self) {
                        throw await (try await transport.send(request)).failure().error
                    }
                    #expect(error?.debugDescription.contains("secret") == false)
                    #expect("\(request.url) \(request.summary)".contains("secret") == false)
                }
            }
        }
        let logged = lines.withLock { $0 }
        #expect(!logged.isEmpty)
        #expect(logged.filter { $0.contains("secret") } == [])
    }

    @Test("is not kept in memory past its limit")
    func limitsBodies() async throws {
        try await withServer { _ in
            ServerResponse(200, body: pattern(2 << 20))
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                let error = await #expect(throws: CacheError.self) { try await response.collect(upTo: 1 << 20) }
                #expect(error?.code == .limitExceeded)
            }
        }
    }
}

/// Hands every line, its metadata included, to a function.
private struct LineLog: LogHandler {
    var lines: @Sendable (String) -> Void
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { lines("\(event.message) \(event.metadata ?? [:])") }
}
