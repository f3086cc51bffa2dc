@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheHTTP
import NIOCore
import NIOHTTP1
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@Suite("A request", .timeLimit(.minutes(10)))
struct TransportTests {
    @Test("leaves its credentials behind when it is redirected to another host, and takes them along on its own")
    func redirectsWithoutCredentials() async throws {
        let log = RequestLog()
        let seen = try await withServer { request in
            _ = log.note(request)
            return ServerResponse(200)
        } _: { other in
            try await withServer { request in
                _ = log.note(request)
                let next = request.path == "/first" ? "/second" : "http://\(other)/third?signature=x"
                return ServerResponse(307, headers: [("Location", next)])
            } _: { address in
                try await HTTPTransport.forTests { transport, _ in
                    var request = OutgoingRequest(.GET, try ServiceURL("http://\(address)/first"))
                    request.headers.add(name: "Accept", value: "text/plain")
                    try request.credentials.set("Authorization", Secret("Bearer secret"))
                    let response = try await transport.send(request)
                    await response.discard()
                    #expect(response.url.path == "/third")
                    return log.requests
                }
            }
        }
        #expect(seen.map(\.path) == ["/first", "/second", "/third"])
        #expect(seen.map { $0.headers["authorization"] } == ["Bearer secret", "Bearer secret", nil])
        #expect(seen.allSatisfy { $0.headers["accept"] == "text/plain" })
    }

    @Test("with a body follows only redirects that keep its method")
    func redirectsWithBody() async throws {
        try await withServer { request in
            switch request.path {
            case "/found": return ServerResponse(302, headers: [("Location", "/stored")])
            case "/moved": return ServerResponse(308, headers: [("Location", "/stored")])
            default: return ServerResponse(201, body: try await request.bytes())
            }
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let body = OutgoingRequest.Body.bytes(ByteBuffer(string: "bytes"))
                let moved = OutgoingRequest(.PUT, try ServiceURL("http://\(address)/moved"), body: body)
                #expect(try await transport.send(moved).collect(upTo: 100) == Array("bytes".utf8))
                let found = OutgoingRequest(.PUT, try ServiceURL("http://\(address)/found"), body: body)
                let error = await #expect(throws: CacheError.self) { try await transport.send(found) }
                #expect(error?.code == .unsupported)
            }
        }
    }

    @Test(
        "is not led astray",
        arguments: [
            ("/again", CacheError.Code.unsupported), ("file:///etc/passwd", .corrupted),
            ("http://user:password@127.0.0.1/", .corrupted), ("http://", .corrupted), ("/ [2J", .corrupted),
            // Not even HTTP, and the parser ends the connection.
            ("/\u{1B}[2J", .unavailable),
        ])
    func refusesRedirects(_ location: String, _ code: CacheError.Code) async throws {
        let log = RequestLog()
        try await withServer { request in
            _ = log.note(request)
            // Nothing else is there.
            guard request.path == "/again" else { return ServerResponse(404) }
            return ServerResponse(302, headers: [("Location", location)])
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let request = OutgoingRequest(.GET, try ServiceURL("http://\(address)/again"))
                let error = await #expect(throws: CacheError.self) {
                    throw await (try await transport.send(request)).failure().error
                }
                #expect(error?.code == code)
                #expect(error?.description.contains("password@") == false)
            }
        }
        #expect(log.requests.count <= 11)
    }

    @Test(
        "follows a redirect whose path or query a server did not percent-encode",
        arguments: [
            ("/blob?sig=a|b", "/blob?sig=a%7Cb"), ("/blob?a={x}&b=[1]&sig=%2B", "/blob?a=%7Bx%7D&b=%5B1%5D&sig=%2B"),
            ("/blob?a=%zz%2B%", "/blob?a=%25zz%2B%25"),

            ("/blob?d=\"a.txt\"", "/blob?d=%22a.txt%22"), ("/bl^ob`<x>\\", "/bl%5Eob%60%3Cx%3E%5C"),
            ("/größe?ü=1", "/gr%C3%B6%C3%9Fe?%C3%BC=1"), ("/a%2Fb?sig=%2B|", "/a%2Fb?sig=%2B%7C"),
            ("/blob#x|y", "/blob"),
        ])
    func followsUnencoded(_ location: String, _ target: String) async throws {
        let log = RequestLog()
        try await withServer { request in
            guard log.note(request) == 1 else { return ServerResponse(200) }
            return ServerResponse(307, headers: [("Location", location)])
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                await response.discard()
                #expect(response.status == .ok)
            }
        }
        #expect(log.requests.last?.target == target)
    }

    @Test(
        "is sent with the escapes that its URL has, also if that has brackets, which Foundation would escape again with them"
    )
    func keepsEscapes() async throws {
        let log = RequestLog()
        try await withServer { request in
            _ = log.note(request)
            return ServerResponse(200)
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let url = try ServiceURL("http://\(address)/a%2Fb?x[0]=1&sig=%2B%3D")
                await (try await transport.send(OutgoingRequest(.GET, url))).discard()
            }
        }
        #expect(log.requests.map(\.target) == ["/a%2Fb?x%5B0%5D=1&sig=%2B%3D"])
    }

    @Test("is redirected to the host that is written, and to no other")
    func keepsHost() throws {
        let base = try ServiceURL("https://registry.example/v2/")
        for location in [
            "https://a|b/", "https://a\"b.example/", "https://ä.example/", "//evil^.example/",
            "https://a\\@evil.example/", "file:///etc/passwd", "ftp://one.example/", "a+b.c-d://one.example",
        ] {
            #expect(throws: CacheError.self) { try base.resolving(location) }
        }
        #expect(try base.resolving("https://one.example?x=@evil.example/|").host == "one.example")
    }

    @Test("is redirected to a relative address also from a URL without a path", arguments: ["", "x", "x/y?z=1"])
    func withoutPath(_ location: String) async throws {
        let root = try ServiceURL("https://registry.example")
        #expect(try root.resolving(location).exposed == "https://registry.example/\(location)")
        let log = RequestLog()
        try await withServer { request in
            switch log.note(request) {
            case 1: ServerResponse(307, headers: [("Location", "http://\(request.host)")])
            case 2: ServerResponse(307, headers: [("Location", location)])
            default: ServerResponse(200)
            }
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/v2/")))
                await response.discard()
                #expect(response.status == .ok)
            }
        }
        #expect(log.requests.map(\.target) == ["/v2/", "/", "/\(location)"])
    }

    @Test("is sent again when that may help", arguments: [408, 425, 429, 500, 502, 503, 504])
    func retries(_ status: Int) async throws {
        let log = RequestLog()
        try await withServer { request in
            ServerResponse(log.note(request) < 3 ? status : 200)
        } _: { address in
            try await HTTPTransport.forTests { transport, clock in
                let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                await response.discard()
                #expect(response.status == .ok)
                #expect(clock.pauses == [.milliseconds(200), .milliseconds(400)])
            }
        }
    }

    @Test(
        "is answered with what another try would not change", arguments: [400, 401, 403, 404, 405, 413, 416, 501, 507])
    func returnsRefusals(_ status: Int) async throws {
        let log = RequestLog()
        try await withServer { request in
            _ = log.note(request)
            return ServerResponse(status)
        } _: { address in
            try await HTTPTransport.forTests { transport, clock in
                let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                await response.discard()
                #expect(response.status.code == UInt(status))
                #expect(log.requests.count == 1)
                #expect(clock.pauses == [])
            }
        }
    }

    @Test("waits as long as the server says", arguments: [429, 503])
    func keepsToRetryAfter(_ status: Int) async throws {
        let log = RequestLog()
        try await withServer { request in
            log.note(request) == 1 ? ServerResponse(status, headers: [("Retry-After", "17")]) : ServerResponse(200)
        } _: { address in
            try await HTTPTransport.forTests { transport, clock in
                await (try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))).discard()
                #expect(clock.pauses == [.seconds(17)])
            }
        }
    }

    @Test("opens its body afresh for each try")
    func reopensBody() async throws {
        let log = RequestLog()
        let opened = Mutex(0)
        let bytes = pattern(700_000)
        try await withServer { request in
            let count = log.note(request)
            // Before it has read everything, so that the connection is of no use any more.
            if count == 1 { return .reset }
            return ServerResponse(200, body: try await request.bytes())
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let body = OutgoingRequest.Body.stream(length: Int64(bytes.count)) {
                    opened.withLock { $0 += 1 }
                    return BlobStream(ByteBuffer(bytes: bytes))
                }
                let response = try await transport.send(
                    OutgoingRequest(.PUT, try ServiceURL("http://\(address)/"), body: body))
                #expect(try await response.collect(upTo: 1 << 20) == bytes)
            }
        }
        #expect(opened.withLock { $0 } == 2)
    }

    @Test("fails with what its source throws, and is not sent again")
    func passesSourceFailures() async throws {
        struct Lost: Error {}
        let opened = Mutex(0)
        try await withServer { request in
            ServerResponse(200, body: try await request.bytes())
        } _: { address in
            try await HTTPTransport.forTests { transport, clock in
                let body = OutgoingRequest.Body.stream(length: 10) {
                    opened.withLock { $0 += 1 }
                    throw Lost()
                }
                await #expect(throws: Lost.self) {
                    try await transport.send(OutgoingRequest(.PUT, try ServiceURL("http://\(address)/"), body: body))
                }
                #expect(clock.pauses == [])
            }
        }
        #expect(opened.withLock { $0 } == 1)
    }

    @Test("is no whole one if its source has more or fewer bytes than it said", arguments: [9, 11])
    func checksLength(_ count: Int) async throws {
        try await withServer { request in
            ServerResponse(200, body: try await request.bytes())
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let body = OutgoingRequest.Body.stream(length: 10) {
                    BlobStream(ByteBuffer(repeating: 1, count: count))
                }
                let error = await #expect(throws: CacheError.self) {
                    try await transport.send(OutgoingRequest(.PUT, try ServiceURL("http://\(address)/"), body: body))
                }
                #expect(error?.code == .corrupted)
            }
        }
    }

    @Test("says that the connection was refused, what to do, and how often it was tried")
    func failsToConnect() async throws {
        let port = try freePort()
        try await HTTPTransport.forTests(attempts: 3) { transport, clock in
            let request = OutgoingRequest(.GET, try ServiceURL("http://127.0.0.1:\(port)/v2/?signature=secret"))
            let error = await #expect(throws: CacheError.self) { try await transport.send(request) }
            #expect(error?.code == .unavailable)
            #expect(error?.retry == .exhausted)
            #expect(
                error?.message
                    == "GET http://127.0.0.1:\(port)/v2/: cannot connect: 127.0.0.1:\(port) refused the connection; start the server, or correct the address; tried 3 times"
            )
            #expect(clock.pauses.count == 2)
        }
    }

    @Test("waits for its turn when the host has enough to do")
    func limitsExchanges() async throws {
        let running = Running()
        let limiter = ExchangeLimiter(limit: 2)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    try? await limiter.run("host") {
                        await running.begin()
                        for _ in 0..<100 { await Task.yield() }
                        await running.end()
                    }
                }
            }
        }
        #expect(await running.most == 2)
        #expect(await running.total == 20)
    }

    @Test("is over when it is cancelled, also while it waits for its turn")
    func cancels() async throws {
        try await withServer { _ in
            for await _ in AsyncStream<Never>.makeStream().stream {}
            return ServerResponse(200)
        } _: { address in
            try await HTTPTransport.forTests(connectionsPerHost: 1) { transport, _ in
                let request = OutgoingRequest(.GET, try ServiceURL("http://\(address)/"))
                let tasks = (0..<3).map { _ in Task { _ = try await transport.send(request) } }
                for task in tasks {
                    task.cancel()
                    await #expect(throws: CancellationError.self) { try await task.value }
                }
            }
        }
    }
}

/// Counts what runs at once.
private actor Running {
    private var now = 0
    private(set) var most = 0
    private(set) var total = 0

    func begin() {
        now += 1
        most = max(most, now)
        total += 1
    }

    func end() { now -= 1 }
}
