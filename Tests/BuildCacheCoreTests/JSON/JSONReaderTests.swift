import BuildCacheCore
import Testing

/// Gives `body` a reader of `bytes`, and checks that it reads them to the end.
private func read<Value>(_ bytes: some Sequence<UInt8>, _ body: (inout JSONReader) throws -> Value) throws -> Value {
    try Array(bytes).withUnsafeBytes { buffer in
        var reader = JSONReader(buffer, document: "test document")
        let value = try body(&reader)
        try reader.finish()
        return value
    }
}

@Suite("The JSON reader")
struct JSONReaderTests {
    // MARK: Values

    @Test(
        "reads integers of 64 bits",
        arguments: [
            ("0", 0), ("-0", 0), ("7", 7), (" 12\n", 12), ("-1", -1), ("null", 0),
            ("9223372036854775807", Int64.max), ("-9223372036854775808", Int64.min),
        ])
    func readsIntegers(_ text: String, _ value: Int64) throws {
        #expect(try read(text.utf8) { try $0.integer() } == value)
    }

    @Test(
        "refuses what Go would not read into an integer",
        arguments: [
            "", "-", "+1", "01", "-01", "1.0", "1.5", "1e3", "1E3", "1.", ".5", "0x10", "\"1\"", "true", "nul", "[1]",
            "1 2",
            "9223372036854775808", "-9223372036854775809", "99999999999999999999999999",
        ])
    func refusesOtherNumbers(_ text: String) {
        let error = #expect(throws: CacheError.self) { try read(text.utf8) { try $0.integer() } }
        #expect(error?.code == .corrupted)
    }

    @Test(
        "refuses a number out of its bounds, and names the field",
        arguments: ["-1", "11", "9223372036854775808", "1e3"])
    func boundsNumbers(_ text: String) throws {
        let error = #expect(throws: CacheError.self) { try read(text.utf8) { try $0.integer("size", in: 0...10) } }
        #expect(error?.code == .corrupted)
        #expect(error?.message.contains("size") == true)
        for (text, number) in [("0", Int64(0)), ("10", 10), ("null", 0)] {
            #expect(try read(text.utf8) { try $0.integer("size", in: 0...10) } == number)
        }
    }

    /// Characters that are sorted when strings are compared: two marks of different classes, and vowels composed of such.
    @Test(
        "refuses a string with more than 256 combining characters in a row, which takes minutes to compare",
        arguments: ["\u{301}", "\u{323}\u{301}", "\u{F73}", #"\u0301"#, #"\u0323\u0301"#], [257, 100_000])
    func refusesCombiningRuns(_ mark: String, _ count: Int) throws {
        let marks = mark.hasPrefix("\\") ? mark.utf8.count / 6 : mark.unicodeScalars.count
        func text(_ count: Int) -> String { "\"a" + String(repeating: mark, count: count) + "\"" }
        for json in [text(count), "{\(text(count)):1}", "[\(text(count))]"] {
            let error = #expect(throws: CacheError.self) {
                try read(json.utf8) { reader in
                    switch reader.peek() {
                    case UInt8(ascii: "{"):
                        _ = try reader.beginObject()
                        _ = try reader.nextKey()
                    case UInt8(ascii: "["): try reader.skipValue()
                    default: _ = try reader.string()
                    }
                }
            }
            #expect(error?.code == .limitExceeded)
        }
        let allowed = try read(text(256 / marks).utf8) { try $0.string() }
        #expect(allowed?.unicodeScalars.count == 257)
        let words = String(repeating: "a" + String(repeating: "\u{301}", count: 200), count: 500)
        let long = try read("\"\(words)\"".utf8) { try $0.string() }
        #expect(long?.utf8.elementsEqual(words.utf8) == true)
    }

    @Test("gives the bytes of a string with its escapes resolved", arguments: [#""a/b""#, #""\u0061\/\u0062""#])
    func resolvesEscapesOfBytes(_ json: String) throws {
        #expect(try read(json.utf8) { try $0.string { Array($0) } } == Array("a/b".utf8))
    }

    @Test("reads null as the zero value of everything")
    func readsNull() throws {
        let text = "[null,null,null,null,null,null]"
        try read(text.utf8) { reader in
            var isThere = try reader.beginArray()
            #expect(isThere)
            isThere = try reader.nextElement()
            #expect(try reader.integer() == 0)
            isThere = try reader.nextElement()
            #expect(try reader.bool() == false)
            isThere = try reader.nextElement()
            #expect(try reader.string() == nil)
            isThere = try reader.nextElement()
            #expect(try reader.string { $0.count } == 0)
            isThere = try reader.nextElement()
            #expect(try reader.beginObject() == false)
            isThere = try reader.nextElement()
            #expect(try reader.beginArray() == false)
            isThere = try reader.nextElement()
            #expect(!isThere)
        }
    }

    @Test(
        "resolves every escape",
        arguments: [
            (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{C}\n\r\t"),
            (#""\u0041\u00e4\u00C4\u69cb""#, "Aä\u{C4}構"),
            (#""\ud83d\udc33 and \uD83D\uDC33""#, "🐳 and 🐳"),
            (#""für 🐳""#, "für 🐳"),
            (#""\u0000""#, "\0"),
            (#""""#, ""),
        ])
    func resolvesEscapes(_ json: String, _ text: String) throws {
        #expect(try read(json.utf8) { try $0.string() } == text)
    }

    @Test(
        "reads half a surrogate pair as U+FFFD, as Go does",
        arguments: [
            (#""\ud83d""#, "\u{FFFD}"), (#""\udc33x""#, "\u{FFFD}x"), (#""\ud83dx""#, "\u{FFFD}x"),
            (#""\ud83d\u0041""#, "\u{FFFD}A"), (#""\ud83d\ud83d\udc33""#, "\u{FFFD}🐳"), (#""\ud83d\n""#, "\u{FFFD}\n"),
            (#""\udc33\ud83d""#, "\u{FFFD}\u{FFFD}"),
        ])
    func replacesHalfPairs(_ json: String, _ text: String) throws {
        #expect(try read(json.utf8) { try $0.string() } == text)
    }

    @Test("reads what is no UTF-8 as U+FFFD")
    func replacesInvalidBytes() throws {
        #expect(try read([0x22, 0x61, 0xFF, 0x62, 0x22]) { try $0.string() } == "a\u{FFFD}b")
        #expect(try read([0x22, 0x5C, 0x6E, 0xFF, 0x22]) { try $0.string() } == "\n\u{FFFD}")
    }

    @Test(
        "refuses strings that JSON does not have",
        arguments: [
            #"""#, #""abc"#, #""\"#, #""\""#, #""\x""#, #""\u""#, #""\u12""#, #""\u12g4""#, #""\u+123""#, #"'a'"#,
            "\"a\nb\"",
            "\"\0\"", "\"\\\u{1}\"", "abc", "1", "{}", "nulL", #""a"b"#,
        ])
    func refusesOtherStrings(_ json: String) {
        let error = #expect(throws: CacheError.self) { try read(json.utf8) { try $0.string() } }
        #expect(error?.code == .corrupted)
    }

    // MARK: Structure

    @Test(
        "finds keys whatever their case, escaped or not",
        arguments: ["createdAt", "createdat", "CREATEDAT", #"created\u0041t"#, #"\u0043reatedAt"#])
    func matchesKeys(_ name: String) throws {
        let found = try read(#"{"\#(name)":1}"#.utf8) { reader in
            var found = 0
            _ = try reader.beginObject()
            while let key = try reader.nextKey() {
                switch key {
                case "created": found = -1
                case "createdAt": found = Int(try reader.integer())
                default: try reader.skipValue()
                }
            }
            return found
        }
        #expect(found == 1)
    }

    @Test(
        "tells keys apart that differ by more than the case of a letter",
        arguments: ["os.features", "os_version", "os\u{E}version", "os.versioN\u{20}", "öS.version", ""])
    func distinguishesKeys(_ name: String) throws {
        // '.' and U+000E differ in the bit that tells the cases of a letter apart, but are no letters.
        let name = name == "os\u{E}version" ? #"os\u000eversion"# : name
        try read(#"{"\#(name)":1}"#.utf8) { reader in
            _ = try reader.beginObject()
            let key = try #require(try reader.nextKey())
            #expect(!("os.version" ~= key))
            try reader.skipValue()
            let end = try reader.nextKey()
            #expect(end == nil)
        }
    }

    @Test(
        "passes over any value and gives its bytes",
        arguments: [
            "0", "-0", "-12.50e+3", "1E-2", "0.0", "true", "false", "null", #""a\u0041\"]""#, "{}", "[]", "[[],{}]",
            #"{"a":[1,{"b":null}],"c":"}"}"#, "{ \"a\" :\t[ 1 , 2 ]\r\n}", #"{"":{"":{"":[[[]]]}}}"#,
        ])
    func skipsValues(_ json: String) throws {
        let skipped = try read("  \(json) ".utf8) { reader in
            String(decoding: try reader.skipValue(), as: UTF8.self)
        }
        #expect(skipped == json)
    }

    @Test(
        "refuses what is no JSON, even where it passes over it",
        arguments: [
            "", " ", "{", "[", "]", "}", "{]", "[}", "[1,]", "[,1]", "[1 2]", "[1,,2]", #"{"a"}"#, #"{"a":}"#,
            #"{"a":1,}"#,
            #"{,"a":1}"#, #"{a:1}"#, #"{1:2}"#, #"{"a" 1}"#, #"{"a":1 "b":2}"#, "tru", "True", "nul", "truefalse",
            "1 1", "[]]", "{}x",
            "-", "--1", "1-2", "01", "-01", "00", "1.", "1.e2", ".5", "1e", "1e+", "1.2.3", "1e2e3", "+1", "1+1", "0x1",
            "NaN", "[1/**/]", "\u{FEFF}{}",
        ])
    func refusesMalformed(_ json: String) {
        let error = #expect(throws: CacheError.self) { try read(json.utf8) { _ = try $0.skipValue() } }
        #expect(error?.code == .corrupted)
    }

    @Test("passes over values that nest as deep as Go allows, and no deeper")
    func limitsDepth() throws {
        func nested(_ depth: Int) -> [UInt8] {
            [UInt8](repeating: UInt8(ascii: "["), count: depth) + [UInt8](repeating: UInt8(ascii: "]"), count: depth)
        }
        let deepest = nested(JSONReader.maximumDepth)
        #expect(try read(deepest) { try $0.skipValue().count } == deepest.count)
        for tooDeep in [nested(JSONReader.maximumDepth + 1), nested(3_000_000)] {
            let error = #expect(throws: CacheError.self) { try read(tooDeep) { _ = try $0.skipValue() } }
            #expect(error?.code == .limitExceeded)
        }
    }

    @Test("refuses anything after the document but space")
    func refusesTrailingData() throws {
        try read("{} \n\t\r".utf8) { _ = try $0.skipValue() }
        let error = #expect(throws: CacheError.self) { try read("{},".utf8) { _ = try $0.skipValue() } }
        #expect(error?.code == .corrupted)
        #expect(error?.message == "test document is not the expected JSON: byte 2 should begin the end")
    }

    // MARK: Broken documents

    private static let document =
        #"{"a":[1,-2,true,null,"xé\n\ud83d\udc33"],"b":{"c":{},"d":[[]]},"e":false, "f" : 1.5e3}"#

    @Test("refuses a document cut off anywhere")
    func refusesTruncated() {
        let bytes = Array(Self.document.utf8)
        for length in bytes.indices {
            let error = #expect(throws: CacheError.self, "cut after \(length) bytes") {
                try read(bytes.prefix(length)) { _ = try $0.skipValue() }
            }
            #expect(error?.code == .corrupted)
        }
    }

    @Test("survives any one byte being another one")
    func survivesChangedBytes() {
        let bytes = Array(Self.document.utf8)
        for position in bytes.indices {
            for byte in [0, 0x20, 0x22, 0x2C, 0x30, 0x5B, 0x5C, 0x5D, 0x75, 0x7B, 0x7D, 0xFF] as [UInt8] {
                var changed = bytes
                changed[position] = byte
                // Whether it is JSON still depends on the byte; that it ends without a crash, in a typed error if any, does not.
                do {
                    try read(changed) { reader in
                        guard try reader.beginObject() else { return }
                        while let key = try reader.nextKey() {
                            _ = key.text
                            try reader.skipValue()
                        }
                    }
                } catch {
                    #expect(error is CacheError)
                }
            }
        }
    }
}
