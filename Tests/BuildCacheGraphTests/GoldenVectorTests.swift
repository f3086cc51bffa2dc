import BuildCacheCore
import BuildCacheGraph
import Testing

@Suite("A cache config")
struct GoldenVectorTests {
    // Documentation/Spec/cache-format.md §1.2
    static let golden = """
        {"layers":[{"blob":"sha256:0ad52e338662c923b15fd45a73c6e97336efccf28a7aef9449443cc6dd7415fb","parent":-1},{"blob":"sha256:8b53639f152c8fc6ef30802fde462ba0be9cf085f7580dc69efd72e002abbb35"}],"records":[{"layers":[{"layer":1,"createdAt":"2026-01-02T03:04:05.678Z"}],"digest":"sha256:29e8a56dfde089212df9eeebaf90d4bebe58a2f5e192cc7f6adb9bbe15dd5ac7","inputs":[[{"link":1}],[{"selector":"sel0","link":2}]]},{"digest":"sha256:9b33d7158456f4029a31acce539a475537fd97242e02e3f98add3d26322e2686"},{"digest":"sha256:f1087d322fe2d1ff8c2ac93def4631af1ff21a0e5d9ebe7005c9d31b4c489795"}]}
        """

    static func goldenGraph() throws -> LayerGraph {
        var graph = LayerGraph()
        func record(_ word: String) -> Digest {
            .record(operation: Digest(of: word.utf8), output: word == "bar" ? 1 : 0)
        }
        let foo = try graph.addRecord(record("foo"))
        let bar = try graph.addRecord(record("bar"))
        let top = try graph.addChain([
            Descriptor(
                mediaType: .layer(.gzip),
                digest: Digest("sha256:0ad52e338662c923b15fd45a73c6e97336efccf28a7aef9449443cc6dd7415fb"),
                size: 2_811_969),
            Descriptor(
                mediaType: .layer(.gzip),
                digest: Digest("sha256:8b53639f152c8fc6ef30802fde462ba0be9cf085f7580dc69efd72e002abbb35"),
                size: 173),
        ])
        let createdAt = try Timestamp("2026-01-02T03:04:05.678Z")
        try graph.addRecord(
            record("baz"), inputs: [[Link(foo)], [Link(bar, selector: "sel0")]],
            results: [CacheResult(layer: #require(top), createdAt: createdAt)])
        return graph
    }

    @Test("is encoded byte for byte as BuildKit encodes it")
    func encodesGoldenVector() throws {
        let encoded = try Self.goldenGraph().encodeConfig()
        #expect(String(decoding: encoded.bytes, as: UTF8.self) == Self.golden)
        #expect(encoded.bytes.count == 574)
        #expect(encoded.digest.description == "sha256:709b7e262ef6294e2f60d359079044a0ec4ef47faccd60cabaf72f33613ca447")
        #expect(encoded.layers.map(\.hex.first) == ["0", "8"])
    }

    @Test("decodes to the graph it was made of")
    func decodesGoldenVector() throws {
        let graph = try Self.goldenGraph()
        let read = try LayerGraph(
            decodingConfig: Array(Self.golden.utf8), layers: .described(Array(graph.descriptors.values)))
        #expect(read == graph)
        #expect(try read.encodeConfig().bytes == Array(Self.golden.utf8))
    }

    @Test("gives the same bytes whatever the order it was put together in")
    func orderDoesNotMatter() throws {
        let descriptors = (0..<6).map {
            Descriptor(mediaType: .layer(.zstd), digest: Digest(of: "layer \($0 % 3)".utf8), size: 10)
        }
        func build(_ order: [Int]) throws -> [UInt8] {
            var graph = LayerGraph()
            for root in order {
                let source = try graph.addRecord(.record(content: Digest(of: "root \(root)".utf8)))
                // The same operation and the same blobs on different roots: only what is below tells them apart.
                var below = source
                for step in 0..<3 {
                    let chain = try graph.addChain([descriptors[root], descriptors[step]])
                    below = try graph.addRecord(
                        .record(operation: Digest(of: "step".utf8), output: 0),
                        inputs: [[Link(below), Link(source, selector: "s\(step)")]],
                        results: [CacheResult(layer: #require(chain), createdAt: .zero)])
                }
            }
            return try graph.encodeConfig().bytes
        }
        let expected = try build(Array(0..<6))
        #expect(try build([5, 3, 1, 0, 2, 4]) == expected)
        #expect(try build([2, 4, 5, 0, 1, 3]) == expected)
    }

    @Test("keeps nanoseconds, zones and escaped selectors through a round trip")
    func keepsDetails() throws {
        let digest = Digest(of: "x".utf8)
        let text =
            #"{"layers":[{"blob":"\#(digest)","parent":-1}],"records":[{"digest":"\#(digest)"},{"layers":[{"layer":0,"createdAt":"2026-05-06T07:08:09.123456789+02:00"}],"digest":"\#(digest)","inputs":[[{"selector":"a\u003cb\u2028/\"é","link":0}]]}]}"#
        let graph = try LayerGraph(decodingConfig: Array(text.utf8), layers: .undescribed)
        #expect(String(decoding: try graph.encodeConfig().bytes, as: UTF8.self) == text)
    }

    @Test("is read whatever the case of its keys, with unknown keys, with null for zero, and in any order")
    func readsTolerantly() throws {
        let digest = Digest(of: "x".utf8)
        let text = #"""
            { "RECORDS" : [ { "Digest" : "\#(digest)", "inputs": null, "new": {"a":[1,{"b":null}]} ,
              "layers" : [ {"createdat":"2026-01-02T03:04:05Z", "LAYER":null} ] } ],
              "version": 7.5e3, "layers" : [ { "parent": -1, "blob": "\#(digest)", "annotations": null } ] }
            """#
        let graph = try LayerGraph(decodingConfig: Array(text.utf8), layers: .undescribed)
        let record = try #require(graph.recordIDs.first)
        #expect(try graph[record].results.map(\.createdAt) == [Timestamp("2026-01-02T03:04:05Z")])
    }

    @Test("in its annotated form describes its layers itself")
    func annotatedForm() throws {
        var graph = LayerGraph()
        let source = try graph.addRecord(.record(content: Digest(of: "a".utf8)))
        let descriptor = Descriptor(
            mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", digest: Digest(of: "blob".utf8), size: 173,
            annotations: [
                Annotation.uncompressed: Digest(of: "tar".utf8).description,
                Annotation.createdAt: "2026-01-02T05:04:01.123456789+02:00",
            ])
        let layer = try graph.addLayer(descriptor)
        try graph.addRecord(
            Digest(of: "b".utf8), inputs: [[Link(source)]], results: [CacheResult(layer: layer, createdAt: .zero)])
        let encoded = try graph.encodeConfig(.annotated)
        let text = String(decoding: encoded.bytes, as: UTF8.self)
        #expect(
            text.hasPrefix(
                #"{"layers":[{"blob":"\#(descriptor.digest)","parent":-1,"annotations":{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","diffID":"\#(Digest(of: "tar".utf8))","size":173,"createdAt":"2026-01-02T03:04:01.123456789Z"}}],"#
            ))

        let read = try LayerGraph(decodingConfig: encoded.bytes, layers: .annotated)
        #expect(read.descriptors[descriptor.digest]?.diffID == DiffID(Digest(of: "tar".utf8)))
        #expect(read.descriptors[descriptor.digest]?.size == 173)
        #expect(try read.encodeConfig(.annotated).bytes == encoded.bytes)
    }
}
