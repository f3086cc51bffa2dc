import BuildCacheCore
import BuildCacheSpec
import Testing

@Suite("The JSON of a cache option")
struct JSONFormTests {
    private func parse(_ json: String, leniency: CacheSpec.Leniency = .strict) throws -> [CacheSpec] {
        try CacheSpec.parse(json: json, for: .export, environment: .empty, leniency: leniency)
    }

    @Test("is an object of strings with a type")
    func object() throws {
        let specs = try parse(#"{"type":"registry","ref":"user/app:cache","mode":"max"}"#)
        #expect(
            specs == [
                CacheSpec(
                    exportingTo: .registry(RegistryOptions(ref: try Reference("user/app:cache"))),
                    ExportOptions(mode: .max))
            ])
    }

    @Test("may be a list of objects and texts")
    func list() throws {
        let specs = try parse(#"["a,b", {"type":"inline"}, "", "type=local,dest=\u006fut"]"#)
        #expect(specs.map(\.description) == ["a", "b", "type=inline", "type=local,dest=out"])
    }

    @Test("keeps keys as they are written")
    func keysKeepTheirCase() throws {
        let json = #"{"type":"local","dest":"out","Mode":"max"}"#
        let error = #expect(throws: CacheError.self) { try parse(json) }
        #expect(error?.message.contains("did you mean \"mode\"?") == true)
        #expect(try parse(json, leniency: .lenient).first?.export?.mode == .min)
        #expect(throws: CacheError.self) { try parse(#"{"Type":"inline"}"#) }
    }

    @Test(
        "is refused when it has another shape",
        arguments: [
            "", "{", "[", "{}", "[{}]", #"{"type":"local","dest":1}"#, #"{"type":"local","dest":null}"#,
            #"{"type":"local","dest":["x"]}"#,
            #"{"type":"inline"} x"#, #"{"type":"local","dest":"a","dest":"b"}"#, #"[["a"]]"#, "1", "null", "true",
            "[null]",
            #"{"type":"local","dest":"a\u0000"}"#, #"{"type":"local","dest":"a\nb"}"#,
        ])
    func otherShapes(_ json: String) {
        let error = #expect(throws: CacheError.self) { try parse(json) }
        #expect(error?.code == .invalidSpec)
        #expect(error?.context.operation == "parse")
    }

    @Test("has entries of other kinds skipped, when parsed as BuildKit does")
    func skipsOtherEntries() throws {
        #expect(try parse(#"[null, "", 1, "type=inline"]"#, leniency: .lenient).count == 1)
    }

    @Test("is written with its keys sorted, and reads back")
    func rendering() throws {
        let spec = try one(#"type=local,"dest=o<u""t",tag=v1,mode=max"#)
        #expect(spec.json() == #"{"dest":"o\u003cu\"t","mode":"max","tag":"v1","type":"local"}"#)
        #expect(try parse(spec.json()) == [spec])
    }

    @Test("is read up to 64 KiB and any depth")
    func limits() {
        let error = #expect(throws: CacheError.self) { try parse("\"" + String(repeating: "a", count: 65536) + "\"") }
        #expect(error?.code == .limitExceeded)
        #expect(throws: CacheError.self) { try parse(String(repeating: "[", count: 60_000)) }
    }
}
