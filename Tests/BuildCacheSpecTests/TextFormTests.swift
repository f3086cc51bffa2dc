import BuildCacheCore
import BuildCacheSpec
import Testing

/// `Documentation/Spec/spec-syntax.md` §1, row by row.
@Suite("The text of a cache option")
struct TextFormTests {
    @Test("is nothing when it is empty", arguments: ["", "\n", "\r\n"], CacheSpec.Direction.allCases)
    func empty(_ text: String, _ direction: CacheSpec.Direction) throws {
        #expect(try parse(text, direction).isEmpty)
    }

    @Test(
        "without '=' is a list of references",
        arguments: [
            ("user/app:cache", ["docker.io/user/app:cache"]),
            ("a,b", ["docker.io/library/a:latest", "docker.io/library/b:latest"]),
            ("a,\"b\"", ["docker.io/library/a:latest", "docker.io/library/b:latest"]),
            ("ghcr.io/o/a:1,a,b:2", ["ghcr.io/o/a:1", "docker.io/library/a:latest", "docker.io/library/b:2"]),
        ])
    func references(_ text: String, _ expected: [String]) throws {
        let specs = try parse(text, .import)
        #expect(specs.map { $0.registry?.ref.description } == expected)
        #expect(specs.allSatisfy { $0.registry?.insecure == false })
    }

    @Test("with '=' is one entry, whose type may stand anywhere")
    func entry() throws {
        let spec = try one("dest=out,type=local,tag=v1")
        #expect(spec == CacheSpec(exportingTo: .local(LocalOptions(dest: "out", tag: "v1"))))
    }

    @Test(
        "with '=' needs it in every field",
        arguments: ["a,b=c", "type=local,dest", "type=inline,", "type=inline,,mode=max"])
    func invalidField(_ text: String) {
        refusal(of: text, mentions: "field", "key=value")
        refusal(of: text, leniency: .lenient, mentions: "field")
    }

    @Test("names the field that has no '='")
    func namesField() {
        refusal(of: "a,b=c", mentions: "field 1 \"a\"")
    }

    @Test(
        "needs a type",
        arguments: [
            ("ref=x", "type required for \"ref=x\""), ("type=,ref=x", "type required for \"type=,ref=x\""),
            (" type=registry,ref=x", "type required for"),
        ])
    func typeRequired(_ text: String, _ message: String) {
        for direction in CacheSpec.Direction.allCases {
            refusal(of: text, direction, mentions: message)
            refusal(of: text, direction, leniency: .lenient, mentions: message)
        }
    }

    @Test(
        "has a type in lower case only",
        arguments: [("Registry", "registry"), ("S3", "s3"), ("azureblob", "azblob"), ("locla", "local")])
    func typeIsCaseSensitive(_ type: String, _ meant: String) throws {
        refusal(of: "type=\(type),ref=x", mentions: "unknown type \"\(type)\"", "did you mean \"\(meant)\"?")
        refusal(of: "type=\(type),ref=x", .import, mentions: "unknown type")
    }

    @Test("has keys in any case, and values as they are")
    func keysAreLowered() throws {
        let spec = try one("TYPE=local,Dest=Out,TAG=V1")
        #expect(spec.local == LocalOptions(dest: "Out", tag: "V1"))
    }

    @Test("trims nothing")
    func trimsNothing() throws {
        #expect(try one("type=local,dest= out ").local?.dest == " out ")
        refusal(of: "type=local, dest=out", mentions: "unknown key \" dest\"", "did you mean \"dest\"?")
        refusal(of: " app", mentions: "spaces")
    }

    @Test("splits a field at its first '=', so values may hold more and may be empty")
    func firstEquals() throws {
        #expect(try one("type=local,dest=a=b=c").local?.dest == "a=b=c")
        #expect(try one("type=local,dest=out,tag=").local?.tag == "")
    }

    @Test(
        "quotes fields as CSV does",
        arguments: [
            ("type=local,\"dest=a,b\"", "a,b"), ("type=local,\"dest=say \"\"hi\"\"\"", "say \"hi\""),
            ("\"type=local\",\"dest=\"\"\"", "\""),
            ("\"type=local\",dest=out", "out"),
        ])
    func quoting(_ text: String, _ dest: String) throws {
        let spec = try one(text)
        #expect(spec.local?.dest == dest)
        #expect(try one(spec.description) == spec)
    }

    @Test(
        "says in which column a quote is wrong",
        arguments: [
            ("type=local,dest=\"out\"", "column 17"), ("\"type=local\"x,dest=out", "column 12"),
            ("type=local,\"dest=out", "column 12"),
            ("a\"b", "column 2"),
        ])
    func wrongQuotes(_ text: String, _ column: String) {
        refusal(of: text, mentions: column)
        refusal(of: text, leniency: .lenient, mentions: column)
    }

    @Test("may end in one line break", arguments: ["app", "type=registry,ref=app", "\"type=registry\",\"ref=app\""])
    func trailingLineBreak(_ text: String) throws {
        let spec = try one(text)
        #expect(try one(text + "\n") == spec)
        #expect(try one(text + "\r\n") == spec)
        refusal(of: text + "\n\n", mentions: "control character")
    }

    @Test("has no other control characters", arguments: ["\u{1}", "\t", "\u{7F}", "\u{1B}", "\n", "\u{85}"])
    func controlCharacters(_ character: String) throws {
        refusal(of: "type=local,dest=a\(character)b", mentions: "control character")
        #expect(try lenient("type=local,dest=a\(character)b").specs.first?.local?.dest == "a\(character)b")
    }

    @Test("never has a NUL, lenient or not")
    func noNUL() {
        refusal(of: "type=local,dest=a\u{0}b", mentions: "NUL")
        refusal(of: "type=local,dest=a\u{0}b", leniency: .lenient, mentions: "NUL")
        refusal(of: "\u{0}", mentions: "NUL")
    }

    @Test("is read up to 64 KiB")
    func limit() throws {
        let prefix = "type=local,dest="
        let longest = prefix + String(repeating: "a", count: 65536 - prefix.count)
        #expect(try parse(longest).count == 1)
        let error = #expect(throws: CacheError.self) { try parse(longest + "a") }
        #expect(error?.code == .limitExceeded)
    }

    @Test("has each key once; to BuildKit the last one counts")
    func duplicateKeys() throws {
        refusal(of: "type=local,dest=a,dest=b", mentions: "\"dest\" is given twice")
        refusal(of: "type=local,type=local,dest=a", mentions: "\"type\" is given twice")
        refusal(of: "type=local,dest=a,DEST=b", mentions: "\"dest\" is given twice")
        let (specs, ignored) = try lenient("type=local,dest=a,DEST=b")
        #expect(specs.first?.local?.dest == "b")
        #expect(ignored.count == 1)
    }

    @Test(
        "names the valid key that is nearest to an unknown one",
        arguments: [
            ("type=registry,ref=a,compresion=zstd", "compression"),
            ("type=registry,ref=a,image_manifest=true", "image-manifest"),
            ("type=registry,ref=a,ignore-errors=true", "ignore-error"),
            ("type=s3,region=r,bucket=b,endpointurl=http://h", "endpoint_url"),
            ("type=s3,region=r,bucket=b,manifest_prefix=m", "manifests_prefix"), ("type=local,dst=out", "dest"),
            ("type=gha,scoep=x", "scope"), ("type=azblob,acount_url=x", "account_url"), ("type=registry,rfe=a", "ref"),
        ])
    func unknownKeys(_ text: String, _ meant: String) throws {
        refusal(of: text, mentions: "unknown key", "did you mean \"\(meant)\"?", "valid keys are", meant)
    }

    @Test("offers no key for one that resembles none")
    func noSuggestion() {
        let error = refusal(
            of: "type=local,dest=out,zzzzzzzz=1", mentions: "unknown key \"zzzzzzzz\"",
            "valid keys are dest, tag, reset")
        #expect(error?.message.contains("did you mean") == false)
    }

    @Test("may hold unknown keys when parsed as BuildKit does")
    func unknownKeysAreIgnored() throws {
        let (specs, ignored) = try lenient("type=local,dest=out,compresion=zstd")
        #expect(specs.map(\.backend) == [.local(LocalOptions(dest: "out"))])
        #expect(ignored.count == 1)
    }

    @Test("must be one spec where one is asked for")
    func exactlyOne() throws {
        #expect(try CacheSpec("app", for: .import, environment: .empty).registry?.ref.path == "library/app")
        #expect(throws: CacheError.self) { try CacheSpec("", for: .import, environment: .empty) }
        #expect(throws: CacheError.self) { try CacheSpec("a,b", for: .import, environment: .empty) }
    }

    @Test("says where it went wrong")
    func context() {
        let error = refusal(of: "type=s3,region=r,bucket=b,mode=big")
        #expect(error?.context == CacheError.Context(backend: "s3", operation: "parse", subject: "cache-to"))
    }
}

@Suite("The text of a cache option of buildctl")
struct BuildctlTests {
    @Test("is one reference, whatever it holds, when it names no type")
    func wholeReference() throws {
        let specs = try parse("user/app:cache", dialect: .buildctl)
        #expect(specs == [CacheSpec(exportingTo: .registry(RegistryOptions(ref: try Reference("user/app:cache"))))])
        refusal(of: "a,b", dialect: .buildctl, mentions: "no image reference")
        refusal(of: "ref=x", dialect: .buildctl, mentions: "no image reference")
    }

    @Test("exports the minimum unless told otherwise")
    func modeMin() throws {
        #expect(try parse("app", dialect: .buildctl).first?.export?.mode == .min)
        #expect(try parse("type=registry,ref=app", dialect: .buildctl).first?.export?.mode == .min)
        #expect(try parse("type=registry,ref=app,mode=max", dialect: .buildctl).first?.export?.mode == .max)
    }

    @Test("is an error for gha outside of a workflow", arguments: CacheSpec.Direction.allCases)
    func ghaOutside(_ direction: CacheSpec.Direction) throws {
        refusal(of: "type=gha", direction, leniency: .lenient, dialect: .buildctl, mentions: "\"token\" is missing")
        refusal(
            of: "type=gha,token=t", direction, leniency: .lenient, dialect: .buildctl, mentions: "\"url\" is missing")
    }
}
