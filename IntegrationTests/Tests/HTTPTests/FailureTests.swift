@testable import BuildCacheCore
@testable import BuildCacheHTTP
import Foundation
import NIOHTTP1
@testable import TestServers
@testable import TestTools
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
            (400, .rejected), (409, .rejected), (418, .rejected), (422, .rejected), (405, .unsupported),
            (415, .unsupported),
        ])
    func hasCode(_ status: Int, _ code: CacheError.Code) async throws {
        #expect(try await failure(ServerResponse(status)).code == code)
    }

    @Test("has the status, the service's code and the identifier of the request", arguments: HTTPFailure.requestIDs)
    func context(_ header: String) async throws {
        let body = Array(#"{"errors":[{"code":"DENIED","message":"no access"}]}"#.utf8)
        let context = try await failure(ServerResponse(403, headers: [(header, "4711")], body: body)).context
        #expect(context.httpStatus == 403)
        #expect(context.serviceCode == "DENIED")
        #expect(context.requestID == "4711")
        #expect(context.attempts == nil)
    }

    @Test("has the number of attempts if there were several")
    func attempts() async throws {
        try await withServer { _ in
            ServerResponse(503)
        } _: { address in
            try await HTTPTransport.forTests(attempts: 3) { transport, _ in
                let error = await #expect(throws: CacheError.self) {
                    try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                }
                #expect(error?.context.attempts == 3)
                #expect(error?.context.httpStatus == 503)
            }
        }
    }

    @Test(
        "is told in the server's words",
        arguments: [
            (#"{"errors":[{"code":"DENIED","message":"no access","detail":[{}]}]}"#, "DENIED: no access"),
            (#"{"error":"invalid_grant","error_description":"no such user"}"#, "invalid_grant: no such user"),
            (#"{"details":"incorrect username"}"#, "incorrect username"),
            ("try\r\n  elsewhere", "try elsewhere"),
            ("{broken", "{broken"),
            ("\u{1B}[31mred\u{7}", #"\u{1b}[31mred\u{7}"#),
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

    @Test("is cut by bytes, without a character that a terminal obeys, also where one character has a thousand")
    func escapes() async throws {
        let stacked = "e" + String(repeating: "\u{301}", count: 30_000)
        for body in ["{\"message\":\"\u{202E}\u{9B}31m\u{200F}\(stacked)\"}", "\u{202E}\u{9B}31m\u{200F}\(stacked)"] {
            let message = try await failure(ServerResponse(403, json: body)).message
            #expect(message.utf8.count < 500)
            #expect(message.contains(#"\u{202e}\u{9b}31m\u{200f}"#))
        }
    }

    @Test("is read without recursion: errors in errors do not overflow a small stack")
    func isFlat() async {
        let deep = String(repeating: #"{"errors":["#, count: 5957)
        let body = Array((deep + #"{"code":"X"}"# + String(repeating: "]}", count: 5957)).utf8)
        let flat = Array(#"{"errors":[1,{"code":"A","message":"b"},{"code":"C"}]}"#.utf8)
        let (codes, code) = AsyncStream<String?>.makeStream()
        let thread = Thread {
            code.yield(ServiceFault.words(of: flat).code)
            code.yield(ServiceFault.words(of: body).code)
            code.finish()
        }
        // The least of the supported platforms, Musl's.
        thread.stackSize = 128 << 10
        thread.start()
        var read: [String?] = []
        for await code in codes { read.append(code) }
        #expect(read == ["A", nil])
    }

    @Test("is retried after the time that the server names, in seconds or by date")
    func readsRetryAfter() {
        let now = Timestamp(seconds: 784_111_777) ?? .zero
        #expect(retryAfter("120", now: now) == .seconds(120))
        #expect(retryAfter("0", now: now) == .zero)
        #expect(retryAfter("Sun, 06 Nov 1994 08:49:47 GMT", now: now) == .seconds(10))
        #expect(retryAfter("Sun, 06 Nov 1994 08:49:27 GMT", now: now) == .zero)
        for text in [
            nil, "", "-1", "+1", "1.5", "1e3", "NaN", "9223372036854775808", "18446744073709551616", "soon",
            "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            #expect(retryAfter(text, now: now) == nil, "\(text ?? "nothing")")
        }
        for text in ["4294967296", "9007199254740992", "9223372036854775807"] {
            #expect(retryAfter(text, now: now) == .seconds(1 << 32))
        }
        #expect(retryAfter("2147483648", now: now) == .seconds(Int64(1) << 31))
    }

    @Test("is logged and thrown without signatures and credentials")
    func redacts() async throws {
        let lines = LogLines()
        let closed = try freePort()
        try await withServer { request in
            request.path == "/moved"
                ? ServerResponse(302, headers: [("Location", "/blob?signature=secret")])
                : ServerResponse(request.path == "/blob" ? 503 : 403, json: #"{"errors":[{"code":"DENIED"}]}"#)
        } _: { address in
            try await HTTPTransport.forTests(attempts: 2) { transport, _ in
                var transport = transport
                transport.logger = lines.logger
                for url in ["\(address)/blob", "\(address)/moved", "\(address)/denied", "127.0.0.1:\(closed)/"] {
                    var request = OutgoingRequest(.GET, try ServiceURL("http://\(url)?signature=secret"))
                    try request.credentials.set("Authorization", Secret("Bearer secret"))
                    let error = await #expect(throws: CacheError.self) {
                        throw await (try await transport.send(request)).failure().error
                    }
                    #expect(error?.debugDescription.contains("secret") == false)
                    #expect("\(request.url) \(request.summary)".contains("secret") == false)
                }
            }
        }
        #expect(!lines.all.isEmpty)
        #expect(lines.all.filter { $0.contains("secret") } == [])
    }

    @Test(
        "is every connection, for a while: then that is said with its host and port",
        arguments: ["127.0.0.1", "localhost"])
    func refusesConnections(_ host: String) async throws {
        let port = try freePort()
        let clock = ImmediateClock()
        try await HTTPTransport.withTransport(environment: .empty) { transport in
            var transport = transport
            transport.retryClock = clock
            transport.retry.attempts = 20
            let request = OutgoingRequest(.GET, try ServiceURL("http://\(host):\(port)/v2/"))
            let error = await #expect(throws: CacheError.self) { try await transport.send(request) }
            let cause = error?.cause as? ConnectionRefused
            #expect(cause?.host == host)
            #expect(cause?.port == port)
            #expect(error?.code == .unavailable)
            #expect(error?.retry == .exhausted)
            #expect(
                error?.message
                    == "GET http://\(host):\(port)/v2/: cannot connect: \(host):\(port) refused the connection; start the server, or correct the address; tried 4 times"
            )
        }
        #expect(clock.pauses.count == 3)
        #expect(clock.pauses.reduce(.zero, +) < .seconds(4))
    }

    @Test("by a proxy is told with the proxy's host and port")
    func proxyRefuses() async throws {
        let port = try freePort()
        let environment = Environment(["HTTP_PROXY": "http://127.0.0.1:\(port)"])
        try await HTTPTransport.withTransport(environment: environment) { transport in
            var transport = transport
            transport.retryClock = ImmediateClock()
            let request = OutgoingRequest(.GET, try ServiceURL("http://cache.example/v2/"))
            let error = await #expect(throws: CacheError.self) { try await transport.send(request) }
            #expect((error?.cause as? ConnectionRefused)?.description == "127.0.0.1:\(port) refused the connection")
        }
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
