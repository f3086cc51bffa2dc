import BuildCacheCore
import BuildCacheOCI
import Testing

@Suite("An image config that is encoded")
struct ImageConfigEncodingTests {
    private static let diffID = DiffID(Digest(of: "diff".utf8))

    private static func decode(_ json: String) throws -> ImageConfig { try ImageConfig(decoding: Array(json.utf8)) }

    @Test("unchanged keeps its bytes", arguments: ["inline-config"])
    func unchanged(_ name: String) throws {
        let bytes = try Fixtures.golden(name)
        #expect(try ImageConfig(decoding: bytes).encode() == bytes)
        let odd = "{ \"OS\" : \"linux\",\n \"x\" : [ 1,  2 ], \"rootfs\": null, \"os\": \"linux\" }"
        #expect(try text(Self.decode(odd).encode()) == odd)
    }

    @Test("keeps all other members, their order and their values as they stand")
    func appended() throws {
        let json =
            #"{"author":"<me> \u0041","config":{"Env":["A=1"],  "x":1.50e1},"rootfs":{"y":2,"diff_ids":[],"type":"layers"},"#
            + #""architecture":"amd64","history":[{"comment":"c","created_by":"FROM"},null],"os":"linux"}"#
        var config = try Self.decode(json)
        config.diffIDs.append(Self.diffID)
        config.history.append(ImageConfig.History(created: .zero, createdBy: "COPY a /"))
        config.created = try Timestamp("2026-01-02T03:04:05Z")
        let encoded = try config.encode()
        #expect(
            text(encoded) == #"{"author":"<me> \u0041","config":{"Env":["A=1"],  "x":1.50e1},"#
                + #""rootfs":{"y":2,"type":"layers","diff_ids":["\#(Self.diffID)"]},"architecture":"amd64","#
                + #""history":[{"comment":"c","created_by":"FROM"},null,{"created":"0001-01-01T00:00:00Z","created_by":"COPY a /"}],"#
                + #""os":"linux","created":"2026-01-02T03:04:05Z"}"#)
        let again = try ImageConfig(decoding: encoded)
        #expect(again.diffIDs == config.diffIDs && again.history == config.history && again.created == config.created)
        #expect(try again.encode() == encoded)
    }

    @Test("changes what a reader takes for a member, whatever its case, and leaves no second one")
    func overridden() throws {
        var config = try Self.decode(#"{"OS":"plan9","os":"linux","Rootfs":{"DIFF_IDS":["\#(Self.diffID)"]}}"#)
        config.platform.os = "freebsd"
        config.diffIDs = []
        let encoded = try config.encode()
        #expect(text(encoded) == #"{"os":"freebsd","Rootfs":{"diff_ids":[]}}"#)
        #expect(try ImageConfig(decoding: encoded).platform.os == "freebsd")
    }

    @Test("removes members that are unset, and keeps the rest of a changed step")
    func removed() throws {
        var config = try Self.decode(
            #"{"variant":"v8","os.features":["a"],"created":"2026-01-02T03:04:05Z","moby.buildkit.cache.v0":"W10=","#
                + #""history":[{"comment":"c","empty_layer":true,"created_by":"A"}]}"#)
        config.platform.variant = nil
        config.platform.osFeatures = []
        config.created = nil
        config.inlineCache = nil
        config.history[0].isEmptyLayer = false
        config.history[0].createdBy = "B"
        #expect(text(try config.encode()) == #"{"history":[{"comment":"c","created_by":"B"}]}"#)
    }

    @Test("from nothing has what an image needs, in the order of the image-spec")
    func new() throws {
        var config = ImageConfig(platform: Platform(os: "linux", architecture: "arm", variant: "v7"))
        #expect(
            text(try config.encode())
                == #"{"architecture":"arm","variant":"v7","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#)
        config.diffIDs = [Self.diffID]
        config.history = [ImageConfig.History(createdBy: "ADD", isEmptyLayer: false)]
        config.inlineCache = Array("[]".utf8)
        let again = try ImageConfig(decoding: try config.encode())
        #expect(again.diffIDs == config.diffIDs && again.history == config.history)
        #expect(again.platform == config.platform && again.inlineCache == config.inlineCache)
    }
}
