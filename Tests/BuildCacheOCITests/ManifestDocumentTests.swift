import BuildCacheCore
import BuildCacheOCI
import Testing

@Suite("A manifest")
struct ManifestDocumentTests {
    private static let digest = Digest(of: "x".utf8)
    private static let layer = #"{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"\#(digest)","size":3}"#
    private static let cacheConfig =
        #"{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"\#(digest)","size":3}"#
    private static let imageConfig =
        #"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"\#(digest)","size":3}"#

    enum Kind { case cache, image, index }

    private func kind(_ text: String) throws -> Kind {
        switch try ManifestDocument(decoding: Array(text.utf8)) {
        case .cache: .cache
        case .image: .image
        case .index: .index
        }
    }

    @Test(
        "is what its content says, whatever it is called",
        arguments: [
            (#"{"schemaVersion":2,"config":\#(cacheConfig),"layers":[\#(layer)]}"#, Kind.cache),
            (#"{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":\#(cacheConfig)}"#, .cache),
            (#"{"mediaType":"text/plain","manifests":[\#(cacheConfig),\#(layer)]}"#, .cache),
            (#"{"config":\#(imageConfig),"layers":[\#(layer)]}"#, .image),
            (#"{"layers":[\#(layer)]}"#, .image),
            (#"{"LAYERS":[\#(layer)],"Config":null}"#, .image),
            (#"{"manifests":[\#(layer)]}"#, .index), (#"{"manifests":null}"#, .index), ("{}", .index),
        ])
    func detects(_ text: String, _ expected: Kind) throws {
        #expect(try kind(text) == expected)
    }

    @Test(
        "that contradicts itself or is none is refused as corrupted",
        arguments: [
            #"{"mediaType":"application/vnd.oci.image.index.v1+json","layers":[\#(layer)]}"#,
            #"{"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","config":\#(imageConfig)}"#,
            #"{"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[\#(layer)]}"#,
            #"{"config":\#(imageConfig),"manifests":[\#(layer)]}"#, "null", "[]", "", "{} {}",
            #"{"layers":[{"digest":"\#(digest)","size":-1}]}"#, #"{"layers":[{"digest":"sha256:../../x"}]}"#,
            #"{"layers":[{}]}"#,
            #"{"layers":[{"digest":"\#(digest)","size":1e3}]}"#, #"{"layers":{"0":1}}"#,
        ])
    func refuses(_ text: String) {
        let error = #expect(throws: CacheError.self) { try kind(text) }
        #expect(error?.code == .corrupted)
    }

    @Test("takes the last of several cache configs, wherever they stand")
    func lastConfigCounts() throws {
        let other = Digest(of: "y".utf8)
        let text =
            #"{"manifests":[\#(Self.cacheConfig),\#(Self.layer),{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"\#(other)","size":3}]}"#
        guard case .cache(let manifest) = try ManifestDocument(decoding: Array(text.utf8)) else {
            Issue.record("it was not taken for a cache")
            return
        }
        #expect(manifest.config.digest == other)
        #expect(manifest.layers.count == 1)
    }

    @Test("past the size limit is refused before it is read")
    func sizeLimit() {
        let error = #expect(throws: CacheError.self) {
            try ManifestDocument(decoding: Array(repeating: 32, count: 101), sizeLimit: 100)
        }
        #expect(error?.code == .limitExceeded)
    }
}

@Suite("An image config")
struct ImageConfigTests {
    private static let digest = Digest(of: "x".utf8)

    @Test("gives diffIDs, the history of steps with a layer, and the records of its cache")
    func reads() throws {
        let text = #"""
            {"architecture":"amd64","moby.buildkit.cache.v0":"W3siYSI6IjEifV0=","history":[{"created":"2026-01-01T00:00:00Z","created_by":"COPY"},
             {"created":"x","empty_layer":true},{}],"rootfs":{"type":"layers","diff_ids":["\#(Self.digest)"]}}
            """#
        let config = try ImageConfig(decoding: Array(text.utf8))
        #expect(config.diffIDs == [DiffID(Self.digest)])
        #expect(config.history.map(\.createdBy) == ["COPY", nil])
        #expect(config.cacheRecords.map { String(decoding: $0, as: UTF8.self) } == #"[{"a":"1"}]"#)
    }

    @Test(
        "may have no cache, no history and no layers",
        arguments: ["{}", #"{"moby.buildkit.cache.v0":null,"history":null,"rootfs":null}"#])
    func readsEmpty(_ text: String) throws {
        let config = try ImageConfig(decoding: Array(text.utf8))
        #expect(config.cacheRecords == nil)
        #expect(config.diffIDs.isEmpty)
    }

    @Test(
        "decodes Base64 of any length and refuses what is none",
        arguments: [
            ("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9v\\nYg==", "foob"), ("Zg=", nil),
            ("Zg", nil), ("Z===", nil),
            ("=g==", nil), ("Zm9v!A==", nil), ("Zg==Zg==", nil),
        ] as [(String, String?)])
    func base64(_ encoded: String, _ expected: String?) {
        let config = try? ImageConfig(decoding: Array(#"{"moby.buildkit.cache.v0":"\#(encoded)"}"#.utf8))
        #expect(config?.cacheRecords.map { String(decoding: $0, as: UTF8.self) } == expected)
    }
}
