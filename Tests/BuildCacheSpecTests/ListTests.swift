import BuildCacheCore
import BuildCacheSpec
import Testing

/// `Documentation/Spec/spec-syntax.md` §5.
@Suite("The exports of one build")
struct ExportListTests {
    @Test(
        "may not write to one place twice",
        arguments: [
            ("app", "docker.io/library/app:latest"), ("type=registry,ref=app", "type=registry,ref=app,mode=max"),
            ("Ghcr.io/o/a", "ghcr.io/o/a"), ("type=inline", "type=inline"),
            ("type=inline", "type=inline,compression=zstd,force-compression=true"),
            ("type=local,dest=out", "type=local,dest=./out/"),
            ("type=local,dest=/a/b", "type=local,dest=/a//c/../b,mode=max"),
            ("type=gha,token=a,url=https://h", "type=gha,token=b,url=https://h/,timeout=1s"),
            ("type=s3,bucket=b,region=r,name=x;y", "type=s3,bucket=b,region=r,name=z;y"),
            ("type=s3,bucket=b,region=r,prefix=p/", "type=s3,bucket=b,region=r,manifests_prefix=p/manifests/"),
            (
                "type=azblob,account_url=https://a.net,prefix=p",
                "type=azblob,account_url=https://A.net/?sig=x,prefix=p//"
            ),
        ])
    func duplicates(_ first: String, _ second: String) throws {
        let exports = [try one(first), try one("type=local,dest=elsewhere"), try one(second)]
        let error = #expect(throws: CacheError.self) { try CacheSpec.validate(exports: exports) }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.hasPrefix("exports 1 and 3 write to the same place") == true)
        #expect(error?.message.contains("sig=x") == false)
    }

    @Test(
        "may write to places that only look alike",
        arguments: [
            ("app:a", "app:b"), ("type=local,dest=out", "type=local,dest=out,tag=other"),
            ("type=local,dest=a", "type=local,dest=/a"),
            ("type=local,dest=../a", "type=local,dest=a"),
            ("type=gha,token=a,url=https://h", "type=gha,token=a,url=https://h,scope=x"),
            ("type=s3,bucket=b,region=r", "type=s3,bucket=c,region=r"),
            ("type=s3,bucket=b,region=r", "type=s3,bucket=b,region=r,endpoint_url=http://h"),
            ("type=s3,bucket=b,region=r,prefix=p", "type=s3,bucket=b,region=r,prefix=p/"),
            ("type=azblob,account_url=https://a.net", "type=azblob,account_url=https://b.net"),
            ("type=azblob,account_url=https://a.net", "type=azblob,account_url=https://a.net,container=c"),
            ("app", "type=inline"),
        ])
    func different(_ first: String, _ second: String) throws {
        try CacheSpec.validate(exports: [one(first), one(second)])
    }

    @Test("are exports, and valid each by itself")
    func eachIsValid() throws {
        #expect(throws: CacheError.self) { try CacheSpec.validate(exports: [one("app", .import)]) }
        var s3 = S3Options(bucket: "b", region: "r")
        s3.sessionToken = Secret("hunter2")
        let error = #expect(throws: CacheError.self) {
            try CacheSpec.validate(exports: [CacheSpec(exportingTo: .s3(s3))])
        }
        #expect(error?.message.contains("\"session_token\" has no effect") == true)
    }

    @Test("go to a type that exists, to BuildKit too")
    func unknownType() {
        refusal(of: "type=ftp", mentions: "unknown type \"ftp\"")
        refusal(of: "type=ftp", leniency: .lenient, mentions: "unknown type \"ftp\"")
    }

    @Test("are configured before the build, whatever 'ignore-error' says")
    func configurationErrors() {
        refusal(of: "type=s3,bucket=b,ignore-error=true", leniency: .lenient, mentions: "\"region\" is missing")
    }
}

@Suite("The imports of one build")
struct ImportListTests {
    @Test("read each place once")
    func duplicates() throws {
        let specs = try [
            "app", "docker.io/library/app", "type=registry,ref=app,registry.insecure=true", "type=local,src=a",
            "type=local,src=a", "type=local,src=a,tag=b", "other",
        ].map { try one($0, .import) }
        #expect(
            CacheSpec.removingDuplicates(imports: specs).map(\.description) == [
                "app", "type=local,src=a", "type=local,src=a,tag=b", "other",
            ])
    }

    @Test(
        "are dropped by BuildKit when they cannot be configured",
        arguments: ["type=ftp", "type=inline", "type=s3,region=r", "type=azblob"])
    func dropped(_ text: String) throws {
        let (specs, ignored) = try lenient(text, .import)
        #expect(specs.isEmpty)
        #expect(ignored.count == 1)
        refusal(of: text, .import)
    }
}

@Suite("A spec made in Swift")
struct ValidationTests {
    @Test("is as valid as a parsed one")
    func valid() throws {
        try CacheSpec(exportingTo: .inline).validate()
        try CacheSpec(importingFrom: .local(LocalOptions(src: "in"))).validate()
        try CacheSpec(
            exportingTo: .gha(GitHubActionsOptions(token: Secret("t"), urlV2: ServiceURL("https://a.example"))),
            ExportOptions(mode: .max, ignoreError: true, compression: CompressionOptions(type: .zstd, level: 3))
        ).validate()
    }

    @Test("is refused what no text could say or would be allowed to")
    func invalid() throws {
        var s3 = S3Options(bucket: "b", region: "r", names: [])
        #expect(throws: CacheError.self) { try CacheSpec(importingFrom: .s3(s3)).validate() }
        s3.names = ["a;b"]
        #expect(throws: CacheError.self) { try CacheSpec(importingFrom: .s3(s3)).validate() }
        s3.names = ["a"]
        s3.uploadParallelism = 0
        #expect(throws: CacheError.self) { try CacheSpec(exportingTo: .s3(s3)).validate() }
        s3.uploadParallelism = 4
        s3.touchRefresh = .nanoseconds(1) / 2
        #expect(throws: CacheError.self) { try CacheSpec(exportingTo: .s3(s3)).validate() }
        #expect(throws: CacheError.self) { try CacheSpec(importingFrom: .inline).validate() }
        #expect(throws: CacheError.self) { try CacheSpec(exportingTo: .inline, ExportOptions(mode: .max)).validate() }
        #expect(throws: CacheError.self) { try CacheSpec(exportingTo: .local(LocalOptions(src: "in"))).validate() }
        #expect(throws: CacheError.self) { try CacheSpec(exportingTo: .local(LocalOptions(dest: "a\u{0}"))).validate() }
    }
}
