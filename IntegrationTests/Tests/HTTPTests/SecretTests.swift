import AsyncHTTPClient
@testable import BuildCacheCore
import NIOCore
import NIOHTTP1
import NIOSSL
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheHTTP

@Suite("A credential in a request", .timeLimit(.minutes(10)))
struct SecretTests {
    private func form(_ url: String) throws -> OutgoingRequest {
        OutgoingRequest(
            posting: CredentialForm([("username", "alice")], secrets: [("password", Secret("hunter2"))]),
            to: try ServiceURL(url))
    }

    @Test("that is in its body does not follow a redirect to another host", arguments: [301, 302, 303, 307, 308])
    func bodies(_ status: Int) async throws {
        let log = RequestLog()
        try await withServer { request in
            _ = log.note(request)
            return ServerResponse(200)
        } _: { thief in
            try await withServer { _ in
                ServerResponse(status, headers: [("Location", "http://\(thief)/stolen")])
            } _: { address in
                try await HTTPTransport.forTests { transport, clock in
                    let error = await #expect(throws: CacheError.self) {
                        try await transport.send(try form("http://\(address)/token"))
                    }
                    #expect(error?.code == ([307, 308].contains(status) ? .denied : .unsupported))
                    #expect(error?.debugDescription.contains("hunter2") == false)
                    #expect(clock.pauses == [])
                }
            }
        }
        #expect(log.requests.count == 0)
    }

    @Test("that is in its body follows a redirect on its own host")
    func ownHost() async throws {
        try await withServer { request in
            request.path == "/token"
                ? ServerResponse(307, headers: [("Location", "/new")])
                : ServerResponse(200, body: try await request.bytes())
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let response = try await transport.send(try form("http://\(address)/token"))
                #expect(try await response.collect(upTo: 100) == Array("username=alice&password=hunter2".utf8))
            }
        }
    }

    @Test(
        "does not follow a redirect from https to http",
        .enabled(if: Tool("openssl").isInstalled, "openssl is not installed"))
    func downgrade() async throws {
        let log = RequestLog()
        try await withServer { request in
            _ = log.note(request)
            return ServerResponse(200)
        } _: { plain in
            let redirect =
                "HTTP/1.1 307 Moved\r\nLocation: http://\(plain)/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            try await TLSServer.run(responding: redirect) { server in
                try await HTTPTransport.forTests { transport, _ in
                    var request = OutgoingRequest(.GET, try ServiceURL("https://\(server.address)/"))
                    request.tls = try transport.tls(TLSOptions(authorities: [server.certificateFile]))
                    // Without a credential there is nothing to lose.
                    await (try await transport.send(request)).discard()
                    #expect(log.requests.count == 1)
                    var secret = request
                    try secret.credentials.set("Authorization", Secret("Bearer hunter2"))
                    var form = try form("https://\(server.address)/")
                    form.tls = request.tls
                    for request in [secret, form] {
                        let error = await #expect(throws: CacheError.self) { try await transport.send(request) }
                        #expect(error?.code == .denied)
                        #expect(error?.message.contains("without encryption") == true)
                    }
                    #expect(log.requests.count == 1)
                    #expect(server.requests.count == 3)
                }
            }
        }
    }

    @Test(
        "with a control character in it is refused without its value",
        arguments: ["\n", "\r\n", "\0", "\u{1B}[2J", "\u{7F}"])
    func controlCharacters(_ end: String) throws {
        var request = OutgoingRequest(.GET, try ServiceURL("http://127.0.0.1/"))
        let error = #expect(throws: CacheError.self) {
            try request.credentials.set("X-Amz-Security-Token", Secret("hunter2" + end))
        }
        #expect(error?.code == .invalidSpec)
        #expect(error?.retry == .never)
        #expect(error?.message.contains("X-Amz-Security-Token") == true)
        #expect(error?.debugDescription.contains("hunter2") == false)
    }

    @Test("is not printed, dumped or reflected with the request")
    func hides() throws {
        var request = try form("https://user.example/token?sig=hunter2")
        try request.credentials.set("Authorization", Secret("Bearer hunter2"))
        request.headers.add(name: "X-Other", value: "hunter2")
        var dumped = ""
        dump(request, to: &dumped)
        dump(request.credentials, to: &dumped)
        dump(CredentialForm([], secrets: [("password", Secret("hunter2"))]), to: &dumped)
        for text in [dumped, "\(request)", String(reflecting: request), "\(request.credentials)", "\([request])"] {
            #expect(!text.contains("hunter2"))
        }
        #expect("\(request)" == "POST https://user.example/token")
    }

    @Test("that is a signature in a query is not in a span: the client's own spans, which hold queries, are off")
    func spans() {
        #expect(HTTPClients(.empty, connectionsPerHost: 1).directConfiguration.tracing.tracer == nil)
    }

    @Test("is not in the error of another library that repeats headers, nor in a log, and is not tried again")
    func foreignErrors() async throws {
        let lines = LogLines()
        try await withServer { _ in
            ServerResponse(200)
        } _: { address in
            try await HTTPTransport.forTests { transport, clock in
                var transport = transport
                transport.logger = lines.logger
                for header in [("X-Odd", "hunter2\n"), ("hunter2 \n", "x")] {
                    var request = OutgoingRequest(.GET, try ServiceURL("http://\(address)/"))
                    request.headers.add(name: header.0, value: header.1)
                    let error = await #expect(throws: CacheError.self) { try await transport.send(request) }
                    #expect(error?.code == .invalidSpec)
                    #expect(error?.cause == nil)
                    #expect(error?.debugDescription.contains("hunter2") == false)
                }
                #expect(clock.pauses == [])
            }
        }
        #expect(!lines.all.isEmpty)
        #expect(lines.all.filter { $0.contains("hunter2") } == [])
    }
}

@Suite(
    "A TLS connection", .enabled(if: Tool("openssl").isInstalled, "openssl is not installed"), .timeLimit(.minutes(10)))
struct TLSTests {
    private static let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    @Test(
        "is of version 1.2 or later",
        arguments: [(TLSVersion.tlsv1, false), (.tlsv11, false), (.tlsv12, true), (.tlsv13, true)])
    func versions(_ version: TLSVersion, _ isSpoken: Bool) async throws {
        try await TLSServer.run(version, responding: Self.answer) { server in
            // With options of its own, and with those of the environment.
            for own in [true, false] {
                let environment = Environment(own ? [:] : ["SSL_CERT_FILE": server.certificateFile])
                try await HTTPTransport.forTests(environment: environment, attempts: 1) { transport, _ in
                    var request = OutgoingRequest(.GET, try ServiceURL("https://\(server.address)/"))
                    if own { request.tls = try transport.tls(TLSOptions(authorities: [server.certificateFile])) }
                    let sent = request
                    if isSpoken {
                        let response = try await transport.send(sent)
                        await response.discard()
                        #expect(response.status == .ok)
                    } else {
                        let error = await #expect(throws: CacheError.self) { try await transport.send(sent) }
                        #expect(error?.code == .unavailable)
                        #expect(error?.message.contains("TLS 1.2 or later") == true, "\(error?.message ?? "")")
                    }
                }
            }
            #expect(server.requests.count == (isSpoken ? 2 : 0))
        }
    }

    @Test("that fails says why in words of our own")
    func reasons() async throws {
        try await TLSServer.run(responding: Self.answer) { server in
            try await HTTPTransport.forTests(attempts: 1) { transport, _ in
                let request = OutgoingRequest(.GET, try ServiceURL("https://\(server.address)/"))
                let error = await #expect(throws: CacheError.self) { try await transport.send(request) }
                #expect(
                    error?.message.contains("the certificate of the server is not trusted") == true,
                    "\(error?.message ?? "")")
                #expect(try await !transport.isAnswered(request))
            }
        }
        try await withServer { _ in
            ServerResponse(200)
        } _: { address in
            try await HTTPTransport.forTests(attempts: 1) { transport, _ in
                let request = OutgoingRequest(.GET, try ServiceURL("https://\(address)/"))
                let error = await #expect(throws: CacheError.self) { try await transport.send(request) }
                #expect(error?.message.contains("does not speak TLS") == true, "\(error?.message ?? "")")
                #expect(try await transport.isAnswered(OutgoingRequest(.GET, try ServiceURL("http://\(address)/"))))
            }
        }
        let missing = TLSOptions(authorities: ["/nowhere/a.pem"])
        let error = #expect(throws: CacheError.self) { try HTTPTransport.shared.tls(missing) }
        #expect(error?.code == .invalidSpec)
        #expect(error?.cause == nil)
    }
}
