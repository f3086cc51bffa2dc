import BuildCacheCore
import BuildCacheOCI
import Testing

@Suite("The index.json of an OCI layout")
struct OCILayoutIndexTests {
    private static let old = Digest(of: "old".utf8)
    private static let new = Descriptor(mediaType: .ociManifest, digest: Digest(of: "new".utf8), size: 12)
    private static let head = #"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":["#

    private static func newEntry(_ tag: String) -> String {
        #"{"mediaType":"\#(MediaType.ociManifest)","digest":"\#(new.digest)","size":12,"#
            + #""annotations":{"org.opencontainers.image.ref.name":"\#(tag)"}}"#
    }

    private static func entry(_ annotations: String, digest: Digest = old) -> String {
        #"{"mediaType":"a/b","digest":"\#(digest)","size":1,"annotations":{\#(annotations)}}"#
    }

    private static func decode(_ json: String) throws -> OCILayoutIndex {
        try OCILayoutIndex(decoding: Array(json.utf8))
    }

    // MARK: Writing

    @Test("and the file beside it begin as BuildKit begins them")
    func begins() throws {
        #expect(text(OCILayoutIndex().encode()) == Self.head + "]}")
        #expect(text(OCILayoutIndex.layoutFile) == #"{"imageLayoutVersion":"1.0.0"}"#)
        #expect(text(try OCILayoutIndex(decoding: []).encode()) == Self.head + "]}")
    }

    @Test("that BuildKit wrote comes about by putting its tag")
    func golden() throws {
        let bytes = try Fixtures.golden("layout-index")
        let manifest = RawDocument(mediaType: .ociManifest, bytes: try Fixtures.golden("cache-image-manifest"))
        var index = OCILayoutIndex()
        index.put(manifest.descriptor, tag: "latest")
        #expect(text(index.encode()) == text(bytes))

        // Once more over the written file: nothing changes.
        var written = try OCILayoutIndex(decoding: bytes)
        written.put(manifest.descriptor, tag: "latest")
        #expect(text(written.encode()) == text(bytes))
    }

    @Test("replaces only entries of the same tag without an image name, and appends the new one")
    func replaces() throws {
        let tag = #""org.opencontainers.image.ref.name":"main""#
        let kept = [
            Self.entry(#"\#(tag),"io.containerd.image.name":"docker.io/library/app:main""#),
            Self.entry(#""org.opencontainers.image.ref.name":"other""#),
            #"{"digest":"\#(Self.old)"}"#,
        ]
        let replaced = [Self.entry(tag), Self.entry(#"\#(tag),"io.containerd.image.name":"""#), Self.entry(tag)]
        let all = [replaced[0], kept[0], replaced[1], kept[1], kept[2], replaced[2]]
        var index = try Self.decode(Self.head + all.joined(separator: ",") + "]}")
        index.put(Self.new, tag: "main")
        #expect(text(index.encode()) == Self.head + (kept + [Self.newEntry("main")]).joined(separator: ",") + "]}")
    }

    @Test("keeps what it does not know, in its order, and even entries that make no sense here")
    func keepsUnknown() throws {
        var index = try Self.decode(
            """
            { "x" : { "b" : 1 , "a" : [ 1.0 , "\\u0041" ] }, "manifests" : [ { "digest" : "md5:abc" , "new" : true } , 5 , null,
              { "size" : -1 } ],
              "annotations" : { "z" : "1" }, "schemaVersion" : 2 }
            """)
        #expect(index.entries.count == 4)
        for entry in index.entries {
            let error = #expect(throws: CacheError.self) { try entry.descriptor() }
            #expect(error?.code == .corrupted)
        }
        index.put(Self.new, tag: "a/b<c>")
        #expect(
            text(index.encode())
                == #"{"x":{"b":1,"a":[1.0,"\u0041"]},"manifests":[{"digest":"md5:abc","new":true},5,null,{"size":-1},"#
                + Self.newEntry(#"a/b\u003cc\u003e"#)
                + #"],"annotations":{"z":"1"},"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"}"#
        )
    }

    @Test(
        "says what it is after an edit, as BuildKit makes it",
        arguments: [
            "{}", #"{"manifests":null}"#, #"{"schemaVersion":0,"mediaType":"","manifests":[]}"#,
            #"{"schemaVersion":null,"mediaType":null}"#, #"{"mediaType":"application/vnd.oci.image.index.v1+json"}"#,
            #"{"schemaVersion":2,"manifests":[]}"#,
        ])
    func fillsDefaults(_ json: String) throws {
        var index = try Self.decode(json)
        index.put(Self.new, tag: "main")
        #expect(text(index.encode()) == Self.head + Self.newEntry("main") + "]}")
    }

    @Test("keeps the annotations of a descriptor put into it")
    func keepsAnnotations() throws {
        var descriptor = Self.new
        descriptor.annotations = ["z": "1", Annotation.referenceName: "other"]
        var index = OCILayoutIndex()
        index.put(descriptor, tag: "main")
        let entry = try #require(try Self.decode(text(index.encode())).entry(tag: "main"))
        #expect(try entry.descriptor().annotations == ["z": "1", Annotation.referenceName: "main"])
        #expect(index.entry(tag: "other") == nil)
    }

    // MARK: Reading

    @Test("tells tags apart by their bytes")
    func exactTags() throws {
        // One is é, the other e and an accent: equal as strings, two tags.
        let tags = ["caf\u{E9}", "cafe\u{301}"]
        var index = OCILayoutIndex()
        for tag in tags { index.put(Self.new, tag: tag) }
        #expect(index.entries.count == 2)
        let removed = index.remove(tag: tags[0])
        #expect(removed)
        #expect(index.entry(tag: tags[0]) == nil)
        #expect(index.entry(tag: tags[1]) != nil)
    }

    @Test("finds a tag by image name before reference name, the first of each")
    func finds() throws {
        let digests = (0...4).map { Digest(of: "\($0)".utf8) }
        let index = try Self.decode(
            Self.head
                + [
                    Self.entry(#""org.opencontainers.image.ref.name":"a""#, digest: digests[0]),
                    Self.entry(#""org.opencontainers.image.ref.name":"a""#, digest: digests[1]),
                    Self.entry(#""io.containerd.image.name":"b""#, digest: digests[2]),
                    Self.entry(#""org.opencontainers.image.ref.name":"b""#, digest: digests[3]),
                    Self.entry(
                        #""io.containerd.image.name":"a","org.opencontainers.image.ref.name":"c""#, digest: digests[4]),
                ].joined(separator: ",") + "]}")
        #expect(try index.entry(tag: "a")?.descriptor().digest == digests[4])
        #expect(try index.entry(tag: "b")?.descriptor().digest == digests[2])
        #expect(try index.entry(tag: "c")?.descriptor().digest == digests[4])
        #expect(index.entry(tag: "d") == nil)
        #expect(index.entry(tag: "") == nil)
    }

    @Test("names an entry that it cannot use, so that its tag can be replaced")
    func namesUnusable() throws {
        var index = try Self.decode(
            #"{"manifests":[{"digest":"sha512:x","annotations":{"org.opencontainers.image.ref.name":"main"}}]}"#)
        let entry = try #require(index.entry(tag: "main"))
        let error = #expect(throws: CacheError.self) { try entry.descriptor() }
        #expect(error?.code == .unsupported)
        index.put(Self.new, tag: "main")
        #expect(text(index.encode()) == Self.head + Self.newEntry("main") + "]}")
    }

    @Test("reads keys in any case and the last of equal ones")
    func toleratesCase() throws {
        let index = try Self.decode(#"{"manifests":[1,2,3],"Manifests":[{"Digest":"\#(Self.old)"}],"x":1,"x":2}"#)
        #expect(try index.entries.map { try $0.descriptor().digest } == [Self.old])
        #expect(text(index.encode()) == #"{"manifests":[1,2,3],"Manifests":[{"Digest":"\#(Self.old)"}],"x":2}"#)
    }

    // MARK: Removing

    @Test("loses the entries of a tag, and only them")
    func removes() throws {
        let tag = #""org.opencontainers.image.ref.name":"main""#
        let image = Self.entry(#"\#(tag),"io.containerd.image.name":"app:main""#)
        var index = try Self.decode(Self.head + Self.entry(tag) + "," + image + "]}")
        var wasThere = index.remove(tag: "main")
        #expect(wasThere)
        wasThere = index.remove(tag: "main")
        #expect(!wasThere)
        #expect(text(index.encode()) == Self.head + image + "]}")
        let count = index.removeEntries { $0.imageName == "app:main" }
        #expect(count == 1)
        #expect(text(index.encode()) == Self.head + "]}")
    }

    // MARK: Hostile input

    @Test(
        "is refused when it is none",
        arguments: [
            " ", "null", "[]", "5", #"{"manifests":{}}"#, #"{"manifests":5}"#, #"{"manifests":[01]}"#, "{}{}", "{,}",
        ])
    func refusesOthers(_ json: String) {
        let error = #expect(throws: CacheError.self) { try Self.decode(json) }
        #expect(error?.code == .corrupted)
    }

    @Test("is refused when it is cut off anywhere but at its beginning")
    func refusesTruncated() throws {
        let bytes = try Fixtures.golden("layout-index")
        for length in bytes.indices.dropFirst() {
            let error = #expect(throws: CacheError.self, "cut after \(length) bytes") {
                try OCILayoutIndex(decoding: Array(bytes.prefix(length)))
            }
            #expect(error?.code == .corrupted)
        }
    }

    @Test("with more bytes or entries than allowed, or deeper ones, is refused")
    func limits() throws {
        for (json, limit) in [
            (Self.head + "]}", 20),
            (#"{"manifests":[0\#(String(repeating: ",0", count: 1 << 19))]}"#, Document.defaultLimit),
            (#"{"manifests":\#(String(repeating: "[", count: 20_000))"#, Document.defaultLimit),
        ] {
            let error = #expect(throws: CacheError.self) {
                try OCILayoutIndex(decoding: Array(json.utf8), limit: limit)
            }
            #expect(error?.code == .limitExceeded)
        }
    }
}
