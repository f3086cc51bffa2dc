import BuildCacheCore
import BuildCacheHTTP
import TestTools
import Testing

@Suite("An XML document")
struct XMLNodeTests {
    private func parse(_ text: String) throws(CacheError) -> XMLNode { try XMLNode.parse(Array(text.utf8)) }

    private func code(_ bytes: [UInt8], _ limits: XMLLimits = XMLLimits()) -> CacheError.Code? {
        do throws(CacheError) {
            _ = try XMLNode.parse(bytes, limits: limits)
            return nil
        } catch { return error.code }
    }

    @Test("is read as elements and text, without prefixes and attributes")
    func reads() throws {
        let root = try parse(
            """
            \u{FEFF}<?xml version="1.0" encoding="UTF-8"?>\r
            <!-- a list --><s3:List xmlns:s3="http://s3.example/" a = 'b "c"'>\r
              <Key> one </Key><Key/><Owner><ID >7</ID ></Owner>
            </s3:List><?end?>
            """)
        #expect(root.name == "List")
        #expect(root.children.map(\.name) == ["Key", "Key", "Owner"])
        #expect(root.all("Key").map(\.text) == [" one ", ""])
        #expect(root.value("Key") == "one")
        #expect(root.first("Owner")?.value("ID") == "7")
        #expect(root.value("Nothing") == nil)
    }

    @Test(
        "has the text that its references, sections and line ends stand for",
        arguments: [
            ("&lt;&gt;&amp;&apos;&quot;", "<>&'\""), ("&#65;&#x42;&#x1F600;", "AB😀"),
            ("a<![CDATA[<b>&amp;]]>c", "a<b>&amp;c"),
            ("a<!-- - -->b<?x?>c", "abc"), ("1\r\n2\r3\n4", "1\n2\n3\n4"), ("é", "é"), ("&#0000000065;", "A"),
        ])
    func resolves(_ written: String, _ meant: String) throws {
        #expect(try parse("<a>\(written)</a>").text == meant)
    }

    @Test("may hold an instruction without data, which ended the process with Foundation's parser")
    func emptyInstruction() throws {
        #expect(try parse("<Error><?x?></Error>") == XMLNode(name: "Error"))
    }

    @Test(
        "is refused if it is not well-formed, declares something, or is not UTF-8",
        arguments: [
            "", " ", "x", "<", "<a", "<a>", "<a></b>", "<a><b></a></b>", "</a>", "<a/><b/>", "<a/>x", "x<a/>",
            "<a b></a>",
            "<a b=c></a>", "<a b='<'/>", "<a b='", "<1/>", "<->", "<a>&</a>", "<a>&b;</a>", "<a>&#0;</a>",
            "<a>&#xD800;</a>",
            "<a>&#+5;</a>", "<a>&#x110000;</a>", "<a>&#;</a>", "<a>&lt</a>", "<!DOCTYPE a><a/>", "<a><!DOCTYPE a></a>",
            "<!ELEMENT a>", "<![CDATA[x]]>", "<a><![CDATA[x]]</a>", "<a><!-- x</a>", "<a><? x</a>", "<a>\0</a>",
            "<!doctype html><html></html>",
        ])
    func malformed(_ text: String) { #expect(code(Array(text.utf8)) == .corrupted) }

    @Test("is refused if a name, a comment or an instruction has a byte that is not UTF-8, or if it is UTF-16")
    func wrongBytes() {
        for prefix in ["<Error><C", "<Error a", "<a:", "<!-- ", "<?x ", "<a>", "<a b='"] {
            for suffix in ["/></Error>", "='1'/>", "-->", "?>", "</a>"] {
                #expect(code(Array(prefix.utf8) + [0xC8] + Array(suffix.utf8)) == .corrupted)
            }
        }
        let document = "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>"
        let wide = Array(document.utf16).flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
        #expect(code([0xFF, 0xFE] + wide) == .corrupted)
        #expect(code(wide) == .corrupted)
    }

    @Test("is refused past a limit on bytes, elements and depth")
    func limits() {
        let limits = XMLLimits(bytes: 100, elements: 5, depth: 3)
        func code(_ text: String) -> CacheError.Code? { self.code(Array(text.utf8), limits) }
        #expect(code("<a><b><c/></b></a>") == nil)
        #expect(code("<a><b><c><d/></c></b></a>") == .limitExceeded)
        #expect(code("<a><b/><b/><b/><b/></a>") == nil)
        #expect(code("<a><b/><b/><b/><b/><b/></a>") == .limitExceeded)
        #expect(code("<a>" + String(repeating: "x", count: 93) + "</a>") == nil)
        #expect(code("<a>" + String(repeating: "x", count: 94) + "</a>") == .limitExceeded)
        let deep = String(repeating: "<a>", count: 1_000_000)
        #expect(self.code(Array(deep.utf8)) == .limitExceeded)
    }

    @Test("of any bytes is read or refused: a hundred thousand changes of good ones end nothing")
    func survives() {
        let samples = [
            "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>a &amp; b</Message></Error>",
            "<ListBucketResult xmlns=\"x\"><Contents><Key>a</Key><Size>1</Size></Contents><!-- c --></ListBucketResult>",
            "<a><![CDATA[x]]>&#65;<?p i?><b c='d'/></a>",
        ].map { Array($0.utf8) }
        var random = SeededGenerator(seed: 12)
        let alphabet = Array("<>/?!-[]&;#x=\"' \n\0".utf8) + [0xC8, 0xFF, 0x80]
        for round in 0..<100_000 {
            var bytes = samples[round % samples.count]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[place] = alphabet.randomElement(using: &random) ?? 0
                case 1: bytes.insert(alphabet.randomElement(using: &random) ?? 0, at: place)
                default: bytes.removeSubrange(place..<min(bytes.count, place + 3))
                }
                if bytes.isEmpty { break }
            }
            _ = code(bytes)
        }
    }
}
