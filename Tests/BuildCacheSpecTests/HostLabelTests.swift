import BuildCacheCore
import Testing

@Suite("A text that becomes part of a host")
struct HostLabelTests {
    static let hostile = [
        "evil.example:7141/", "evil.example", "a/b", "a:1", "a@b", "a?b", "a#b", "a\\b", "a b", "a\n", "", "-a", "a-",
        ".", "..",
        "a.", ".a", "A", "ä", "a_b", "%2e", "[::1]", "a\u{301}", String(repeating: "a", count: 64),
    ]

    @Test("is refused unless it is one label", arguments: hostile)
    func refuses(_ text: String) {
        let error = #expect(throws: CacheError.self) {
            try HostLabel(text, as: "region", example: "eu-west-1")
        }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.hasPrefix("invalid region \"") == true)
        #expect(error?.message.hasSuffix("expected a name like eu-west-1") == true)
    }

    @Test("stays in front of the known domain")
    func makes() throws {
        let label = try HostLabel("eu-west-1", as: "region", example: "eu-west-1")
        #expect(try ServiceURL([label], in: "amazonaws.com").base == "https://eu-west-1.amazonaws.com")
        #expect(try ServiceURL(scheme: "http", [], in: "[::1]", port: 80).base == "http://[::1]:80")
        #expect(throws: CacheError.self) { try ServiceURL([label], in: "amazonaws.com/evil") }
        #expect(throws: CacheError.self) { try ServiceURL([label], in: "a?b") }
        let long = try HostLabel(String(repeating: "a", count: 63), as: "bucket", example: "b")
        #expect(throws: CacheError.self) { try ServiceURL([long, long, long, long], in: "amazonaws.com") }
    }

    @Test("cannot be a path behind a URL unless it begins with a slash")
    func appends() throws {
        let base = try ServiceURL("http://169.254.170.2/v1/?old")
        #expect(try base.appending("/role?x=1").exposed == "http://169.254.170.2/v1/role?x=1")
        #expect(try base.appending("//evil.example/").host == "169.254.170.2")
        for path in ["", ".evil.example/", "@evil.example/", ":7141/", "role"] {
            let error = #expect(throws: CacheError.self) { try base.appending(path) }
            #expect(error?.code == .invalidSpec)
        }
    }
}
