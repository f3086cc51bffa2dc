import BuildCacheCore
import BuildCacheJSON
import Testing

/// Runs `body` over a reader of `text`.
private func reading<Value>(_ text: String, _ body: (inout JSONReader) throws -> Value) throws -> Value {
    try Array(text.utf8).withUnsafeBytes { bytes in
        var reader = JSONReader(bytes, document: "the test")
        return try body(&reader)
    }
}

@Suite("The JSON writer")
struct JSONWriterTests {
    @Test(
        "escapes what Go escapes and nothing else",
        arguments: [
            ("a/b", #""a/b""#), ("<&>", #""\u003c\u0026\u003e""#),
            ("\u{2028}\u{2029}\u{2027}", "\"\\u2028\\u2029\u{2027}\""),
            ("\"\\\n\r\t\u{8}\u{c}", #""\"\\\n\r\t\b\f""#), ("\u{0}\u{1f}\u{7f}", "\"\\u0000\\u001f\u{7f}\""),
            ("é😀", #""é😀""#), ("", #""""#),
        ])
    func escapes(_ text: String, _ expected: String) {
        var writer = JSONWriter()
        writer.string(text)
        #expect(String(decoding: writer.bytes, as: UTF8.self) == expected)
    }

    @Test("puts commas between members and nowhere else")
    func commas() {
        var writer = JSONWriter()
        writer.beginArray()
        writer.beginObject()
        writer.endObject()
        writer.beginObject()
        writer.key("a" as StaticString)
        writer.integer(Int64.min)
        writer.key("b" as StaticString)
        writer.beginArray()
        writer.bool(true)
        writer.null()
        writer.endArray()
        writer.endObject()
        writer.integer(0)
        writer.endArray()
        #expect(String(decoding: writer.bytes, as: UTF8.self) == #"[{},{"a":-9223372036854775808,"b":[true,null]},0]"#)
    }
}

@Suite("The JSON reader")
struct JSONReaderTests {
    @Test("reads what the writer wrote", arguments: ["a", "\u{0}<&>\u{2028}", "\"\\\n😀", ""])
    func readsWritten(_ text: String) throws {
        var writer = JSONWriter()
        writer.string(text)
        #expect(try reading(String(decoding: writer.bytes, as: UTF8.self)) { try $0.string() } == text)
    }

    @Test(
        "resolves escapes, and half a surrogate pair to U+FFFD",
        arguments: [
            (#""\u0041\/\ud83d\ude00""#, "A/😀"), (#""\ud83d""#, "\u{FFFD}"), (#""\ud83dx""#, "\u{FFFD}x"),
            (#""\ude00\ud83d\u0041""#, "\u{FFFD}\u{FFFD}A"),
        ])
    func escapes(_ json: String, _ expected: String) throws {
        #expect(try reading(json) { try $0.string() } == expected)
    }

    @Test("reads integers of 64 bits and refuses all other numbers")
    func integers() throws {
        for value in [0, 1, -1, Int64.max, Int64.min] { #expect(try reading("\(value)") { try $0.integer() } == value) }
        for text in ["1.0", "1e3", "01", "-", "+1", "9223372036854775808", "-9223372036854775809", "\"1\"", "true", ""]
        {
            #expect(throws: CacheError.self, "\(text)") { try reading(text) { try $0.integer() } }
        }
    }

    @Test("matches keys whatever the case of ASCII letters, and no others")
    func keys() throws {
        func isKey(_ text: String) throws -> Bool {
            try reading(#"{"\#(text)":1}"#) { reader in
                _ = try reader.beginObject()
                switch try reader.nextKey() {
                case .some(let key) where "createdAt" ~= key: return true
                default: return false
                }
            }
        }
        for name in ["createdAt", "createdat", "CREATEDAT", #"created\u0041t"#] { #expect(try isKey(name), "\(name)") }
        for name in ["createdA", "createdAtt", "created@t", "creat\u{5}dAt".replacing("\u{5}", with: "[")] {
            #expect(try !isKey(name), "\(name)")
        }
    }

    @Test("reads null as the zero value of whatever is asked for")
    func nulls() throws {
        #expect(try reading("null") { try $0.integer() } == 0)
        #expect(try reading("null") { try $0.string() } == nil)
        #expect(try reading("null") { try $0.bool() } == false)
        #expect(try reading("null") { try $0.beginObject() } == false)
        #expect(try reading("null") { try $0.beginArray() } == false)
    }

    @Test(
        "passes over any value and gives its bytes",
        arguments: [#"{"a":[1,{"b":"]}"},[]],"c":-1.5e+3}"#, "[]", "{}", #""x\"y""#, "null", "true", "12"])
    func skips(_ json: String) throws {
        let skipped = try reading(" \(json) , 7") { String(decoding: try $0.skipValue(), as: UTF8.self) }
        #expect(skipped == json)
    }

    @Test(
        "refuses what is no JSON, also in what it passes over",
        arguments: [
            "[1,]", "[1 2]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "[", "{", "\"", "\"\\x\"", "\"\\u12\"",
            "\"\n\"", "nul", "tru", "]", "}", "[}", "{]", "[1}",
            "--", "", " ",
        ])
    func refuses(_ json: String) {
        #expect(throws: CacheError.self) {
            try reading(json) { reader in
                try reader.skipValue()
                try reader.finish()
            }
        }
    }

    @Test("passes over 10 000 levels and refuses one more")
    func depth() throws {
        let limit = JSONReader.maximumDepth
        let deep = String(repeating: "[", count: limit) + String(repeating: "]", count: limit)
        #expect(try reading(deep) { try $0.skipValue().count } == 2 * limit)
        let error = #expect(throws: CacheError.self) { try reading("[\(deep)]") { _ = try $0.skipValue() } }
        #expect(error?.code == .limitExceeded)
    }
}
