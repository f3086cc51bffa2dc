import BuildCacheCore
import BuildCacheSpec
import Testing

/// `Documentation/Spec/spec-syntax.md` §4, one test for each row.
@Suite("The inline backend")
struct InlineTests {
    @Test("has no options of its own")
    func export() throws {
        #expect(try one("type=inline") == CacheSpec(exportingTo: .inline))
        refusal(of: "type=inline,ref=app", mentions: "unknown key \"ref\"")
    }

    @Test("is imported from the image's own name instead; BuildKit builds on without it")
    func `import`() throws {
        refusal(of: "type=inline", .import, mentions: "type=registry")
        refusal(of: "type=inline,compression=zstd", .import, mentions: "type=registry")
        let (specs, ignored) = try lenient("type=inline", .import)
        #expect(specs.isEmpty)
        #expect(ignored.count == 1)
    }
}

@Suite("The registry backend")
struct RegistryTests {
    @Test(
        "needs a reference, also in BuildKit", arguments: ["type=registry", "type=registry,ref="],
        CacheSpec.Direction.allCases)
    func needsReference(_ text: String, _ direction: CacheSpec.Direction) {
        refusal(of: text, direction, mentions: "ref")
        #expect(throws: CacheError.self) { try lenient(text, direction) }
    }

    @Test("normalises its reference", arguments: CacheSpec.Direction.allCases)
    func normalises(_ direction: CacheSpec.Direction) throws {
        #expect(try one("type=registry,ref=app", direction).registry?.ref.description == "docker.io/library/app:latest")
    }

    @Test("refuses what is no reference; BuildKit builds on without an import from it")
    func wrongReference() throws {
        refusal(of: "type=registry,ref=User/App", mentions: "\"User/App\"")
        refusal(of: "type=registry,ref=user/App", mentions: "lower case", "\"user/app\"")
        refusal(of: "type=registry,ref=user/App", leniency: .lenient, mentions: "lower case")
        #expect(try lenient("type=registry,ref=user/App", .import).specs.isEmpty)
    }

    @Test("can do without certificates", arguments: CacheSpec.Direction.allCases)
    func insecure(_ direction: CacheSpec.Direction) throws {
        #expect(try one("type=registry,ref=app", direction).registry?.insecure == false)
        #expect(try one("type=registry,ref=app,registry.insecure=true", direction).registry?.insecure == true)
        refusal(
            of: "type=registry,ref=app,registry.insecure=yes", direction, mentions: "\"registry.insecure\" is \"yes\"")
    }

    @Test("is not configured by BuildKit with a bad boolean either")
    func insecureInBuildKit() throws {
        refusal(of: "type=registry,ref=app,registry.insecure=yes", leniency: .lenient)
        #expect(try lenient("type=registry,ref=app,registry.insecure=yes", .import).specs.isEmpty)
    }
}

@Suite("The local backend")
struct LocalTests {
    private static let digest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

    @Test("needs a directory to write to, also in BuildKit", arguments: ["type=local", "type=local,dest="])
    func needsDest(_ text: String) {
        refusal(of: text, mentions: "\"dest\" is")
        refusal(of: text, leniency: .lenient, mentions: "\"dest\" is")
    }

    @Test("needs a directory to read from, also in BuildKit", arguments: ["type=local", "type=local,src="])
    func needsSrc(_ text: String) {
        refusal(of: text, .import, mentions: "\"src\" is")
        refusal(of: text, .import, leniency: .lenient, mentions: "\"src\" is")
    }

    @Test("tells 'dest' from 'src'")
    func wrongDirection() {
        refusal(of: "type=local,src=d", mentions: "\"src\" has no effect on a cache-to", "write \"dest\"")
        refusal(of: "type=local,dest=d", .import, mentions: "\"dest\" has no effect on a cache-from", "write \"src\"")
        refusal(of: "type=local,dest=d,digest=\(Self.digest)", mentions: "\"digest\" has no effect on a cache-to")
        refusal(of: "type=local,src=d,reset=true", .import, mentions: "\"reset\" has no effect on a cache-from")
    }

    @Test("exports under the tag 'latest' or any other, even an empty one")
    func exportTag() throws {
        #expect(try one("type=local,dest=d").local == LocalOptions(dest: "d", tag: "latest"))
        #expect(try one("type=local,dest=d,tag=a b/c").local?.tag == "a b/c")
        #expect(try one("type=local,dest=d,tag=").local?.tag == "")
    }

    @Test("removes what is not needed only when asked")
    func reset() throws {
        #expect(try one("type=local,dest=d").local?.reset == false)
        #expect(try one("type=local,dest=d,reset=true").local?.reset == true)
    }

    @Test("imports by tag, or by digest")
    func imports() throws {
        #expect(try one("type=local,src=d", .import).local == LocalOptions(src: "d", tag: "latest"))
        #expect(try one("type=local,src=d,tag=v1", .import).local?.tag == "v1")
        #expect(try one("type=local,src=d,digest=\(Self.digest)", .import).local?.digest?.description == Self.digest)
    }

    @Test("imports by digest when it has both, which is an error unless parsed as BuildKit does")
    func digestWins() throws {
        let text = "type=local,src=d,tag=v1,digest=\(Self.digest)"
        refusal(of: text, .import, mentions: "\"tag\" has no effect beside \"digest\"")
        #expect(try lenient(text, .import).specs.first?.local?.digest?.description == Self.digest)
    }

    @Test("cannot import by an empty tag, also in BuildKit")
    func emptyTag() {
        refusal(of: "type=local,src=d,tag=", .import, mentions: "\"tag\" is empty")
        refusal(of: "type=local,src=d,tag=", .import, leniency: .lenient, mentions: "\"tag\" is empty")
    }

    @Test("refuses what is no digest", arguments: ["", "abc", "sha256:abc", "sha512:abc"])
    func wrongDigest(_ text: String) {
        refusal(of: "type=local,src=d,digest=\(text)", .import, mentions: "\"digest\" is \"\(text)\"")
    }
}

@Suite("The gha backend")
struct GitHubActionsTests {
    private static let base = "type=gha,token=t,url=https://a.example/x/"

    @Test("has BuildKit's defaults", arguments: CacheSpec.Direction.allCases)
    func defaults(_ direction: CacheSpec.Direction) throws {
        let gha = try #require(try one(Self.base, direction).gha)
        #expect(gha == GitHubActionsOptions(token: Secret("t"), url: try ServiceURL("https://a.example/x/")))
        #expect(gha.scope == "buildkit")
        #expect(gha.timeout == .seconds(600))
        #expect(gha.version == nil)
        #expect(gha.repository == nil)
    }

    @Test("takes the second URL unless told to be version 1")
    func urls() throws {
        let both = Self.base + ",url_v2=https://b.example"
        #expect(try one(both).gha?.service?.url.host == "b.example")
        #expect(try one(both).gha?.service?.version == 2)
        refusal(of: both + ",version=1", mentions: "\"url_v2\" has no effect with version=1")
        let gha = try lenient(both + ",version=1").specs.first?.gha
        #expect(gha?.service?.url.host == "a.example")
        #expect(gha?.service?.version == 1)
    }

    @Test("needs a URL that its version can use")
    func needsURL() {
        refusal(of: "type=gha,token=t,version=1,url_v2=https://b.example", mentions: "url_v2")
        refusal(
            of: "type=gha,token=t,version=1,url_v2=https://b.example", leniency: .lenient,
            mentions: "\"url\" is missing")
    }

    @Test("tells the version by GitHub's host name when nothing else does")
    func versionByHost() throws {
        let url = "https://results-receiver.actions.githubusercontent.com/"
        #expect(try one("type=gha,token=t,url=\(url)").gha?.service?.version == 2)
        #expect(try one("type=gha,token=t,url=\(url),version=1").gha?.service?.version == 1)
        #expect(try one(Self.base).gha?.service?.version == 1)
        #expect(try one(Self.base + ",version=2").gha?.service?.version == 2)
    }

    @Test("has versions 1 and 2")
    func versions() throws {
        refusal(of: Self.base + ",version=3", mentions: "\"version\" is 3", "1 or 2")
        refusal(of: Self.base + ",version=two", mentions: "whole number")
        refusal(of: Self.base + ",version=two", leniency: .lenient, mentions: "whole number")
        #expect(try lenient(Self.base + ",version=3").specs.count == 1)
    }

    @Test("takes any text for a scope but none")
    func scope() throws {
        #expect(try one(Self.base + ",scope=a b/ü").gha?.scope == "a b/ü")
        refusal(of: Self.base + ",scope=", mentions: "\"scope\" is empty")
    }

    @Test(
        "waits as long as Go's duration says",
        arguments: [
            ("10m", 600_000_000_000), ("1h30m", 5_400_000_000_000), ("1.5s", 1_500_000_000), ("300ms", 300_000_000),
            ("2us", 2000),
            ("2µs", 2000), ("2\u{3BC}s", 2000), ("7ns", 7), ("0", 0), ("+1s", 1_000_000_000), (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1m1m", 120_000_000_000), ("0.0000000009s", 0), ("2562047h47m16.854775807s", Int64.max),
        ])
    func timeout(_ text: String, _ nanoseconds: Int64) throws {
        #expect(try one(Self.base + ",timeout=\(text)").gha?.timeout == .nanoseconds(nanoseconds))
    }

    @Test(
        "refuses what Go calls no duration, also as BuildKit does",
        arguments: [
            "", "10", "m", "1 s", "s1", "1d", ".s", "-", "+", "1e3s", "2562047h47m16.854775808s",
            "99999999999999999999s", "--1s",
        ])
    func wrongTimeout(_ text: String) {
        refusal(of: Self.base + ",timeout=\(text)", mentions: "\"timeout\" is", "not a duration")
        refusal(of: Self.base + ",timeout=\(text)", leniency: .lenient, mentions: "\"timeout\" is")
    }

    @Test("cannot wait for less than nothing")
    func negativeTimeout() throws {
        refusal(of: Self.base + ",timeout=-1s", mentions: "negative")
        #expect(try lenient(Self.base + ",timeout=-1s").specs.first?.gha?.timeout == .seconds(-1))
    }

    @Test("lists what exists with a repository and a token of GitHub, when exporting")
    func listing() throws {
        let gha = try one(Self.base + ",repository=o/r,ghtoken=g").gha
        #expect(gha?.repository == "o/r")
        #expect(gha?.ghtoken?.exposed == "g")
        refusal(of: Self.base + ",repository=o/r", mentions: "only together")
        refusal(of: Self.base + ",ghtoken=g", mentions: "only together")
        refusal(of: Self.base + ",repository=o/r,ghtoken=g", .import, mentions: "has no effect on a cache-from")
    }

    @Test(
        "refuses what is no URL",
        arguments: ["a.example", "ftp://a.example", "https://", "https://a b", "https://a.example:0"])
    func wrongURL(_ url: String) {
        refusal(of: "type=gha,token=t,url=\(url)", mentions: "\"url\" is no URL")
        refusal(of: "type=gha,token=t,url=https://a.example,url_v2=\(url)", mentions: "\"url_v2\" is no URL")
    }
}

@Suite("The s3 backend")
struct S3Tests {
    private static let base = "type=s3,bucket=b,region=r"

    @Test("has BuildKit's defaults", arguments: CacheSpec.Direction.allCases)
    func defaults(_ direction: CacheSpec.Direction) throws {
        let s3 = try #require(try one(Self.base, direction).s3)
        #expect(s3 == S3Options(bucket: "b", region: "r"))
        #expect(s3.prefix == "")
        #expect(s3.manifestsPrefix == "manifests/")
        #expect(s3.blobsPrefix == "blobs/")
        #expect(s3.names == ["buildkit"])
        #expect(s3.touchRefresh == .seconds(86400))
        #expect(s3.endpointURL == nil)
        #expect(s3.usePathStyle == false)
        #expect(s3.uploadParallelism == 4)
        #expect(s3.disableAcceptEncoding == false)
        #expect(s3.retryMode == nil)
        #expect(s3.retryMaxAttempts == nil)
    }

    @Test(
        "needs a bucket, and for BuildKit a region",
        arguments: [("type=s3,region=r", "bucket", "AWS_BUCKET"), ("type=s3,bucket=b", "region", "AWS_REGION")])
    func required(_ text: String, _ key: String, _ variable: String) throws {
        if key == "bucket" {
            refusal(of: text, mentions: "\"\(key)\" is missing", variable)
        } else {
            #expect(try one(text).s3?.region == "", "a profile may have one")
        }
        refusal(of: text + ",\(key)=", mentions: "\"\(key)\" is empty")
        refusal(of: text, leniency: .lenient, mentions: "\"\(key)\" is missing")
        #expect(try lenient(text, .import).specs.isEmpty)
        #expect(try lenient(text + ",\(key)=").specs.count == 1, "to BuildKit empty counts as given")
    }

    @Test("puts its prefixes together as they are")
    func prefixes() throws {
        let s3 = try one(Self.base + ",prefix=p/,manifests_prefix=,blobs_prefix=b").s3
        #expect(s3?.prefix == "p/")
        #expect(s3?.manifestsPrefix == "")
        #expect(s3?.blobsPrefix == "b")
    }

    @Test("has several names")
    func names() throws {
        #expect(try one(Self.base + ",name=a;b;c").s3?.names == ["a", "b", "c"])
        refusal(of: Self.base + ",name=a;;b", mentions: "a name is empty")
        refusal(of: Self.base + ",name=", mentions: "a name is empty")
        refusal(of: Self.base + ",name=a;b;a", mentions: "stands twice")
        #expect(try lenient(Self.base + ",name=a;;a").specs.first?.s3?.names == ["a", "", "a"])
    }

    @Test("renews blobs by age; to BuildKit what is no duration is the default")
    func touchRefresh() throws {
        #expect(try one(Self.base + ",touch_refresh=1h").s3?.touchRefresh == .seconds(3600))
        refusal(of: Self.base + ",touch_refresh=1d", mentions: "\"touch_refresh\" is \"1d\"")
        #expect(try lenient(Self.base + ",touch_refresh=1d").specs.first?.s3?.touchRefresh == .seconds(86400))
    }

    @Test("may be somebody else's service")
    func endpoint() throws {
        let s3 = try one(Self.base + ",endpoint_url=http://localhost:9000/x,use_path_style=true").s3
        #expect(s3?.endpointURL?.base == "http://localhost:9000/x")
        #expect(s3?.usePathStyle == true)
        // The endpoint may be the environment's.
        #expect(try one(Self.base + ",use_path_style=true").s3?.usePathStyle == true)
        #expect(try one(Self.base + ",use_path_style=false").s3?.usePathStyle == false)
        refusal(of: Self.base + ",endpoint_url=", mentions: "\"endpoint_url\" is empty")
    }

    @Test(
        "has two switches that BuildKit takes for off when they are no booleans",
        arguments: ["use_path_style", "disable_accept_encoding"])
    func switches(_ key: String) throws {
        let text = Self.base + ",endpoint_url=http://localhost,\(key)="
        #expect(try one(text + "true").description.contains("\(key)=true"))
        refusal(of: text + "yes", mentions: "\"\(key)\" is \"yes\"")
        #expect(try lenient(text + "yes").specs.map(\.backend) == [try one(text + "false").backend])
    }

    @Test("takes credentials whole")
    func credentials() throws {
        let s3 = try one(Self.base + ",access_key_id=id,secret_access_key=key,session_token=tok").s3
        #expect(s3?.accessKeyID == "id")
        #expect(s3?.secretAccessKey?.exposed == "key")
        #expect(s3?.sessionToken?.exposed == "tok")
        refusal(of: Self.base + ",access_key_id=id", mentions: "only together")
        refusal(of: Self.base + ",secret_access_key=key", mentions: "only together")
        refusal(of: Self.base + ",session_token=tok", mentions: "\"session_token\" has no effect without")
    }

    @Test(
        "uploads several layers at a time, and tries several times",
        arguments: ["upload_parallelism", "retry_max_attempts"])
    func positiveNumbers(_ key: String) throws {
        #expect(try one(Self.base + ",\(key)=7").description.contains("\(key)=7"))
        for value in ["0", "-1", "x", ""] {
            refusal(of: Self.base + ",\(key)=\(value)", mentions: "\"\(key)\" is")
            refusal(of: Self.base + ",\(key)=\(value)", leniency: .lenient, mentions: "\"\(key)\" is")
        }
    }

    @Test("retries in two ways")
    func retryMode() throws {
        #expect(try one(Self.base + ",retry_mode=standard").s3?.retryMode == .standard)
        #expect(try one(Self.base + ",retry_mode=adaptive").s3?.retryMode == .adaptive)
        refusal(of: Self.base + ",retry_mode=legacy", mentions: "\"retry_mode\" is \"legacy\"", "standard, adaptive")
        refusal(of: Self.base + ",retry_mode=legacy", leniency: .lenient, mentions: "\"retry_mode\"")
    }

    @Test("uploads only when exporting", arguments: ["touch_refresh=1h", "upload_parallelism=2"])
    func exportOnly(_ option: String) {
        refusal(of: Self.base + "," + option, .import, mentions: "has no effect on a cache-from")
    }
}

@Suite("The azblob backend")
struct AzureBlobTests {
    private static let base = "type=azblob,account_url=https://acct.blob.core.windows.net"

    @Test("has BuildKit's defaults", arguments: CacheSpec.Direction.allCases)
    func defaults(_ direction: CacheSpec.Direction) throws {
        let azblob = try #require(try one(Self.base, direction).azblob)
        #expect(azblob == AzureBlobOptions(accountURL: try ServiceURL("https://acct.blob.core.windows.net")))
        #expect(azblob.accountName == "acct")
        #expect(azblob.container == "buildkit-cache")
        #expect(azblob.prefix == "")
        #expect(azblob.manifestsPrefix == "manifests")
        #expect(azblob.blobsPrefix == "blobs")
        #expect(azblob.names == ["buildkit"])
        #expect(azblob.secretAccessKey == nil)
    }

    @Test(
        "needs the URL of its account",
        arguments: ["type=azblob", "type=azblob,account_url=", "type=azblob,account_url=acct"])
    func needsURL(_ text: String) throws {
        refusal(of: text, mentions: "\"account_url\" is")
        refusal(of: text, leniency: .lenient, mentions: "\"account_url\" is")
        #expect(try lenient(text, .import).specs.isEmpty)
    }

    @Test("takes everything else as options")
    func options() throws {
        let azblob = try one(
            Self.base
                + ",account_name=n,container=c,prefix=p,manifests_prefix=m,blobs_prefix=b,name=x;y,secret_access_key=a2V5"
        ).azblob
        #expect(
            azblob
                == AzureBlobOptions(
                    accountURL: try ServiceURL("https://acct.blob.core.windows.net"), accountName: "n", container: "c",
                    prefix: "p",
                    manifestsPrefix: "m", blobsPrefix: "b", names: ["x", "y"], secretAccessKey: Secret("a2V5")))
    }

    @Test("needs an account name, also in BuildKit")
    func emptyName() {
        refusal(of: Self.base + ",account_name=", mentions: "\"account_name\" is empty")
        refusal(of: Self.base + ",account_name=", leniency: .lenient, mentions: "\"account_name\" is empty")
    }

    @Test(
        "needs the account's name where the host does not say it",
        arguments: ["http://127.0.0.1:10000/acct", "http://localhost:10000/acct", "http://[::1]:10000/acct"])
    func emulator(_ url: String) throws {
        refusal(of: "type=azblob,account_url=\(url)", mentions: "\"account_name\" is missing")
        #expect(try one("type=azblob,account_name=acct,account_url=\(url)").azblob?.accountName == "acct")
        #expect(try lenient("type=azblob,account_url=\(url)").specs.count == 1)
    }

    @Test("may be signed in its URL")
    func sharedAccessSignature() throws {
        let spec = try one(Self.base + "/?sv=2024-11-04&sig=s3cr3t%3D")
        #expect(spec.azblob?.accountURL.base == "https://acct.blob.core.windows.net/")
        #expect(spec.azblob?.accountURL.query?.exposed == "sv=2024-11-04&sig=s3cr3t%3D")
        #expect(spec.azblob?.accountURL.exposed == "https://acct.blob.core.windows.net/?sv=2024-11-04&sig=s3cr3t%3D")
        #expect(spec.description == "type=azblob,account_url=https://acct.blob.core.windows.net/?<redacted>")
    }
}

@Suite("A service URL")
struct ServiceURLTests {
    @Test(
        "has a scheme, a host and maybe more",
        arguments: [
            ("https://a.example", "https://a.example"), ("HTTP://A.Example:80/P", "http://a.example:80/P"),
            ("http://[::1]:9000", "http://[::1]:9000"), ("http://[::1]/x", "http://[::1]/x"),
            ("http://minio_1:9000", "http://minio_1:9000"),
            ("https://a.example?x", "https://a.example?<redacted>"), ("https://a.example/?", "https://a.example/"),
        ])
    func parses(_ text: String, _ shown: String) throws {
        #expect(try ServiceURL(text).description == shown)
    }

    @Test(
        "is refused, without being repeated, when it is none",
        arguments: [
            "", "a.example", "//a.example", "ftp://a.example", "https:/a.example", "https://", "https:///p",
            "https://a..example",
            "https://me:hunter2@a.example", "https://me@a.example", "https://a.example/#hunter2",
            "https://a.example:port/hunter2",
            "https://a.example:65536", "https://a.example:", "https://a example", "https://a.example/ü",
            "https://a.example/\n",
            "https://[::1", "https://[]", "https://[g]", "https://-/\u{0}", "https://a.example/{hunter2}",
        ])
    func refuses(_ text: String) {
        let error = #expect(throws: CacheError.self) { try ServiceURL(text) }
        #expect(error?.code == .invalidSpec)
        #expect(error.map { String(reflecting: $0).contains("hunter2") } == false)
    }
}
