import BuildCacheCore
import BuildCacheOCI
import Foundation
import Testing

@Suite("An image config")
struct ImageConfigTests {
    private static let diffID = Digest(of: "diff".utf8)

    private static func decode(_ json: String) throws -> ImageConfig { try ImageConfig(decoding: Array(json.utf8)) }

    // MARK: Reading

    @Test("that BuildKit wrote is read")
    func golden() throws {
        let config = try ImageConfig(decoding: try Fixtures.golden("inline-config"))
        #expect(config.platform == Platform(os: "linux", architecture: "arm64"))
        #expect(config.diffIDs.count == 3)
        #expect(config.history.map(\.isEmptyLayer) == [false, true, false, false])
        #expect(config.history[1].createdBy == "ARG TARGETARCH=arm64")
        #expect(config.history[0].created?.description == "2026-11-23T04:21:13.32032906Z")
        let records = try #require(config.inlineCache)
        #expect(
            text(records).hasPrefix(#"[{"layers":[{"layer":0,"createdAt":"2026-11-23T04:21:13.321016061Z"}],"digest":"#)
        )
    }

    @Test("is read as Go reads it: keys in any case, unknown ones passed over, null as nothing")
    func tolerance() throws {
        let config = try Self.decode(
            #"{"OS":"linux","architecture":null,"x":{"os":"no"},"rootfs":{"type":"layers","Diff_IDs":["\#(Self.diffID)"]},"#
                + #""history":[null,{},{"created":null,"created_by":null,"empty_layer":null,"comment":1}],"moby.buildkit.cache.v0":null}"#
        )
        #expect(config.platform == Platform(os: "linux", architecture: ""))
        #expect(config.diffIDs == [DiffID(Self.diffID)])
        #expect(config.history == [ImageConfig.History(), ImageConfig.History(), ImageConfig.History()])
        #expect(config.inlineCache == nil)
        #expect(try Self.decode("{}").diffIDs.isEmpty)
        #expect(try Self.decode(#"{"rootfs":null,"history":null}"#).history.isEmpty)
    }

    @Test(
        "is refused when it is none",
        arguments: [
            "", "null", "[]", #"{"rootfs":[]}"#, #"{"rootfs":{"diff_ids":[""]}}"#, #"{"rootfs":{"diff_ids":[null]}}"#,
            #"{"rootfs":{"diff_ids":{}}}"#, #"{"history":{}}"#, #"{"history":[1]}"#,
            #"{"history":[{"created":"yesterday"}]}"#,
            #"{"history":[{"empty_layer":"true"}]}"#, #"{"moby.buildkit.cache.v0":[]}"#,
            #"{"moby.buildkit.cache.v0":"!"}"#,
            #"{"moby.buildkit.cache.v0":"e30"}"#, #"{"os":1}"#, #"{} x"#,
        ])
    func refusesOthers(_ json: String) {
        let error = #expect(throws: CacheError.self) { try Self.decode(json) }
        #expect(error?.code == .corrupted)
    }

    @Test("is refused when it is cut off anywhere")
    func refusesTruncated() throws {
        let bytes = try Fixtures.golden("inline-config")
        for length in bytes.indices {
            let truncated = Array(bytes.prefix(length))
            let error = #expect(throws: CacheError.self, "cut after \(length) bytes") {
                try ImageConfig(decoding: truncated)
            }
            #expect(error?.code == .corrupted)
            #expect(throws: CacheError.self) { try ImageConfig.settingInlineCache(nil, in: truncated) }
        }
    }

    @Test("larger than its limit, or with a history without end, is refused")
    func limits() throws {
        let bytes = try Fixtures.golden("inline-config")
        for limited in [
            { try ImageConfig(decoding: bytes, limit: 100) as Any },
            { try ImageConfig.settingInlineCache(nil, in: bytes, limit: 100) as Any },
            { try Self.decode(#"{"history":[{}\#(String(repeating: ",{}", count: 1 << 19))]}"#) as Any },
        ] {
            let error = #expect(throws: CacheError.self) { try limited() }
            #expect(error?.code == .limitExceeded)
        }
    }

    // MARK: Inline cache

    @Test("gives back any inline cache set in it, as base64 that Go reads", arguments: 0...70)
    func roundTrip(_ count: Int) throws {
        let records = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 89 + count * 31) }
        let bytes = try ImageConfig.settingInlineCache(records, in: Array("{}".utf8))
        #expect(text(bytes) == #"{"moby.buildkit.cache.v0":"\#(Data(records).base64EncodedString())"}"#)
        #expect(try ImageConfig(decoding: bytes).inlineCache == records)
    }

    @Test(
        "reads base64 as Go does, across line ends and escapes",
        arguments: [
            (#"W10="#, "[]"), (#"W1\n0=\r\n"#, "[]"), (#"W10\u003d"#, "[]"), ("", ""), (#"Pz8\/"#, "???"),
            ("YQ==", "a"),
        ])
    func readsBase64(_ encoded: String, _ records: String) throws {
        #expect(try Self.decode(#"{"moby.buildkit.cache.v0":"\#(encoded)"}"#).inlineCache == Array(records.utf8))
    }

    @Test(
        "refuses what is no base64",
        arguments: [
            "A", "AA", "AAA", "AA=", "AAA==", "A===", "====", "AA==AA==", "A=AA", "AAAAA", "-_AA", "AA AA=", "äAAA",
        ])
    func refusesOtherBase64(_ encoded: String) {
        let error = #expect(throws: CacheError.self) { try Self.decode(#"{"moby.buildkit.cache.v0":"\#(encoded)"}"#) }
        #expect(error?.code == .corrupted)
    }

    @Test("loses and regains its inline cache without another change")
    func editsGolden() throws {
        let bytes = try Fixtures.golden("inline-config")
        let records = try #require(try ImageConfig(decoding: bytes).inlineCache)
        let without = try ImageConfig.settingInlineCache(nil, in: bytes)
        #expect(!text(without).contains("moby"))
        #expect(text(try ImageConfig.settingInlineCache(records, in: without)) == text(bytes))
        #expect(text(try ImageConfig.settingInlineCache(records, in: bytes)) == text(bytes))
    }

    @Test("is edited as Go writes a map again: keys sorted by their bytes, values compact, the rest as it was")
    func edits() throws {
        let json = """
            { "os" : "linux", "Z" : 1.50e+3 , "ä" : null, "a<b" : [ 1 , { "y" : "a  b" , "x" : [ ] } ],
              "moby.buildkit.cache.v0" : "b2xk", "history" : [{"created_by":"RUN a > b && \\u0063 \\/ \\"q\\" \u{2028}"}],
              "os" : "plan9", "created" : "2026-01-02T03:04:05Z" }
            """
        let edited = try ImageConfig.settingInlineCache(Array("[]".utf8), in: Array(json.utf8))
        #expect(
            text(edited)
                == #"{"Z":1.50e+3,"a\u003cb":[1,{"y":"a  b","x":[]}],"created":"2026-01-02T03:04:05Z","#
                + #""history":[{"created":"2026-01-02T03:04:05Z","created_by":"RUN a \u003e b \u0026\u0026 \u0063 \/ \"q\" \u2028"}],"#
                + #""moby.buildkit.cache.v0":"W10=","os":"plan9","ä":null}"#)
    }

    @Test(
        "gets a history entry with a time for every layer when a cache is put in, because BuildKit crashes where one is missing",
        arguments: [
            ("", ""),
            (#","history":null"#, ""),
            (#","history":[]"#, ""),
            // What one tool writes for base, resources and program together.
            (
                #","history":[{"created":"2026-01-01T00:00:00Z","created_by":"containertool"}]"#,
                #"{"created":"2026-01-01T00:00:00Z","created_by":"containertool"}"#
            ),
            // Entries without a layer do not count, and one without a time gets it.
            (
                #","history":[{"empty_layer":true},{"created_by":"RUN x"}]"#,
                #"{"empty_layer":true},{"created":"2026-01-02T03:04:05Z","created_by":"RUN x"}"#
            ),
            (
                #","history":[null,{"created":null}]"#,
                #"{"created":"2026-01-02T03:04:05Z"},{"created":"2026-01-02T03:04:05Z"}"#
            ),
        ])
    func completesHistory(_ history: String, _ kept: String) throws {
        let diffIDs = (0..<3).map { "\"\(Digest(of: "\($0)".utf8))\"" }.joined(separator: ",")
        let json = #"{"created":"2026-01-02T03:04:05Z"\#(history),"rootfs":{"type":"layers","diff_ids":[\#(diffIDs)]}}"#
        let config = try ImageConfig(decoding: ImageConfig.settingInlineCache(Array("[]".utf8), in: Array(json.utf8)))
        let steps = config.history.filter { !$0.isEmptyLayer }
        #expect(steps.count == 3)
        #expect(steps.allSatisfy { $0.created != nil })
        let edited = text(try ImageConfig.settingInlineCache(Array("[]".utf8), in: Array(json.utf8)))
        #expect(edited.contains(#""history":[\#(kept)"#))
        // Without a cache, nothing is changed.
        let without = try ImageConfig(decoding: ImageConfig.settingInlineCache(nil, in: Array(json.utf8)))
        #expect(without.history == (try ImageConfig(decoding: Array(json.utf8)).history))
    }

    @Test("is edited under the keys that readers take for a member's, whatever their case, and the last of them counts")
    func otherCase() throws {
        let digests = ["a", "b"].map { Digest(of: $0.utf8) }
        let text =
            #"{"History":[{"created_by":"a"}],"created":"2026-01-02T03:04:05Z","rootfs":{"diff_ids":["\#(digests[0])"]},"#
            + #""ROOTFS":{"Diff_IDs":["\#(digests[0])","\#(digests[1])"]},"MOBY.buildkit.cache.v0":"b2xk"}"#
        let before = try Self.decode(text)
        let bytes = try ImageConfig.settingInlineCache(Array("[]".utf8), in: Array(text.utf8))
        let after = try ImageConfig(decoding: bytes)
        #expect(after.diffIDs == before.diffIDs && after.diffIDs.count == 2)
        #expect(after.history.count == 2 && after.history.allSatisfy { $0.created == before.created })
        #expect(after.history.first?.createdBy == "a")
        #expect(after.inlineCache == Array("[]".utf8))
        let without = try ImageConfig.settingInlineCache(nil, diffIDs: [before.diffIDs[1]], in: Array(text.utf8))
        #expect(try ImageConfig(decoding: without).inlineCache == nil)
        #expect(try ImageConfig(decoding: without).diffIDs == [before.diffIDs[1]])
    }

    @Test("keeps keys apart that only Swift takes for equal")
    func keepsEquivalentKeys() throws {
        let json = "{\"\u{E9}\":1,\"e\u{301}\":2}"
        #expect(
            Array(try ImageConfig.settingInlineCache(nil, in: Array(json.utf8)))
                == Array("{\"e\u{301}\":2,\"\u{E9}\":1}".utf8))
    }

    // MARK: Layers

    private static func config(layers: Int, history: [ImageConfig.History]) throws -> ImageConfig {
        let diffIDs = (0..<layers).map { #""\#(Digest(of: "diff\($0)".utf8))""# }.joined(separator: ",")
        var config = try decode(#"{"rootfs":{"diff_ids":[\#(diffIDs)]}}"#)
        config.history = history
        return config
    }

    private static func manifest(layers: Int) -> ImageManifest {
        ImageManifest(
            config: nil,
            layers: (0..<layers).map { number in
                Descriptor(
                    mediaType: .layer(.gzip), digest: Digest(of: "\(number)".utf8), size: 1, annotations: ["k": "v"])
            })
    }

    @Test("gives the layers of its manifest their diffIDs, times and descriptions, passing over steps without a layer")
    func describesLayers() throws {
        let time = try Timestamp("2026-01-02T03:04:05.5+01:00")
        let config = try Self.config(
            layers: 2,
            history: [
                .init(created: .zero, createdBy: "ENV", isEmptyLayer: true), .init(created: time, createdBy: "COPY"),
                .init(),
            ])
        let layers = try #require(config.cacheLayers(of: Self.manifest(layers: 2)))
        #expect(
            layers.map(\.annotations) == [
                [
                    "k": "v", Annotation.uncompressed: Digest(of: "diff0".utf8).description,
                    Annotation.createdAt: "2026-01-02T03:04:05.5+01:00", Annotation.description: "COPY",
                ],
                ["k": "v", Annotation.uncompressed: Digest(of: "diff1".utf8).description],
            ])
    }

    @Test("whose history is too short, where BuildKit crashes, only leaves annotations out")
    func toleratesShortHistory() throws {
        let config = try Self.config(layers: 3, history: [.init(createdBy: "only one")])
        let layers = try #require(config.cacheLayers(of: Self.manifest(layers: 3)))
        #expect(layers.map { $0.annotations[Annotation.description] } == ["only one", nil, nil])
        #expect(layers.allSatisfy { $0.diffID != nil })
    }

    @Test("that does not belong to the manifest gives no layers", arguments: [0, 1, 3])
    func refusesOtherManifests(_ count: Int) throws {
        #expect(try Self.config(layers: 2, history: []).cacheLayers(of: Self.manifest(layers: count)) == nil)
    }
}
