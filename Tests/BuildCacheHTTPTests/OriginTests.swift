import BuildCacheCore
import Testing

@testable import BuildCacheHTTP

@Suite("The place that a credential may be sent to")
struct OriginTests {
    private func isAllowed(
        _ url: String, isAmbient: Bool = true, environment: [String?] = [], allowed: CredentialHosts = .none
    ) throws -> Bool {
        let origin = CredentialOrigin(
            "the token", domains: [".provider.example"], environment: environment, remedy: "set X", allowed: allowed)
        do throws(CacheError) {
            try origin.check(try ServiceURL(url), isAmbient: isAmbient)
            return true
        } catch {
            #expect(error.code == .denied)
            #expect(error.message.contains("allowedHosts") && error.message.contains("set X"))
            return false
        }
    }

    @Test("is the provider's and the environment's for a credential of the environment")
    func ambient() throws {
        #expect(try isAllowed("https://a.provider.example/x"))
        for url in [
            "https://evil.example/", "https://provider.example.evil.example/", "https://evilprovider.example/",
            "http://a.provider.example/", "http://127.0.0.1:8080/", "https://localhost/",
        ] {
            #expect(try !isAllowed(url), "\(url)")
        }
        let named = ["http://host.example:8080/path", nil, "", "no URL"]
        #expect(try isAllowed("http://host.example:8080/other", environment: named))
        for url in ["http://host.example/", "https://host.example:8080/", "https://a.host.example:8080/"] {
            #expect(try !isAllowed(url, environment: named), "\(url)")
        }
    }

    @Test("is the caller's for a credential that came with the place, over TLS or on this machine")
    func explicit() throws {
        for url in ["https://mine.example/", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost:8080/"] {
            #expect(try isAllowed(url, isAmbient: false))
        }
        #expect(try !isAllowed("http://mine.example/", isAmbient: false))
    }

    @Test("may be one that the program allows: a host, one port of it, all below a domain, or any")
    func allowed() throws {
        let hosts: CredentialHosts = ["one.example", "two.example:8443", "*.three.example", "LOCALHOST"]
        for url in [
            "https://one.example/", "http://one.example:80/", "https://two.example:8443/", "https://a.three.example/",
            "http://a.b.three.example/", "http://localhost:1/",
        ] {
            #expect(try isAllowed(url, allowed: hosts), "\(url)")
        }
        for url in [
            "https://a.one.example/", "https://two.example/", "https://three.example/", "https://xthree.example/",
        ] {
            #expect(try !isAllowed(url, allowed: hosts), "\(url)")
        }
        #expect(try isAllowed("http://evil.example/", allowed: .any))
        #expect(try !isAllowed("http://evil.example/", allowed: .none))
    }
}
