import BuildCacheCore
import BuildCacheSpec
import Testing

/// `Documentation/Spec/spec-syntax.md` §2, and the environment columns of §4.
@Suite("The environment")
struct EnvironmentTests {
    private static let workflow = [
        "ACTIONS_RUNTIME_TOKEN": "t0ken", "ACTIONS_CACHE_URL": "https://v1.example/a/",
        "ACTIONS_RESULTS_URL": "https://v2.example/",
    ]

    @Test("gives gha its token and the service of version 1")
    func gitHubActions() throws {
        let gha = try #require(try one("type=gha", .export, Self.workflow).gha)
        #expect(gha.token.exposed == "t0ken")
        #expect(gha.url?.description == "https://v1.example/a/")
        #expect(gha.urlV2 == nil)
        #expect(gha.service?.version == 1)
    }

    @Test(
        "gives gha the service of version 2 when that is asked for",
        arguments: [
            ("type=gha,version=2", nil, true), ("type=gha", "true", true), ("type=gha", "1", true),
            ("type=gha", "false", false),
            ("type=gha", "maybe", false), ("type=gha,version=1", "true", false), ("type=gha", nil, false),
        ] as [(String, String?, Bool)])
    func serviceVersion2(_ text: String, _ variable: String?, _ expected: Bool) throws {
        var variables = Self.workflow
        variables["ACTIONS_CACHE_SERVICE_V2"] = variable
        let gha = try #require(try one(text, .export, variables).gha)
        #expect((gha.urlV2 != nil) == expected)
        #expect(gha.service?.version == (expected ? 2 : 1))
        #expect(gha.service?.url.host == (expected ? "v2.example" : "v1.example"))
    }

    @Test("gives gha the results service when there is no other")
    func resultsURL() throws {
        var variables = Self.workflow
        variables["ACTIONS_CACHE_URL"] = nil
        #expect(try one("type=gha", .export, variables).gha?.url?.host == "v2.example")
        // GitHub's own results service is known to speak version 2 only.
        variables["ACTIONS_RESULTS_URL"] = "https://results-receiver.actions.githubusercontent.com/"
        #expect(try one("type=gha", .export, variables).gha?.service?.version == 2)
    }

    @Test("loses to what is written")
    func attributesWin() throws {
        let gha = try #require(try one("type=gha,token=mine,url=https://mine.example", .export, Self.workflow).gha)
        #expect(gha.token.exposed == "mine")
        #expect(gha.url?.host == "mine.example")
        #expect(try one("type=s3,region=mine,bucket=b", .export, ["AWS_REGION": "other"]).s3?.region == "mine")
        #expect(
            try one(
                "type=azblob,account_url=https://a.example,prefix=", .export, ["BUILDKIT_AZURE_STORAGE_PREFIX": "other"]
            )
            .azblob?.prefix == "")
    }

    @Test(
        "without a workflow makes gha an error, and to buildx nothing at all", arguments: CacheSpec.Direction.allCases)
    func outsideOfAWorkflow(_ direction: CacheSpec.Direction) throws {
        refusal(of: "type=gha", direction, mentions: "\"token\" is missing", "ACTIONS_RUNTIME_TOKEN")
        refusal(of: "type=gha,token=t", direction, mentions: "\"url\" is missing", "ACTIONS_RESULTS_URL")
        refusal(of: "type=gha,url=https://a.example", direction, mentions: "\"token\" is missing")
        for text in [
            "type=gha", "type=gha,token=t", "type=gha,url=https://a.example", "type=gha,token=,url=https://a.example",
        ] {
            let (specs, ignored) = try lenient(text, direction)
            #expect(specs.isEmpty)
            #expect(ignored.count >= 1)
        }
    }

    @Test("gives s3 its bucket and region")
    func s3() throws {
        let s3 = try #require(
            try one("type=s3", .import, ["AWS_BUCKET": "b", "AWS_REGION": "r", "AWS_DEFAULT_REGION": "d"]).s3)
        #expect(s3.bucket == "b")
        #expect(s3.region == "r")
        #expect(try one("type=s3,bucket=b", .import, ["AWS_DEFAULT_REGION": "d"]).s3?.region == "d")
    }

    @Test("gives s3 no credentials: these come from the backend's provider chain")
    func noCredentials() throws {
        let s3 = try one(
            "type=s3,bucket=b,region=r", .export, ["AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"]
        ).s3
        #expect(s3?.accessKeyID == nil)
        #expect(s3?.secretAccessKey == nil)
    }

    @Test("gives azblob its account, container and prefix")
    func azblob() throws {
        let azblob = try #require(
            try one(
                "type=azblob", .import,
                [
                    "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL": "https://acct.blob.core.windows.net",
                    "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME": "other", "BUILDKIT_AZURE_STORAGE_CONTAINER": "c",
                    "BUILDKIT_AZURE_STORAGE_PREFIX": "p",
                ]
            ).azblob)
        #expect(azblob.accountURL.host == "acct.blob.core.windows.net")
        #expect(azblob.accountName == "other")
        #expect(azblob.container == "c")
        #expect(azblob.prefix == "p")
    }

    @Test("counts as unset where a variable is empty, except to BuildKit")
    func emptyVariables() throws {
        refusal(of: "type=s3,region=r", .export, ["AWS_BUCKET": ""], mentions: "\"bucket\" is missing")
        #expect(try one("type=s3,bucket=b", .export, ["AWS_REGION": "", "AWS_DEFAULT_REGION": "d"]).s3?.region == "d")
        #expect(try lenient("type=s3,region=r", .export, ["AWS_BUCKET": ""]).specs.first?.s3?.bucket == "")
    }

    @Test("is named when it is to blame")
    func blame() {
        var variables = Self.workflow
        variables["ACTIONS_CACHE_URL"] = "ftp://v1.example"
        refusal(of: "type=gha", .export, variables, mentions: "\"url\" (from ACTIONS_CACHE_URL)")
        variables = Self.workflow
        variables["ACTIONS_RUNTIME_TOKEN"] = "t0ken\n"
        let error = refusal(of: "type=gha", .export, variables, mentions: "ACTIONS_RUNTIME_TOKEN", "control character")
        #expect(error?.message.contains("t0ken") == false)
    }

    @Test("can be the process's own")
    func process() {
        #expect(Environment.process["PATH"]?.isEmpty == false)
        #expect(Environment.process["BUILD_CACHE_NO_SUCH_VARIABLE"] == nil)
        #expect(Environment.empty["PATH"] == nil)
    }
}
