@testable import BuildCacheCore
import NIOHTTP1
@testable import TestServers
import Testing

@testable import BuildCacheHTTP

@Suite("A server that repeats a credential of the request", .timeLimit(.minutes(10)))
struct EchoTests {
    /// Ways to write `hunter2 & more`.
    static let forms = [
        "hunter2 & more", "hunter2%20%26%20more", "hunter2+%26+more", #"hunter2 \& more"#, "xxhunter2 & moreyy",
    ]
    /// `alice:hunter2 & more` in base64.
    private static let login = "YWxpY2U6aHVudGVyMiAmIG1vcmU="

    private func requests(_ address: String) throws -> [OutgoingRequest] {
        let url = try ServiceURL("http://\(address)/")
        var bearer = OutgoingRequest(.GET, url)
        try bearer.credentials.set("Authorization", Secret("Bearer hunter2 & more"))
        var basic = OutgoingRequest(.GET, url)
        try basic.credentials.set("Authorization", Secret("Basic \(Self.login)"))
        let form = CredentialForm([("grant_type", "password")], secrets: [("password", Secret("hunter2 & more"))])
        return [
            bearer, basic, OutgoingRequest(posting: form, to: url),
            OutgoingRequest(.GET, try url.adding([("comp", "list"), ("sig", "hunter2 & more")])),
        ]
    }

    @Test("in the words of a refusal gets none of its words into the error", arguments: forms)
    func words(_ text: String) async throws {
        for body in ["you sent \(text)", #"{"code":"DENIED","message":"you sent \#(text)"}"#] {
            try await withServer { request in
                // Of a login, what goes over the wire is another text.
                let isBasic = request.headers["authorization"]?.hasPrefix("Basic") == true
                return ServerResponse(403, body: Array(body.replacing(text, with: isBasic ? Self.login : text).utf8))
            } _: { address in
                try await HTTPTransport.forTests { transport, _ in
                    for request in try requests(address) {
                        let failure = await (try await transport.send(request)).failure()
                        #expect(!failure.error.message.contains("hunter2"))
                        #expect(!failure.error.message.contains(Self.login))
                        #expect(failure.error.message.contains("its words are not shown"))
                        #expect(failure.error.code == .denied)
                        #expect(failure.code == nil || failure.code == "DENIED")
                    }
                }
            }
        }
    }

    @Test(
        "with escapes of its format gets none of its words into the error",
        arguments: [
            #"{"message":"you sent \u0068unter2 \u0026 more"}"#, #"{"code":"hunter2\u0020& more"}"#,
            #"{"errors":[{"code":"DENIED","message":"hunter2 & mor\u0065"}]}"#,
        ])
    func escapes(_ body: String) async throws {
        try await withServer { _ in
            ServerResponse(403, body: Array(body.utf8))
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                for request in try requests(address) {
                    let failure = await (try await transport.send(request)).failure()
                    #expect(!failure.error.message.contains("unter2"))
                    #expect(failure.error.message.contains("its words are not shown"))
                    #expect(failure.code == nil || failure.code == "DENIED")
                }
                let request = try requests(address)[0]
                let failure = await (try await transport.send(request)).failure { _ in ("Denied", "hunter2 & more") }
                #expect(!failure.error.message.contains("unter2"))
            }
        }
    }

    // A search that starts afresh at each byte would need hours.
    @Test("nearly, at every byte, is searched in linear time")
    func repeated() async throws {
        let secret = String(repeating: "a", count: 16 << 10) + "b"
        var request = OutgoingRequest(.GET, try ServiceURL("https://one.example/"))
        try request.credentials.set("Authorization", Secret("Bearer \(secret)"))
        let secrets = RequestSecrets(request)
        let words = [UInt8](repeating: UInt8(ascii: "a"), count: HTTPFailure.bodyLimit)
        #expect(!secrets.occur(in: words))
        #expect(secrets.occur(in: words + secret.utf8 + words))
    }

    @Test("in an address that it sends to gets it into no error or log of the next request")
    func addresses() async throws {
        let lines = LogLines()
        try await withServer { _ in
            ServerResponse(403)
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                var transport = transport
                transport.logger = lines.logger
                var request = OutgoingRequest(
                    .PUT, try ServiceURL("http://\(address)/uploads/hunter2%20%26%20more?state=1"))
                try request.credentials.set("Authorization", Secret("Bearer hunter2 & more"))
                let failure = await (try await transport.send(request)).failure()
                #expect(failure.error.message.hasPrefix("PUT <redacted> returned 403"))
                #expect("\(request)" == "PUT <redacted>")
            }
        }
        #expect(!lines.all.isEmpty)
        #expect(lines.all.filter { $0.contains("hunter2") } == [])
    }

    @Test("says everything else in its own words")
    func others() async throws {
        try await withServer { _ in
            ServerResponse(403, body: Array("the scope repository:app:pull of grant_type=password is not yours".utf8))
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                for request in try requests(address) {
                    let error = await (try await transport.send(request)).failure().error
                    #expect(error.message.contains("repository:app:pull of grant_type=password is not yours"))
                }
            }
        }
    }

    @Test("in the reason of its status gets the usual reason into the error")
    func reasons() async throws {
        try await RawServer.run { _ in
            .raw([.text("HTTP/1.1 404 hunter2\r\nContent-Length: 0\r\n\r\n")])
        } _: { address in
            try await HTTPTransport.forTests { transport, _ in
                let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                #expect(await response.failure().error.message.hasSuffix(" returned 404 Not Found"))
            }
        }
    }

    @Test("in the address of a redirect gets it into no error, log or later address")
    func redirects() async throws {
        let lines = LogLines()
        try await withServer { request in
            request.path == "/" && request.host.hasPrefix("127")
                ? ServerResponse(302, headers: [("Location", "http://localhost:1/hunter2%20%26%20more/x")])
                : ServerResponse(200)
        } _: { address in
            try await HTTPTransport.forTests(attempts: 1) { transport, _ in
                var transport = transport
                transport.logger = lines.logger
                var request = OutgoingRequest(.GET, try ServiceURL("http://\(address)/"))
                try request.credentials.set("Authorization", Secret("Bearer hunter2 & more"))
                let error = await #expect(throws: CacheError.self) { try await transport.send(request) }
                #expect(error?.message.hasPrefix("GET <redacted>: ") == true, "\(error?.message ?? "")")
                #expect(error?.debugDescription.contains("hunter2") == false)
            }
        }
        #expect(lines.all.filter { $0.contains("hunter2") } == [])
    }
}
