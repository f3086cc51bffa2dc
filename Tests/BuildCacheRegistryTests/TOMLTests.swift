import BuildCacheCore
import Testing

@testable import BuildCacheRegistry

/// A document as text: tables in braces with their keys in order, numbers and times as they were written.
private func render(_ table: TOMLTable) -> String {
    "{" + table.keys.map { "\($0)=\(table[$0].map(render) ?? "")" }.joined(separator: ",") + "}"
}

private func render(_ value: TOMLValue) -> String {
    switch value {
    case .string(let text): "\"\(text)\""
    case .boolean(let value): "\(value)"
    case .other(let text): text
    case .list(let list): "[" + list.elements.map(render).joined(separator: ",") + "]"
    case .table(let table): render(table)
    }
}

private func parse(_ text: String) throws(CacheError) -> String { render(try TOMLReader.read(Array(text.utf8))) }

@Suite("A TOML document")
struct TOMLTests {
    private static let documents: [(String, String)] = [
        ("", "{}"),
        ("# nothing\n\n  # more", "{}"),
        ("\u{FEFF}a = true", "{a=true}"),
        ("a = 'x' # why\r\nb.c = \"y\"\r\n", "{a=\"x\",b={c=\"y\"}}"),
        ("\"a.b\" . 'c' = 1", "{a.b={c=1}}"),
        (
            "t = 1979-05-27 07:32:00 # time\nf = -6.5e-2\nh = 0xDEAD_beef\ni = +inf",
            "{t=1979-05-27 07:32:00,f=-6.5e-2,h=0xDEAD_beef,i=inf}"
        ),
        (#"a = "\t\"\\\u00e9\U0001F600""#, "{a=\"\t\"\\é😀\"}"),
        ("a = '''\n'x'\\n'''''", "{a=\"'x'\\n''\"}"),
        ("a = \"\"\"\none \\\n    two\nthree\"\"\"\"", "{a=\"one two\nthree\"\"}"),
        ("a = [1, [ 'x', ], # why\n true,\n]", "{a=[1,[\"x\"],true]}"),
        ("a = {b = 1, c.d = [ {} ]}", "{a={b=1,c={d=[{}]}}}"),
        ("[a]\n[a.b]\nc=1\n[d.e.f]\n[d]\ng=2", "{a={b={c=1}},d={e={f={}},g=2}}"),
        ("[[a]]\nb=1\n[[a.c]]\n[[a.c]]\n[[a]]\n[a.d]\n", "{a=[{b=1,c=[{},{}]},{d={}}]}"),
        ("[ \"docker.io\" . 'x y' ]", "{docker.io={x y={}}}"),
        // As BuildKit's documentation has it.
        (
            """
            debug = true
            insecure-entitlements = [ "network.host" ]
            [registry."docker.io"]
              mirrors = ["yourmirror.local:5000", "core.harbor.domain/proxy.docker.io"]
              http = true
              [[registry."docker.io".keypair]]
                key="/etc/config/key.pem"
            [registry."yourmirror.local:5000"]
              http = true
            [[worker.oci.gcpolicy]]
              reservedSpace = "10GB"
              keepDuration = 172800
              filters = [ "type==source.local" ]
            """,
            #"{debug=true,insecure-entitlements=["network.host"],registry={docker.io={mirrors=["yourmirror.local:5000","core.harbor.domain/proxy.docker.io"],http=true,keypair=[{key="/etc/config/key.pem"}]},yourmirror.local:5000={http=true}},worker={oci={gcpolicy=[{reservedSpace="10GB",keepDuration=172800,filters=["type==source.local"]}]}}}"#
        ),
    ]

    @Test("is read as its specification has it", arguments: documents.indices)
    func valid(_ index: Int) throws {
        let (text, expected) = Self.documents[index]
        #expect(try parse(text) == expected)
    }

    @Test(
        "that is not valid is refused with the number of its line",
        arguments: [
            "a", "a =", "= 1", "a = 1 b = 2", "a = b", "a = tru", "a = 'x", "a = \"x\ny\"", "a = \"\\x\"",
            "a = \"\\ud800\"",
            "a = \"\\u12\"", "a = '''x", "a = \"\"\"x\"\"", "a = [1", "a = [1 2]", "a = {b = 1", "a = {b = 1,}", "[a",
            "[a]]",
            "[[a]", "[]", "[a]\n[a]", "a = 1\na = 2", "a = 1\n[a]", "a.b = 1\n[a]", "[a]\n[[a]]", "[[a]]\n[a]",
            "a = [{}]\n[[a]]",
            "a = {}\na.b = 1", "a = {}\n[a.b]", "[a.b]\n[a]\nb.c = 1", "a = 1\na.b = 2", "a = \"\u{1}\"", "a = 1\r",
            "a = 'x'\rb = 1",
            "a..b = 1", "a = -", "a b = 1", "é = 1",
        ])
    func invalid(_ text: String) {
        let error = #expect(throws: CacheError.self) { try parse(text) }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.hasPrefix("line ") == true)
    }

    @Test("that is not UTF-8 is refused")
    func encoding() {
        let error = #expect(throws: CacheError.self) { try TOMLReader.read([97, 61, 39, 0xFF, 39]) }
        #expect(error?.code == .invalidSpec)
    }

    @Test(
        "of one kind of thing over and over ends, however long it is",
        arguments: ["[", "{", "a=[", "a={b=", "[[a]]\n", "\"", "'''", "a.", "#", "[a.", "\\"])
    func repeated(_ text: String) {
        _ = try? parse(String(repeating: text, count: 200_000 / text.count))
    }

    @Test("with many tables takes time in proportion to them")
    func many() throws {
        let names = (0..<20_000).map { "[a.b\($0)]\nc=1" } + (0..<20_000).map { _ in "[[d]]" }
        let table = try TOMLReader.read(Array(names.joined(separator: "\n").utf8))
        #expect(try table.table("a")?.keys.count == 20_000)
    }

    @Test("of random bytes is read or refused, and nothing else")
    func random() {
        var state: UInt64 = 42
        func next(_ limit: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % limit
        }
        let pieces = [
            "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\r\n", "#", " ", "a", "b", "\"", "'", "\"\"\"", "'''",
            "\\", "\\u00e9",
            "true", "1", "1e3", "-", "\u{0}", "é", "\t",
        ]
        for _ in 0..<20_000 {
            _ = try? parse((0..<next(40)).map { _ in pieces[next(pieces.count)] }.joined())
        }
    }
}
