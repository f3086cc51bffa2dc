@testable import BuildCacheCore
import NIOHTTP1
@testable import TestServers
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
            ("[fd12::1]:5000", "[fd12::1]:5000"), ("[FD12:0::1]:80", "[fd12::1]"),
        ]
        for (exceptions, host) in direct { #expect(try isDirect(exceptions, host), "\(exceptions) \(host)") }
        let proxied = [
            ("", "example.com"), ("example.com", "badexample.com"), (".example.com", "example.com"),
            ("example.com:5000", "example.com"), ("10.0.0.0/8", "11.1.2.3"), ("10.1.2.0/23", "10.1.4.0"),
            ("10.0.0.0/99", "10.1.2.3"), ("::/0", "10.1.2.3"), (",", "example.com"),
            ("[fd12::1]:5000", "[fd12::1]"), ("[]:80", "[fd12::1]"),
        ]
        for (exceptions, host) in proxied { #expect(try !isDirect(exceptions, host), "\(exceptions) \(host)") }
    }

    @Test(
        "that makes no sense is an error without its password",
        arguments: [
            "https://u:secret@proxy", "http://u:secret@", "ftp://u:secret@proxy", "http://u:secret@proxy:99999",
        ])
    func refuses(_ text: String) {
        let error = #expect(throws: CacheError.self) { try proxy(["HTTPS_PROXY": text], for: "https://example.com/") }
        #expect(error?.message.hasPrefix("invalid HTTPS_PROXY: ") == true)
        #expect(error?.debugDescription.contains("secret") == false)
    }

    @Test(
        "is not asked for what is on this machine or link, where metadata services give identities away",
        arguments: [
            "http://169.254.169.254/latest/api/token", "http://169.254.170.2/role", "http://169.254.170.23/",
            "http://[fd00:ec2::254]/", "http://[fd00:ec2::23]/", "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:127.0.0.1]:5000/", "http://[0:0:0:0:0:0:0:1]/", "http://localhost/",
            "https://169.254.169.254/",
        ])
    func staysOnLink(_ url: String) throws {
        for proxies in [["HTTP_PROXY": "http://proxy:3128", "HTTPS_PROXY": "http://proxy:3128"]] {
            #expect(try proxy(proxies, for: url) == nil)
        }
        #expect(try proxy(["HTTP_PROXY": "proxy"], for: "http://169.253.1.1/") == "proxy:80")
        #expect(try proxy(["HTTP_PROXY": "proxy"], for: "http://[fd00:ec3::1]/") == "proxy:80")
    }

    @Test(
        "that cannot be used stops only the requests that would go through it",
        arguments: ["https://proxy.example:3128", "ftp://proxy", "http://", "http://a b/"])
    func unused(_ value: String) throws {
        let variables = ["HTTPS_PROXY": value, "NO_PROXY": "direct.example"]
        for url in [
            "http://registry.example/", "https://127.0.0.1:5000/", "https://localhost/", "https://direct.example/",
        ] {
            #expect(try proxy(variables, for: url) == nil)
        }
        #expect(throws: CacheError.self) { try proxy(variables, for: "https://registry.example/") }
        #expect(try proxy(["HTTPS_PROXY": value, "NO_PROXY": "*"], for: "https://registry.example/") == nil)
        #expect(try proxy(["HTTPS_PROXY": value, "NO_PROXY": " * \r"], for: "https://registry.example/") == nil)
    }

    @Test(
        "may have space around it, as lines of files with variables do",
        arguments: ["http://plain:3128 ", "\thttp://plain:3128\r\n"])
    func trims(_ value: String) throws {
        #expect(try proxy(["HTTP_PROXY": value], for: "http://registry.example/") == "plain:3128")
        #expect(try proxy(["HTTP_PROXY": " "], for: "http://registry.example/") == nil)
    }

    @Test("that cannot be used does not stop a request to this machine")
    func unusedOverHTTP() async throws {
        try await withServer { _ in
            ServerResponse(200)
        } _: { address in
            for value in ["https://proxy.example:3128", "http://proxy.example:3128 "] {
                let environment = Environment(["HTTPS_PROXY": value, "HTTP_PROXY": value])
                try await HTTPTransport.forTests(environment: environment, attempts: 1) { transport, _ in
                    let response = try await transport.send(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                    await response.discard()
                    #expect(response.status == .ok)
                }
            }
        }
    }

    @Test(
        "is not asked for a network or a port of NO_PROXY that is a number within bounds",
        arguments: [
            "0", "1", "-1", "+8", "128", "129", "2147483648", "4294967296", "9223372036854775808", "", " 1", "1e3",
            "NaN",
        ])
    func numbers(_ text: String) throws {
        // Whatever the number is, the list is read, and a request has an answer.
        let isNetwork = ["0", "1"].contains(text)
        #expect(
            try (proxy(["HTTP_PROXY": "p", "NO_PROXY": "10.0.0.0/\(text)"], for: "http://10.1.2.3/") == nil)
                == isNetwork)
        _ = try proxy(["HTTP_PROXY": "p", "NO_PROXY": "example.com:\(text)"], for: "http://example.com:1/")
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
