import BuildCacheCore
import BuildCacheSpec
import Testing

/// `Documentation/Spec/spec-syntax.md` §3, row by row.
@Suite("An export")
struct ExportOptionTests {
    /// The shortest export to each backend.
    private static let targets = [
        "type=registry,ref=app", "type=local,dest=out", "type=gha,token=t,url=https://a.example",
        "type=s3,bucket=b,region=r",
        "type=azblob,account_url=https://a.example", "type=inline",
    ]
    private static let withLayout = Array(targets[..<2])
    private static let withMode = Array(targets[..<5])

    @Test("takes BuildKit's defaults", arguments: targets)
    func defaults(_ target: String) throws {
        let spec = try one(target)
        #expect(spec.direction == .export)
        #expect(spec.export == ExportOptions())
        #expect(spec.export?.mode == .min)
        #expect(spec.export?.ignoreError == false)
        #expect(spec.export?.compression == CompressionOptions(type: .gzip, level: nil, force: false))
        #expect(spec.export?.layout == .imageManifest)
    }

    @Test("takes the layers that 'mode' says", arguments: withMode)
    func mode(_ target: String) throws {
        #expect(try one(target + ",mode=min").export?.mode == .min)
        #expect(try one(target + ",mode=max").export?.mode == .max)
        refusal(of: target + ",mode=maxx", mentions: "\"mode\" is \"maxx\"", "did you mean \"max\"?", "min, max")
        refusal(of: target + ",mode=MAX", mentions: "did you mean \"max\"?")
        refusal(of: target + ",mode=", mentions: "\"mode\"")
        #expect(try lenient(target + ",mode=maxx").specs.first?.export?.mode == .min)
        #expect(try lenient(target + ",mode=maxx").ignored.count == 1)
    }

    @Test(
        "knows Go's booleans and no others",
        arguments: [
            ("1", true), ("t", true), ("T", true), ("TRUE", true), ("true", true), ("True", true), ("0", false),
            ("f", false),
            ("F", false), ("FALSE", false), ("false", false), ("False", false), ("yes", nil), ("on", nil),
            ("tRUE", nil), ("", nil),
            (" true", nil), ("2", nil),
        ] as [(String, Bool?)])
    func booleans(_ text: String, _ value: Bool?) throws {
        let option = "type=local,dest=out,ignore-error=\(text)"
        if let value {
            #expect(try one(option).export?.ignoreError == value)
        } else {
            refusal(of: option, mentions: "\"ignore-error\" is \"\(text)\"", "not a boolean", "true or false")
        }
        // To BuildKit, what is no boolean is false here.
        #expect(try lenient(option).specs.first?.export?.ignoreError == value ?? false)
    }

    @Test("compresses in four ways, to every backend", arguments: targets, Compression.allCases)
    func compression(_ target: String, _ compression: Compression) throws {
        let spec = try one(target + ",compression=\(compression.rawValue),force-compression=true")
        #expect(spec.export?.compression == CompressionOptions(type: compression, force: true))
    }

    @Test("into an image compresses nothing unless it is forced to: the image has its layers")
    func inlineCompression() throws {
        for option in ["compression=zstd", "compression-level=3"] {
            refusal(of: "type=inline,\(option)", mentions: "no effect", "force-compression=true")
        }
        #expect(try one("type=inline,force-compression=true").export?.compression.force == true)
    }

    @Test("is compressed by BuildKit as asked only in a registry or a directory", arguments: targets)
    func compressionInBuildKit(_ target: String) throws {
        let (specs, ignored) = try lenient(target + ",compression=zstd,force-compression=1")
        let isHonoured = Self.withLayout.contains(target)
        #expect(
            specs.first?.export?.compression
                == (isHonoured ? CompressionOptions(type: .zstd, force: true) : CompressionOptions()))
        #expect(ignored.isEmpty == isHonoured)
    }

    @Test("is refused a compression that does not exist, by BuildKit too", arguments: ["zst", "lz4", "GZIP", ""])
    func unknownCompression(_ name: String) {
        refusal(
            of: "type=local,dest=out,compression=\(name)", mentions: "\"compression\" is",
            "uncompressed, gzip, estargz, zstd")
        refusal(of: "type=local,dest=out,compression=\(name)", leniency: .lenient, mentions: "\"compression\" is")
    }

    @Test(
        "takes a level that its compressor has",
        arguments: [("gzip", -2), ("gzip", 9), ("estargz", 0), ("zstd", 22), ("zstd", -7)])
    func level(_ compression: String, _ level: Int) throws {
        let spec = try one("type=local,dest=out,compression=\(compression),compression-level=\(level)")
        #expect(spec.export?.compression.level == level)
    }

    @Test(
        "is refused a level that its compressor has not",
        arguments: [("gzip", 10), ("gzip", -3), ("estargz", 10), ("uncompressed", 1)])
    func wrongLevel(_ compression: String, _ level: Int) throws {
        let text = "type=local,dest=out,compression=\(compression),compression-level=\(level)"
        refusal(of: text, mentions: "\"compression-level\"")
        #expect(try lenient(text).specs.first?.export?.compression.level == level)
    }

    @Test(
        "is refused a level that is no integer, by BuildKit too",
        arguments: ["", "x", "1.5", "0x1", "99999999999999999999"])
    func noLevel(_ level: String) {
        refusal(of: "type=local,dest=out,compression-level=\(level)", mentions: "whole number")
        refusal(of: "type=local,dest=out,compression-level=\(level)", leniency: .lenient, mentions: "whole number")
    }

    @Test("forces compression by the mere key", arguments: [("", true), ("true", true), ("0", false)])
    func force(_ text: String, _ expected: Bool) throws {
        #expect(try one("type=local,dest=out,force-compression=\(text)").export?.compression.force == expected)
        #expect(
            try lenient("type=local,dest=out,force-compression=\(text)").specs.first?.export?.compression.force
                == expected)
    }

    @Test(
        "is refused by BuildKit too when these are no booleans",
        arguments: ["force-compression", "oci-mediatypes", "image-manifest", "reset"])
    func strictBooleans(_ key: String) {
        refusal(of: "type=local,dest=out,\(key)=yes", mentions: "\"\(key)\" is \"yes\"")
        refusal(of: "type=local,dest=out,\(key)=yes", leniency: .lenient, mentions: "\"\(key)\" is \"yes\"")
    }

    @Test(
        "lays out its manifest",
        arguments: [
            ("", .imageManifest), (",oci-mediatypes=true", .imageManifest), (",image-manifest=true", .imageManifest),
            (",image-manifest=false", .ociIndex), (",oci-mediatypes=true,image-manifest=false", .ociIndex),
            (",oci-mediatypes=false", .dockerList), (",oci-mediatypes=false,image-manifest=false", .dockerList),
        ] as [(String, ManifestLayout)])
    func layout(_ options: String, _ layout: ManifestLayout) throws {
        for target in Self.withLayout {
            #expect(try one(target + options).export?.layout == layout)
            #expect(try lenient(target + options).specs.first?.export?.layout == layout)
        }
    }

    @Test("has no image manifest with Docker's media types", arguments: withLayout)
    func conflictingLayout(_ target: String) {
        let text = target + ",oci-mediatypes=false,image-manifest=true"
        refusal(of: text, mentions: "image-manifest=true", "oci-mediatypes=false")
        refusal(of: text, leniency: .lenient, mentions: "image-manifest=true")
    }

    /// A lenient spec replaces images, as BuildKit does.
    private static let lenientDefaults = ExportOptions(replacesOtherContent: true)

    @Test("replaces what is not a cache only if it was parsed leniently")
    func replacesOtherContent() throws {
        let text = "type=local,dest=out"
        #expect(try one(text).export?.replacesOtherContent == false)
        #expect(try lenient(text).specs.first?.export?.replacesOtherContent == true)
    }

    @Test("is refused options that do nothing there")
    func withoutEffect() throws {
        for target in Self.targets where !Self.withLayout.contains(target) {
            for option in ["oci-mediatypes=false", "image-manifest=false"] {
                refusal(of: target + "," + option, mentions: "has no effect on")
                #expect(try lenient(target + "," + option).specs.first?.export == Self.lenientDefaults)
            }
        }
        for option in ["mode=max", "ignore-error=true"] {
            refusal(of: "type=inline," + option, mentions: "has no effect on type=inline")
            #expect(
                try lenient("type=inline," + option).specs
                    == [CacheSpec(exportingTo: .inline, Self.lenientDefaults)])
        }
    }

    @Test(
        "has options that an import has not",
        arguments: [
            "type=registry,ref=app", "type=local,src=in", "type=s3,bucket=b,region=r",
            "type=azblob,account_url=https://a.example",
        ],
        ["mode=max", "ignore-error=true", "compression=zstd", "compression-level=3", "force-compression=true"])
    func notForImports(_ source: String, _ option: String) throws {
        #expect(try one(source, .import).export == nil)
        refusal(of: source + "," + option, .import, mentions: "has no effect on a cache-from")
        #expect(try lenient(source + "," + option, .import).specs == [try one(source, .import)])
    }
}
