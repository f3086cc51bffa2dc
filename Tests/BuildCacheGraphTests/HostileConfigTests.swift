import BuildCacheCore
import BuildCacheGraph
import TestTools
import Testing

@Suite("A hostile cache config")
struct HostileConfigTests {
    private static let a = Digest(of: "a".utf8)

    private func decode(_ text: String, _ layers: CacheConfigLayers = .undescribed) throws -> LayerGraph {
        try LayerGraph(decodingConfig: Array(text.utf8), layers: layers)
    }

    @Test(
        "is refused as corrupted",
        arguments: [
            ("", "empty"), ("{", "cut"), ("[]", "an array"), (#"{"records":[{"digest":"\#(a)"}]}x"#, "trailing data"),
            (#"{"records":[{"digest":"\#(a)","inputs":[[{"link":1}]]}]}"#, "link out of range"),
            (#"{"records":[{"digest":"\#(a)","inputs":[[{"link":-1}]]}]}"#, "negative link"),
            (#"{"records":[{"digest":"\#(a)","inputs":[[{"link":99999999999}]]}]}"#, "link past 32 bits"),
            (#"{"records":[{"digest":"\#(a)","inputs":[[{"link":0}]]}]}"#, "record linked to itself"),
            (
                #"{"records":[{"digest":"\#(a)","inputs":[[{"link":1}]]},{"digest":"\#(a)","inputs":[[{"link":0}]]}]}"#,
                "loop"
            ),
            (#"{"records":[{"digest":"\#(a)","inputs":[null]}]}"#, "null input"),
            (#"{"records":[{"digest":"\#(a)","inputs":[[]]}]}"#, "empty input"),
            (#"{"records":[{"digest":"sha256:../../../etc/passwd"}]}"#, "path for a digest"),
            (#"{"records":[{}]}"#, "no digest"),
            (#"{"records":[{"digest":"\#(a)","layers":[{"layer":0}]}]}"#, "layer out of range"),
            (
                #"{"layers":[{"blob":"\#(a)"}],"records":[{"digest":"\#(a)","layers":[{"layer":0}]}]}"#,
                "layer its own parent"
            ),
            (
                #"{"layers":[{"blob":"\#(a)","parent":1},{"blob":"\#(a)"}],"records":[{"digest":"\#(a)","layers":[{"layer":0}]}]}"#,
                "layer loop"
            ),
            (
                #"{"layers":[{"blob":"\#(a)","parent":7}],"records":[{"digest":"\#(a)","layers":[{"layer":0}]}]}"#,
                "parent out of range"
            ),
            (
                #"{"layers":[{"blob":"\#(a)","parent":-2}],"records":[{"digest":"\#(a)","layers":[{"layer":0}]}]}"#,
                "negative parent"
            ),
            (
                #"{"layers":[{"blob":"\#(a)","parent":-1}],"records":[{"digest":"\#(a)","chains":[{"layers":[3]}]}]}"#,
                "chain out of range"
            ),
            (#"{"layers":[{"blob":"\#(a)","parent":-1.0}]}"#, "fraction"),
            (
                #"{"layers":[{"blob":"\#(a)","parent":-1}],"records":[{"digest":"\#(a)","layers":[{"layer":-1}]}]}"#,
                "negative layer"
            ),
            (
                #"{"layers":[{"blob":"\#(a)","parent":-1}],"records":[{"digest":"\#(a)","layers":[{"layer":-2}]}]}"#,
                "layer below -1"
            ),
            (
                #"{"layers":[{"blob":"\#(a)","parent":-1}],"records":[{"digest":"\#(a)","layers":[{"layer":99999999999}]}]}"#,
                "layer past 32 bits"
            ),
            (
                #"{"layers":[{"blob":"\#(a)","parent":-1}],"records":[{"digest":"\#(a)","chains":[{"layers":[-1]}]}]}"#,
                "negative layer of a chain"
            ),
            (
                #"{"layers":[{"blob":"\#(a)","parent":-1}],"records":[{"digest":"\#(a)","layers":[{"createdAt":"yesterday"}]}]}"#,
                "bad time"
            ),
        ])
    func refuses(_ text: String, _ why: String) {
        let error = #expect(throws: CacheError.self, "\(why)") { try decode(text) }
        #expect(error?.code == .corrupted, "\(why)")
    }

    @Test(
        "counts no layer as described whose size is absurd",
        arguments: ["-1", "1125899906842625", "9223372036854775807"])
    func absurdSizes(_ size: String) throws {
        func results(_ size: String) throws -> [Int] {
            let graph = try decode(
                #"""
                {"layers":[{"blob":"\#(Self.a)","parent":-1,"annotations":{"diffID":"\#(Self.a)","size":\#(size)}}],
                 "records":[{"digest":"\#(Self.a)","layers":[{"layer":0}]}]}
                """#, .annotated)
            return try graph.recordIDs.map { try graph[$0].results.count }
        }
        #expect(try results(size) == [0])
        #expect(try results("1125899906842624") == [1])
    }

    @Test("with a size of more than 64 bits is refused, as by Go")
    func hugeSize() {
        let error = #expect(throws: CacheError.self) {
            try decode(#"{"layers":[{"annotations":{"size":9223372036854775808}}]}"#, .annotated)
        }
        #expect(error?.code == .corrupted)
    }

    @Test("cut anywhere is refused, never a crash")
    func truncated() throws {
        let golden = Array(GoldenVectorTests.golden.utf8)
        for length in 0..<golden.count {
            #expect(throws: CacheError.self) {
                try LayerGraph(decodingConfig: Array(golden[..<length]), layers: .undescribed)
            }
        }
    }

    @Test("with any one byte changed is read or refused, never a crash")
    func flipped() throws {
        var generator = SeededGenerator(seed: 7)
        let golden = Array(GoldenVectorTests.golden.utf8)
        for position in golden.indices {
            var bytes = golden
            bytes[position] = UInt8.random(in: .min ... .max, using: &generator)
            if let graph = try? LayerGraph(decodingConfig: bytes, layers: .undescribed) { _ = try graph.encodeConfig() }
        }
    }

    @Test("that is too large or has too many entries is refused before it costs memory")
    func limits() {
        let text = #"{"layers":["# + Array(repeating: "{}", count: 1001).joined(separator: ",") + "]}"
        for limits in [CacheConfigLimits(maximumBytes: 1000), CacheConfigLimits(maximumEntries: 1000)] {
            let error = #expect(throws: CacheError.self) {
                try LayerGraph(decodingConfig: Array(text.utf8), layers: .undescribed, limits: limits)
            }
            #expect(error?.code == .limitExceeded)
        }
    }

    @Test("nested a million deep is refused")
    func deepNesting() {
        let text = #"{"unknown":"# + String(repeating: "[", count: 1_000_000)
        let error = #expect(throws: CacheError.self) { try decode(text) }
        #expect(error?.code == .limitExceeded)
    }

    @Test("with a million empty entries is refused or read in bounded time")
    func millionEntries() throws {
        let layers = #"{"layers":["# + Array(repeating: "{}", count: 1_000_000).joined(separator: ",") + "]}"
        #expect(try decode(layers).layerIDs.isEmpty)
        let records = #"{"records":["# + Array(repeating: "{}", count: 1_000_000).joined(separator: ",") + "]}"
        #expect(throws: CacheError.self) { try decode(records) }
    }

    @Test("with more rows in its chains than the limit is refused, and a chain longer than the image is a miss")
    func chains() throws {
        let layer = Descriptor(mediaType: .layer(.gzip), digest: Self.a, size: 1)
        func inline(_ chains: [Int]) -> [UInt8] {
            let rows = chains.map { #"{"layers":[\#(Array(repeating: "0", count: $0).joined(separator: ","))]}"# }
            return Array(#"[{"digest":"\#(Self.a)","chains":[\#(rows.joined(separator: ","))]}]"#.utf8)
        }
        let limits = CacheConfigLimits(maximumEntries: 100)
        let error = #expect(throws: CacheError.self) {
            try LayerGraph(decodingConfig: inline([50, 50, 1]), layers: .image([layer]), limits: limits)
        }
        #expect(error?.code == .limitExceeded)
        let graph = try LayerGraph(decodingConfig: inline([1, 2, 3]), layers: .image([layer]), limits: limits)
        #expect(try graph.recordIDs.map { try graph[$0].results.count } == [1])
        #expect(graph.layerIDs.count == 1)
    }

    @Test("with 100 000 records and parents in one chain is read, selected and written again")
    func deepChain() throws {
        let count = 100_000
        var text = #"{"layers":["#
        for row in 0..<count {
            text += #"{"blob":"\#(Digest(of: "layer \(row)".utf8))","parent":\#(row + 1 == count ? -1 : row + 1)},"#
        }
        text.removeLast()
        text += #"],"records":["#
        for row in 0..<count {
            let inputs = row + 1 == count ? "" : #","inputs":[[{"link":\#(row + 1)}]]"#
            text +=
                #"{"layers":[{"layer":\#(row),"createdAt":"2026-01-01T00:00:00Z"}],"digest":"\#(Self.a)"\#(inputs)},"#
        }
        text.removeLast()
        text += "]}"
        let graph = try decode(text)
        let selected = graph.selected(.max)
        #expect(selected.recordCount == count)
        let encoded = try selected.encodeConfig()
        #expect(encoded.layers.count == count)
        #expect(try LayerGraph(decodingConfig: encoded.bytes, layers: .undescribed).recordCount == count)
    }

    @Test("loses only the results whose layers nobody describes")
    func missingLayers() throws {
        let b = Digest(of: "b".utf8)
        let text = #"""
            {"layers":[{"blob":"\#(Self.a)","parent":-1},{"blob":"\#(b)"},{"blob":"sha256:zz","parent":-1}],
             "records":[{"digest":"\#(Self.a)"},
              {"digest":"\#(b)","inputs":[[{"link":0}]],"layers":[{"layer":1},{"layer":0},{"layer":2}],"chains":[{"layers":[1,0]},{"layers":[0]}]}]}
            """#
        let known = Descriptor(mediaType: .layer(.gzip), digest: Self.a, size: 1)
        let graph = try decode(text, .described([known]))
        #expect(graph.recordCount == 2)
        #expect(try graph.recordIDs.map { try graph[$0].results.count } == [0, 2])
        #expect(try graph.layerIDs.map { try graph.descriptor(of: $0) }.allSatisfy { $0 == known })
    }

    @Test("keeps random: records to this machine, and what has no other way to be found")
    func ephemeralRecords() throws {
        let b = Digest(of: "b".utf8)
        let text = #"""
            {"records":[{"digest":"random:abc"},{"digest":"\#(Self.a)"},{"digest":"\#(b)","inputs":[[{"link":0}]]},
             {"digest":"\#(b)","inputs":[[{"link":0},{"link":1}]]},{"digest":"\#(b)","inputs":[[{"link":2}],[{"link":1}]]}]}
            """#
        let selected = try decode(text).selected(.max)
        #expect(try selected.recordIDs.map { try selected[$0].inputs.map(\.count) } == [[], [1]])
    }
}

@Suite("A cache config written with escapes")
struct EscapedConfigTests {
    /// The same JSON with every character of every string written as `\u` and four digits.
    private func escaped(_ json: String) -> [UInt8] {
        var result = ""
        var isInString = false
        for character in json {
            if character == "\"" { isInString.toggle() }
            guard isInString, character != "\"", let unit = character.utf16.first else {
                result.append(character)
                continue
            }
            let digits = String(unit, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }
        return Array(result.utf8)
    }

    private let a = Digest(of: "a".utf8)
    private let b = Digest(of: "b".utf8)

    @Test("is read as the same without them: digests, times, selectors, media types, keys")
    func bare() throws {
        let json = #"""
            {"layers":[{"blob":"\#(a)","parent":-1,"annotations":{"mediaType":"\#(MediaType.layer(.zstd))","diffID":"\#(b)",
             "size":3,"createdAt":"2026-01-02T03:04:05Z"}}],
             "records":[{"digest":"\#(a)"},{"digest":"random:x"},{"digest":"\#(b)","inputs":[[{"link":0,"selector":"s/t"}]],
             "layers":[{"layer":0,"createdAt":"2026-01-02T03:04:05.5+01:00"}],"chains":[{"layers":[0]}]}]}
            """#
        let plain = try LayerGraph(decodingConfig: Array(json.utf8), layers: .annotated)
        let graph = try LayerGraph(decodingConfig: escaped(json), layers: .annotated)
        #expect(graph == plain)
        #expect(graph.descriptors == plain.descriptors)
        #expect(graph.descriptors[a]?.mediaType == .layer(.zstd))
        #expect(try graph.recordIDs.map { try graph[$0].results.count } == [0, 0, 2])
        #expect(try graph.encodeConfig().bytes == plain.encodeConfig().bytes)
    }

    @Test("inside an image is read as the same without them")
    func inline() throws {
        let json = #"[{"digest":"\#(a)","layers":[{"layer":0,"createdAt":"2026-01-02T03:04:05Z"}]}]"#
        let layers = CacheConfigLayers.image([Descriptor(mediaType: .layer(.gzip), digest: b, size: 1)])
        let graph = try LayerGraph(decodingConfig: escaped(json), layers: layers)
        #expect(try graph.recordIDs.map { try graph[$0].digest } == [a])
        #expect(try graph.recordIDs.map { try graph[$0].results.count } == [1])
    }
}
