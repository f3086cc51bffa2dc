import BuildCacheCore
import Testing

@Suite("The JSON writer")
struct JSONWriterTests {
    @Test(
        "escapes strings as Go does",
        arguments: [
            ("plain / text", #""plain / text""#),
            (#"quote " and \"#, #""quote \" and \\""#),
            ("<a href='x'>&", #""\u003ca href='x'\u003e\u0026""#),
            ("\u{8}\u{C}\n\r\t", #""\b\f\n\r\t""#),
            ("\u{0}\u{1}\u{B}\u{1F}", #""\u0000\u0001\u000b\u001f""#),
            ("\u{7F}", "\"\u{7F}\""),
            ("a\u{2028}b\u{2029}", #""a\u2028b\u2029""#),
            // Their neighbours, equal in the first two bytes, are left alone.
            ("\u{2027}\u{202A}", "\"\u{2027}\u{202A}\""),
            ("für 構築 🐳", "\"für 構築 🐳\""),
            ("", #""""#),
        ])
    func escapes(_ text: String, _ json: String) {
        var writer = JSONWriter()
        writer.string(text)
        #expect(String(decoding: writer.bytes, as: UTF8.self) == json)
    }

    @Test(
        "writes an escape for each byte that is no UTF-8",
        arguments: [
            ([0x61, 0xFF, 0x62], #""a\ufffdb""#), ([0xC3], #""\ufffd""#), ([0xE2, 0x82], #""\ufffd\ufffd""#),
            ([0xC3, 0xBC, 0x80, 0x3C], #""ü\ufffd\u003c""#), ([0xED, 0xA0, 0x80], #""\ufffd\ufffd\ufffd""#),
            ([], #""""#),
        ] as [([UInt8], String)])
    func replaces(_ bytes: [UInt8], _ json: String) {
        var writer = JSONWriter()
        writer.string(utf8: bytes)
        #expect(String(decoding: writer.bytes, as: UTF8.self) == json)
    }

    @Test("indents as Go does, and leaves what is empty on one line")
    func indents() {
        var writer = JSONWriter(indented: true)
        writer.beginObject()
        writer.key("a")
        writer.beginArray()
        writer.integer(1)
        writer.beginObject()
        writer.key("b")
        writer.null()
        writer.endObject()
        writer.endArray()
        writer.key("c")
        writer.beginArray()
        writer.endArray()
        writer.endObject()
        let expected = "{\n\t\"a\": [\n\t\t1,\n\t\t{\n\t\t\t\"b\": null\n\t\t}\n\t],\n\t\"c\": []\n}"
        #expect(String(decoding: writer.bytes, as: UTF8.self) == expected)
    }

    @Test("puts commas between members and elements, and nowhere else")
    func separates() {
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("a")
        writer.beginArray()
        writer.beginObject()
        writer.endObject()
        writer.beginArray()
        writer.endArray()
        writer.integer(1)
        writer.null()
        writer.bool(true)
        writer.endArray()
        writer.key("<b>" as String)
        writer.bool(false)
        writer.key("c")
        writer.verbatim(#"{"x":1}"#.utf8)
        writer.endObject()
        #expect(
            String(decoding: writer.bytes, as: UTF8.self)
                == #"{"a":[{},[],1,null,true],"\u003cb\u003e":false,"c":{"x":1}}"#)
    }

    @Test("writes the whole range of integers", arguments: [0, 9, 10, -1, 1_048_576, Int64.max, Int64.min])
    func writesIntegers(_ value: Int64) {
        var writer = JSONWriter()
        writer.integer(value)
        #expect(String(decoding: writer.bytes, as: UTF8.self) == "\(value)")
    }

    @Test("writes digests and times as their text")
    func writesValues() throws {
        let digest = Digest(of: "foo".utf8)
        let time = try Timestamp("2026-01-02T03:04:05.600+02:00")
        var writer = JSONWriter()
        writer.beginArray()
        writer.digest(digest)
        writer.timestamp(time)
        writer.timestamp(.zero)
        writer.endArray()
        #expect(
            String(decoding: writer.bytes, as: UTF8.self)
                == #"["\#(digest)","2026-01-02T03:04:05.6+02:00","0001-01-01T00:00:00Z"]"#)
    }
}
