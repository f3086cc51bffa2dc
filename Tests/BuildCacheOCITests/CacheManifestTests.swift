import BuildCacheCore
import BuildCacheOCI
import Testing

@Suite("A cache's manifest")
struct CacheManifestTests {
    private static let config = Descriptor(
        mediaType: .cacheConfig, digest: Digest(of: "config".utf8), size: 574)

    private static func layer(_ mediaType: MediaType, _ name: String = "layer") -> Descriptor {
        Descriptor(mediaType: mediaType, digest: Digest(of: name.utf8), size: 173)
    }

    @Test("has the bytes that the specification gives")
    func specification() throws {
        // `Documentation/Spec/cache-format.md` §5. The diffIDs are those of the words diff0 and diff1, the blobs d0 and d1.
        let layers = (0...1).map { number in
            Descriptor(
                mediaType: .layer(.gzip), digest: Digest(of: "d\(number)".utf8), size: [2_811_969, 173][number],
                annotations: [
                    Annotation.uncompressed: Digest(of: "diff\(number)".utf8).description,
                    Annotation.createdAt: "2026-01-02T03:04:0\(number).123456789Z",
                ])
        }
        let config = Descriptor(
            mediaType: .cacheConfig,
            digest: try Digest("sha256:709b7e262ef6294e2f60d359079044a0ec4ef47faccd60cabaf72f33613ca447"), size: 574)
        let document = CacheManifest(config: config, layers: layers, layout: .imageManifest).encode()
        #expect(document.bytes.count == 904)
        #expect(document.digest.hex.hasPrefix("e92c71c4"))
        #expect(document.digest.hex.hasSuffix("25b6"))
    }

    @Test(
        "that BuildKit wrote is decoded and encoded to its bytes",
        arguments: [
            ("cache-image-manifest", ManifestLayout.imageManifest, MediaType.ociManifest, Compression.gzip),
            ("cache-oci-index", .ociIndex, .ociIndex, .gzip),
            ("cache-docker-list", .dockerList, .dockerManifestList, .gzip),
        ])
    func golden(_ name: String, _ layout: ManifestLayout, _ mediaType: MediaType, _ compression: Compression) throws {
        let bytes = try Fixtures.golden(name)
        guard case .cache(let cache) = try Document(decoding: bytes) else {
            Issue.record("not taken for a cache")
            return
        }
        #expect(cache.layout == layout)
        #expect(cache.layers.count == 5)
        // Docker's names of layers say as much as OCI's.
        #expect(cache.layers.allSatisfy { $0.mediaType.layer?.compression == compression && $0.diffID != nil })
        let encoded = CacheManifest(config: cache.config, layers: cache.layers, layout: cache.layout).encode()
        #expect(text(encoded.bytes) == text(bytes))
        #expect(
            encoded.descriptor == Descriptor(mediaType: mediaType, digest: Digest(of: bytes), size: Int64(bytes.count)))
    }

    @Test(
        "can be written in each layout from that of any other", arguments: ManifestLayout.allCases,
        ManifestLayout.allCases)
    func converts(_ from: ManifestLayout, _ to: ManifestLayout) throws {
        let names: [ManifestLayout: String] = [
            .imageManifest: "cache-image-manifest", .ociIndex: "cache-oci-index", .dockerList: "cache-docker-list",
        ]
        // The three were exported from one build.
        guard case .cache(let cache) = try Document(decoding: try Fixtures.golden(try #require(names[from]))) else {
            Issue.record("not taken for a cache")
            return
        }
        let encoded = CacheManifest(config: cache.config, layers: cache.layers, layout: to).encode()
        #expect(text(encoded.bytes) == text(try Fixtures.golden(try #require(names[to]))))
    }

    @Test("lists a blob as often as it is given")
    func keepsDuplicates() throws {
        let layer = Self.layer(.layer(.gzip))
        for layout in ManifestLayout.allCases {
            let encoded = CacheManifest(config: Self.config, layers: [layer, layer, layer], layout: layout).encode()
            guard case .cache(let cache) = try Document(decoding: encoded.bytes) else {
                Issue.record("not taken for a cache")
                return
            }
            #expect(cache.layers.map(\.digest) == [layer.digest, layer.digest, layer.digest])
        }
    }

    @Test("makes foreign layers distributable and forgets where to download them")
    func makesDistributable() throws {
        var layer = Self.layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
        layer.urls = ["https://example.com/layer"]
        for (layout, mediaType) in [
            (ManifestLayout.imageManifest, MediaType.layer(.gzip)), (.dockerList, .layer(.gzip, docker: true)),
        ] {
            let encoded = CacheManifest(config: Self.config, layers: [layer], layout: layout).encode()
            guard case .cache(let cache) = try Document(decoding: encoded.bytes) else {
                Issue.record("not taken for a cache")
                return
            }
            #expect(cache.layers == [Self.layer(mediaType)])
        }
    }

    @Test("keeps layers of a type it does not know as they are")
    func keepsUnknownTypes() throws {
        let layer = Self.layer("application/vnd.example.layer")
        let encoded = CacheManifest(config: Self.config, layers: [layer], layout: .dockerList).encode()
        #expect(
            text(encoded.bytes)
                == #"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":["#
                + #"{"mediaType":"application/vnd.example.layer","digest":"\#(layer.digest)","size":173},"#
                + #"{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"\#(Self.config.digest)","size":574}]}"#
        )
    }

    @Test("is reported when BuildKit could not import it")
    func reportsLargeDocuments() {
        let fits = RawDocument(mediaType: .cacheConfig, bytes: [UInt8](repeating: 0x20, count: 1_048_576))
        let tooLarge = RawDocument(mediaType: .cacheConfig, bytes: fits.bytes + [0x20])
        #expect(fits.buildKitLimitWarning == nil)
        #expect(tooLarge.buildKitLimitWarning?.contains("has 1048577 bytes") == true)
    }
}
