import BuildCacheCore
import BuildCacheOCI
import Testing

@Suite("A document")
struct DocumentTests {
    /// What a document is taken for.
    enum Kind: Sendable { case imageManifestCache, ociIndexCache, dockerListCache, image, index }

    private static let cacheConfig = descriptor(.cacheConfig, "cache config")
    private static let imageConfig = descriptor(.ociConfig, "image config")
    private static let layer = descriptor(.layer(.gzip), "layer")
    private static let dockerLayer = descriptor(.layer(.gzip, docker: true), "layer")

    private static func descriptor(_ mediaType: MediaType, _ name: String) -> String {
        #"{"mediaType":"\#(mediaType)","digest":"\#(Digest(of: name.utf8))","size":5}"#
    }

    private static func kind(_ document: Document) -> Kind {
        switch document {
        case .cache(let cache):
            switch cache.layout {
            case .imageManifest: .imageManifestCache
            case .ociIndex: .ociIndexCache
            case .dockerList: .dockerListCache
            }
        case .image: .image
        case .index: .index
        }
    }

    // MARK: Detection

    @Test(
        "is told by its content",
        arguments: [
            (#"{"config":\#(cacheConfig),"layers":[\#(layer)]}"#, Kind.imageManifestCache),
            (#"{"mediaType":"\#(MediaType.ociManifest)","config":\#(cacheConfig),"layers":[]}"#, .imageManifestCache),
            (#"{"mediaType":"\#(MediaType.dockerManifest)","config":\#(cacheConfig)}"#, .imageManifestCache),
            (#"{"config":\#(imageConfig),"layers":[\#(layer)]}"#, .image),
            (
                #"{"mediaType":"\#(MediaType.dockerManifest)","config":\#(imageConfig),"layers":[\#(dockerLayer)]}"#,
                .image
            ),
            // A cache config among the layers does not make a cache of an image.
            (#"{"config":\#(imageConfig),"layers":[\#(cacheConfig)]}"#, .image),
            (#"{"layers":null}"#, .image),
            (#"{"config":null}"#, .image),
            (#"{"mediaType":"\#(MediaType.ociIndex)","manifests":[\#(layer),\#(cacheConfig)]}"#, .ociIndexCache),
            (#"{"mediaType":"\#(MediaType.ociIndex)","manifests":[\#(cacheConfig),\#(layer)]}"#, .ociIndexCache),
            (#"{"mediaType":"\#(MediaType.ociIndex)","manifests":[\#(cacheConfig)]}"#, .ociIndexCache),
            (
                #"{"mediaType":"\#(MediaType.dockerManifestList)","manifests":[\#(layer),\#(cacheConfig)]}"#,
                .dockerListCache
            ),
            (#"{"manifests":[\#(dockerLayer),\#(cacheConfig)]}"#, .dockerListCache),
            (#"{"manifests":[\#(layer),\#(cacheConfig)]}"#, .ociIndexCache),
            (#"{"manifests":[\#(layer)]}"#, .index),
            (#"{"mediaType":"\#(MediaType.ociIndex)","manifests":[]}"#, .index),
            (#"{"mediaType":"\#(MediaType.dockerManifestList)","manifests":null}"#, .index),
            ("{}", .index),
            // A media type that is missing, null or unknown contradicts nothing.
            (#"{"mediaType":null,"config":\#(imageConfig)}"#, .image),
            (#"{"mediaType":"application/json","config":\#(imageConfig)}"#, .image),
            (#"{"mediaType":"application/json","manifests":[\#(layer)]}"#, .index),
            // Keys in any case, the last of equal ones counts.
            (#"{"MediaType":"\#(MediaType.ociManifest)","CONFIG":\#(cacheConfig)}"#, .imageManifestCache),
            (#"{"config":\#(cacheConfig),"config":\#(imageConfig)}"#, .image),
            (#" { "schemaVersion" : 2 , "x" : [ { } ] , "manifests" : [ ] } "#, .index),
        ])
    func detects(_ json: String, _ kind: Kind) throws {
        #expect(Self.kind(try Document(decoding: Array(json.utf8))) == kind)
    }

    @Test(
        "is refused when it contradicts itself or is none",
        arguments: [
            #"{"mediaType":"\#(MediaType.ociIndex)","config":\#(imageConfig)}"#,
            #"{"mediaType":"\#(MediaType.dockerManifestList)","layers":[]}"#,
            #"{"mediaType":"\#(MediaType.ociManifest)","manifests":[]}"#,
            #"{"mediaType":"\#(MediaType.dockerManifest)"}"#,
            #"{"config":\#(imageConfig),"manifests":[]}"#,
            #"{"layers":[],"manifests":null}"#,
            "", " ", "null", "[]", "1", #""text""#, "{} {}", "{", "<html>",
            #"{"schemaVersion":"2"}"#, #"{"schemaVersion":2.0}"#, #"{"mediaType":1}"#, #"{"config":[]}"#,
            #"{"config":\#(imageConfig),"layers":{}}"#, #"{"manifests":{}}"#, #"{"manifests":[null]}"#,
            #"{"layers":[1]}"#,
            #"{"manifests":[],"annotations":[]}"#, #"{"manifests":[],"subject":{}}"#, #"{"manifests":[],"x":01}"#,
        ])
    func refuses(_ json: String) {
        let error = #expect(throws: CacheError.self) { try Document(decoding: Array(json.utf8)) }
        #expect(error?.code == .corrupted)
    }

    @Test("that lists several cache configs is the cache of the last one")
    func lastConfigWins() throws {
        let first = Self.descriptor(.cacheConfig, "first")
        let json = #"{"manifests":[\#(first),\#(Self.layer),\#(Self.cacheConfig),\#(Self.layer)]}"#
        guard case .cache(let cache) = try Document(decoding: Array(json.utf8)) else {
            Issue.record("not taken for a cache")
            return
        }
        #expect(cache.config.digest == Digest(of: "cache config".utf8))
        #expect(cache.layers.map(\.digest) == [Digest(of: "layer".utf8), Digest(of: "layer".utf8)])
    }

    // MARK: Single entries

    private static let unusable = [
        #"{"mediaType":"\#(MediaType.ociManifest)","digest":"sha512:\#(String(repeating: "ab", count: 64))","size":9}"#,
        #"{"digest":"sha256:0"}"#, #"{"digest":"\#(Digest(of: "a".utf8))","size":-1}"#, "null", "5", "[]", "{}",
        #"{"digest":"\#(Digest(of: "a".utf8))","platform":"linux"}"#,
    ]

    @Test("loses an entry that cannot be used, and no other", arguments: unusable)
    func leavesOut(_ entry: String) throws {
        for json in [
            #"{"manifests":[\#(entry),\#(Self.imageConfig),\#(entry)]}"#,
            #"{"manifests":[\#(entry),\#(Self.cacheConfig),\#(Self.layer),\#(entry)]}"#,
            #"{"config":\#(Self.cacheConfig),"layers":[\#(entry),\#(Self.layer),\#(entry)]}"#,
        ] {
            var unusable = UnusableEntries()
            let document = try Document(decoding: Array(json.utf8), leavingOut: &unusable)
            #expect(unusable.count == 2)
            #expect(unusable.warnings(about: "an entry").count == 2)
            switch document {
            case .cache(let cache): #expect(cache.layers.map(\.digest) == [Digest(of: "layer".utf8)])
            case .index(let index): #expect(index.manifests.map(\.digest) == [Digest(of: "image config".utf8)])
            case .image: Issue.record("taken for an image")
            }
            #expect(throws: CacheError.self) { try Document(decoding: Array(json.utf8)) }
        }
    }

    @Test("of an image is refused without one of its layers, and still leads to the others", arguments: unusable)
    func needsLayers(_ entry: String) throws {
        let json = #"{"config":\#(Self.imageConfig),"layers":[\#(Self.layer),\#(entry)]}"#
        #expect(throws: CacheError.self) { try Document(decoding: Array(json.utf8)) }
        var unusable = UnusableEntries()
        let image = try Document(decoding: Array(json.utf8), leavingOut: &unusable)
        #expect(image.references.map(\.digest) == [Digest(of: "layer".utf8), Digest(of: "image config".utf8)])
        #expect(unusable.count == 1)
    }

    @Test("whose subject cannot be used is read without it")
    func leavesOutSubject() throws {
        var unusable = UnusableEntries()
        let json = #"{"manifests":[\#(Self.layer)],"subject":\#(Self.unusable[0])}"#
        guard case .index(let index) = try Document(decoding: Array(json.utf8), leavingOut: &unusable) else {
            Issue.record("not taken for an index")
            return
        }
        #expect(index.subject == nil)
        #expect(index.manifests.count == 1)
        #expect(unusable.count == 0)
        #expect(throws: CacheError.self) { try Document(decoding: Array(json.utf8)) }
    }

    @Test("with a hundred unusable entries gives a few warnings and a count")
    func countsUnusable() throws {
        var unusable = UnusableEntries()
        let entries = [String](repeating: "5", count: 100).joined(separator: ",")
        _ = try Document(decoding: Array(#"{"manifests":[\#(entries)]}"#.utf8), leavingOut: &unusable)
        #expect(unusable.count == 100)
        #expect(unusable.warnings(about: "an entry").last == "an entry is left out: 92 more")
        #expect(unusable.warnings(about: "an entry").count == 9)
    }

    @Test(
        "that is not JSON in one entry is refused whole",
        arguments: [#"{"manifests":[{"digest":}]}"#, #"{"manifests":[01]}"#])
    func refusesMalformedEntries(_ json: String) {
        var unusable = UnusableEntries()
        let error = #expect(throws: CacheError.self) {
            try Document(decoding: Array(json.utf8), leavingOut: &unusable)
        }
        #expect(error?.code == .corrupted)
    }

    @Test("refers to all that it needs")
    func references() throws {
        let image = try Document(decoding: Array(#"{"config":\#(Self.imageConfig),"layers":[\#(Self.layer)]}"#.utf8))
        #expect(image.references.map(\.mediaType) == [.layer(.gzip), .ociConfig])
        let cache = try Document(decoding: Array(#"{"manifests":[\#(Self.cacheConfig),\#(Self.layer)]}"#.utf8))
        #expect(cache.references.map(\.mediaType) == [.layer(.gzip), .cacheConfig])
        let index = try Document(decoding: Array(#"{"manifests":[\#(Self.imageConfig)]}"#.utf8))
        #expect(index.references.map(\.mediaType) == [.ociConfig])
    }

    @Test("keeps what else a manifest says when it is encoded again")
    func keepsOtherFields() throws {
        let manifest =
            #"{"schemaVersion":2,"mediaType":"\#(MediaType.ociManifest)","artifactType":"a/b","config":\#(Self.imageConfig),"#
            + #""layers":[\#(Self.layer)],"subject":\#(Self.descriptor(.ociManifest, "subject")),"annotations":{"k":"v"}}"#
        guard case .image(let image) = try Document(decoding: Array(manifest.utf8)) else {
            Issue.record("not taken for an image")
            return
        }
        #expect(text(image.encode().bytes) == manifest)

        let list = #"{"schemaVersion":2,"artifactType":"a/b","manifests":[],"annotations":{"k":"v"}}"#
        guard case .index(let index) = try Document(decoding: Array(list.utf8)) else {
            Issue.record("not taken for an index")
            return
        }
        #expect(text(index.encode().bytes) == list)
        #expect(index.encode().mediaType == .ociIndex)
    }

    // MARK: Hostile input

    private static let goldenNames = [
        "cache-image-manifest", "cache-oci-index", "cache-docker-list", "inline-manifest",
    ]

    @Test("is refused when it is cut off anywhere", arguments: goldenNames)
    func refusesTruncated(_ name: String) throws {
        let bytes = try Fixtures.golden(name)
        for length in bytes.indices {
            let error = #expect(throws: CacheError.self, "cut after \(length) bytes") {
                try Document(decoding: Array(bytes.prefix(length)))
            }
            #expect(error?.code == .corrupted)
        }
    }

    @Test("with any one byte changed is read or refused with a typed error", arguments: goldenNames)
    func survivesChangedBytes(_ name: String) throws {
        let bytes = try Fixtures.golden(name)
        for position in bytes.indices {
            for byte in [0, 0x22, 0x2C, 0x2D, 0x39, 0x5C, 0x5D, 0x7B, 0xFF] as [UInt8] {
                var changed = bytes
                changed[position] = byte
                do throws(CacheError) {
                    _ = try Document(decoding: changed)
                } catch {
                    #expect(error.code == .corrupted || error.code == .unsupported)
                }
            }
        }
    }

    @Test("larger than its limit is refused, at its limit not")
    func limitsSize() throws {
        let bytes = try Fixtures.golden("cache-image-manifest")
        _ = try Document(decoding: bytes, limit: bytes.count)
        let error = #expect(throws: CacheError.self) { try Document(decoding: bytes, limit: bytes.count - 1) }
        #expect(error?.code == .limitExceeded)
        #expect(error?.message == "manifest has 1884 bytes, more than the limit of 1883")
    }

    @Test("that nests without end is refused", arguments: [#"{"x":"#, #"["#, #"{"manifests":[{"x":["#])
    func limitsDepth(_ opening: String) {
        let json = #"{"x":"# + String(repeating: opening, count: 1_000_000)
        let error = #expect(throws: CacheError.self) { try Document(decoding: Array(json.utf8)) }
        #expect(error?.code == .limitExceeded)
    }

    @Test("with arrays without end is refused before they are kept")
    func limitsCount() {
        let count = 1 << 19
        let urls = String(repeating: #""","#, count: count) + #""""#
        let layers = [String](repeating: Self.layer, count: 2)
        for json in [
            #"{"manifests":[{"digest":"\#(Digest(of: "a".utf8))","urls":[\#(urls)]}]}"#,
            #"{"annotations":{\#((0...count).map { #""\#($0)":"""# }.joined(separator: ","))}}"#,
        ] {
            let error = #expect(throws: CacheError.self) { try Document(decoding: Array(json.utf8)) }
            #expect(error?.code == .limitExceeded)
        }
        #expect(throws: Never.self) {
            try Document(decoding: Array(#"{"layers":[\#(layers.joined(separator: ","))]}"#.utf8))
        }
    }
}
