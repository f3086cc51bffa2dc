import BuildCacheCore
import BuildCacheSpec
import NIOHTTP1
import TestServers
import Testing

@testable import BuildCacheHTTP

@Suite("A proxy of the environment", .timeLimit(.minutes(10)))
struct ProxyTests {
    private func proxy(_ variables: [String: String], for url: String) throws -> String? {
        let server = try ProxySettings(Environment(variables)).server(for: try ServiceURL(url))
        return server.map { "\($0.isSOCKS ? "socks " : "")\($0.host):\($0.port)" }
    }

    @Test("is found by the scheme of the request, in upper or lower case")
    func findsProxy() throws {
        let both = ["HTTP_PROXY": "http://plain:3128", "https_proxy": "secure.example/ignored"]
        #expect(try proxy(both, for: "http://example.com/") == "plain:3128")
        #expect(try proxy(both, for: "https://example.com/") == "secure.example:80")
        #expect(try proxy(["HTTP_PROXY": "http://plain"], for: "https://example.com/") == nil)
        #expect(try proxy(["HTTPS_PROXY": ""], for: "https://example.com/") == nil)
        #expect(try proxy(["HTTPS_PROXY": "socks5://[::1]"], for: "https://example.com/") == "socks ::1:1080")
        // In a CGI program the variable is a header of whoever asks.
        #expect(try proxy(["HTTP_PROXY": "evil", "REQUEST_METHOD": "GET"], for: "http://example.com/") == nil)
    }

    @Test("is not asked for this machine, nor for what NO_PROXY names")
    func findsExceptions() throws {
        func isDirect(_ exceptions: String, _ host: String) throws -> Bool {
            try proxy(["HTTP_PROXY": "proxy", "NO_PROXY": exceptions], for: "http://\(host)/") == nil
        }
        for host in ["localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]:5000"] { #expect(try isDirect("", host)) }
        let direct = [
            ("*", "example.com"), ("example.com", "example.com"), ("example.com", "a.example.com"),
            (".example.com", "a.example.com"), ("*.example.com", "a.b.example.com"),
            ("a.com, EXAMPLE.com", "example.com"), ("example.com:5000", "example.com:5000"),
            ("example.com:80", "example.com"), ("10.0.0.0/8", "10.1.2.3"), ("10.1.2.3", "10.1.2.3"),
            ("fd00::/8", "[fd12::1]"), ("10.1.2.0/23", "10.1.3.255"),
        ]
        for (exceptions, host) in direct { #expect(try isDirect(exceptions, host), "\(exceptions) \(host)") }
        let proxied = [
            ("", "example.com"), ("example.com", "badexample.com"), (".example.com", "example.com"),
            ("example.com:5000", "example.com"), ("10.0.0.0/8", "11.1.2.3"), ("10.1.2.0/23", "10.1.4.0"),
            ("10.0.0.0/99", "10.1.2.3"), ("::/0", "10.1.2.3"), (",", "example.com"),
        ]
        for (exceptions, host) in proxied { #expect(try !isDirect(exceptions, host), "\(exceptions) \(host)") }
    }

    @Test(
        "that makes no sense is an error without its password",
        arguments: ["https://u:secret@proxy", "http://u:secret@", "ftp://u:secret@proxy"])
    func refuses(_ text: String) {
        let error = #expect(throws: CacheError.self) { try ProxySettings(Environment(["HTTPS_PROXY": text])) }
        #expect(error?.message.hasPrefix("HTTPS_PROXY is no proxy that can be used: ") == true)
        #expect(error?.debugDescription.contains("secret") == false)
    }

    @Test("is asked for a connection to the host, and gets its own login")
    func passesOn() async throws {
        let log = RequestLog()
        try await withServer { request in
            _ = log.note(request)
            return ServerResponse(502)
        } _: { address in
            let environment = Environment(["HTTP_PROXY": "http://me:p%40ss@\(address)"])
            try await HTTPTransport.forTests(environment: environment, attempts: 1) { transport, _ in
                let request = OutgoingRequest(.GET, try ServiceURL("http://registry.example:5000/v2/"))
                let error = await #expect(throws: CacheError.self) { try await transport.send(request) }
                #expect(error?.code == .unavailable)
            }
        }
        #expect(log.requests.map(\.method) == ["CONNECT"])
        #expect(log.requests.map(\.host) == ["registry.example"])
        // "me:p@ss" in base64.
        #expect(log.requests.map { $0.headers["proxy-authorization"] } == ["Basic bWU6cEBzcw=="])
    }
}
