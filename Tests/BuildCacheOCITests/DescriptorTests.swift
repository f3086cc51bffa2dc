import BuildCacheCore
import BuildCacheOCI
import Testing

@Suite("A descriptor")
struct DescriptorTests {
    private static let digest = Digest(of: "blob".utf8)

    /// The only descriptor of an index with `json` as its manifests.
    private static func decode(_ json: String) throws -> Descriptor {
        guard case .index(let index) = try Document(decoding: Array(#"{"manifests":[\#(json)]}"#.utf8)) else {
            throw CacheError(.corrupted, "not taken for an index")
        }
        return try #require(index.manifests.first)
    }

    @Test("is written in Go's order, keys of maps sorted by their bytes")
    func order() throws {
        let descriptor = Descriptor(
            mediaType: "a/b", digest: Self.digest, size: 7, urls: ["https://example.com/?a=1&b=2"],
            annotations: ["b": "2", "a": "<1>", "B": "", "ä": "4", "z/y": "5"],
            platform: Platform(
                os: "windows", architecture: "arm64", variant: "v8", osVersion: "10.0", osFeatures: ["win32k", "x"]),
            artifactType: "c/d")
        let json =
            #"{"mediaType":"a/b","digest":"\#(Self.digest)","size":7,"urls":["https://example.com/?a=1\u0026b=2"],"#
            + #""annotations":{"B":"","a":"\u003c1\u003e","b":"2","z/y":"5","ä":"4"},"#
            + #""platform":{"architecture":"arm64","os":"windows","os.version":"10.0","os.features":["win32k","x"],"variant":"v8"},"#
            + #""artifactType":"c/d"}"#
        let index = ImageIndex(manifests: [descriptor]).encode()
        #expect(
            text(index.bytes)
                == #"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[\#(json)]}"#)
        #expect(try Self.decode(json) == descriptor)
    }

    @Test("is read as Go reads it: keys in any case, unknown ones passed over, null as nothing")
    func tolerance() throws {
        let json = """
            { "Digest" : "\(Self.digest)", "x" : [ { } ], "SIZE" : null, "urls" : null, "annotations" : { "a" : null },
              "platform" : { "OS" : "linux", "Architecture" : "amd64", "variant" : "", "os.version" : null, "more" : 1 },
              "artifactType" : "", "data" : "e30=", "mediaType" : null }
            """
        #expect(
            try Self.decode(json)
                == Descriptor(
                    mediaType: "", digest: Self.digest, size: 0, annotations: ["a": ""],
                    platform: Platform(os: "linux", architecture: "amd64")))
    }

    @Test(
        "is refused when it is none",
        arguments: [
            "{}", "null", "1", "[]", #"{"digest":null}"#, #"{"digest":""}"#, #"{"digest":"sha256:abc"}"#,
            #"{"digest":7}"#,
            #"{"digest":"\#(digest)","size":-1}"#, #"{"digest":"\#(digest)","size":"1"}"#,
            #"{"digest":"\#(digest)","size":1.5}"#, #"{"digest":"\#(digest)","size":9223372036854775808}"#,
            #"{"digest":"\#(digest)","urls":"x"}"#, #"{"digest":"\#(digest)","urls":[1]}"#,
            #"{"digest":"\#(digest)","annotations":[]}"#, #"{"digest":"\#(digest)","annotations":{"a":1}}"#,
            #"{"digest":"\#(digest)","platform":"linux"}"#, #"{"digest":"\#(digest)","mediaType":{}}"#,
            #"{"digest":"sha256:../../../../../../../../../../../../../../../../../../../../etc/passwd"}"#,
        ])
    func refusesOthers(_ json: String) {
        let error = #expect(throws: CacheError.self) { try Self.decode(json) }
        #expect(error?.code == .corrupted)
    }

    @Test(
        "has a size from 0 to 2^50, else an error names the size",
        arguments: ["-1", "1125899906842625", "9223372036854775807"])
    func boundsSize(_ size: String) throws {
        let error = #expect(throws: CacheError.self) {
            try Self.decode(#"{"digest":"\#(Self.digest)","size":\#(size)}"#)
        }
        #expect(error?.code == .corrupted)
        #expect(error?.message.contains("invalid size of a descriptor \(size)") == true)
        let largest = try Self.decode(#"{"digest":"\#(Self.digest)","size":1125899906842624}"#)
        #expect(largest.size == Descriptor.maximumSize)
    }

    @Test("may be written with escapes everywhere")
    func escapes() throws {
        let json = #"""
            {"\u0064igest":"sha256\u003a\#(Self.digest.hex)","mediaType":"a\u002fb","siz\u0065":1,"annotations":{"\u0061":"\u0062"}}
            """#
        let plain = Descriptor(mediaType: "a/b", digest: Self.digest, size: 1, annotations: ["a": "b"])
        #expect(try Self.decode(json) == plain)
    }

    @Test("with a digest of another algorithm is not supported")
    func refusesOtherAlgorithms() {
        let error = #expect(throws: CacheError.self) {
            try Self.decode(#"{"digest":"sha512:\#(Self.digest.hex)\#(Self.digest.hex)"}"#)
        }
        #expect(error?.code == .unsupported)
    }
}
