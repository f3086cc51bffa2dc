import BuildCacheCore
import BuildCacheSpec
import Testing

@Suite("A secret in a spec")
struct SecretTests {
    private static let secret = "hunter2"
    private static let texts = [
        "type=gha,token=hunter2,url=https://a.example,repository=o/r,ghtoken=hunter2",
        "type=gha,token=t,url=https://a.example/?hunter2",
        "type=gha,token=t,url_v2=https://a.example/?hunter2",
        "type=s3,bucket=b,region=r,access_key_id=id,secret_access_key=hunter2,session_token=hunter2",
        "type=s3,bucket=b,region=r,endpoint_url=https://a.example/?hunter2",
        "type=azblob,account_url=https://a.example/?sig=hunter2,secret_access_key=hunter2",
    ]

    @Test("never prints", arguments: texts)
    func neverPrints(_ text: String) throws {
        let spec = try one(text)
        var dumped = ""
        dump(spec, to: &dumped)
        let everything = [
            spec.description, String(describing: spec), String(reflecting: spec), "\(spec.backend)",
            String(reflecting: spec.backend),
            dumped, "\([spec])", spec.json(),
        ]
        for printed in everything { #expect(!printed.contains(Self.secret)) }
        #expect(spec.description.contains("<redacted>"))
        #expect(!reflected(spec).contains(Self.secret))
    }

    /// All that mirrors show, to any depth.
    private func reflected(_ subject: Any) -> String {
        var open: [Any] = [subject]
        var text = ""
        while let next = open.popLast() {
            text += "\(next)\n"
            open += Mirror(reflecting: next).children.map(\.value)
        }
        return text
    }

    @Test("is there for who asks for it", arguments: texts)
    func exposed(_ text: String) throws {
        let spec = try one(text)
        #expect(spec.textExposingSecrets().contains(Self.secret))
        #expect(spec.jsonExposingSecrets().contains(Self.secret))
        #expect(try one(spec.textExposingSecrets()) == spec)
    }

    @Test("is not mistaken for the placeholder that is printed instead of it", arguments: [0, 3])
    func placeholder(_ index: Int) throws {
        let spec = try one(Self.texts[index])
        refusal(of: spec.description, mentions: "placeholder")
    }

    @Test(
        "is in no error",
        arguments: [
            // No type, so nobody knows which keys are secret.
            "secret_access_key=hunter2,bucket=b", "token=hunter2", "secret_acces_key=hunter2",
            "account_url=https://a.example/?hunter2",
            "account_url=https://x:hunter2@a.example", "ref=me:hunter2@ghcr.io/app",
            // A misspelt key or another backend's.
            "type=s3,bucket=b,region=r,secret_acces_key=hunter2", "type=local,dest=out,token=hunter2",
            // A comma in the secret, and quotes.
            "type=s3,secret_access_key=abc,hunter2", "type=azblob,account_url=https://a.example/?sig=x,hunter2",
            "sekret=x,hunter2",
            "type=s3,secret_access_key=\"hunter2\"", "type=s3,\"secret_access_key=hunter2",
            "type=s3,\"secret_access_key=x\"hunter2",
            // Semicolons instead of commas.
            "type=s3;secret_access_key=hunter2", "type=local,dest=out,mode=max;token=hunter2",
            "type=s3,bucket=b,region=r,upload_parallelism=4;secret_access_key=hunter2",
            "type=s3,bucket=b,region=r,touch_refresh=4h;secret_access_key=hunter2",
            "type=s3,bucket=b,region=r,use_path_style=true;secret_access_key=hunter2",
            "type=azblob,account_url=https://a.example,name=a;;secret_access_key=hunter2",
            // Given, but wrong.
            "type=s3,bucket=b,region=r,secret_access_key=hunter2", "type=s3,bucket=b,region=r,session_token=hunter2",
            "type=s3,secret_access_key=hunter2,secret_access_key=hunter2", "type=gha,token=hunter2",
            "type=gha,ghtoken=hunter2",
            "type=gha,token=t,url=hunter2", "type=gha,token=t,url=https://a.example/#hunter2",
            "type=azblob,account_url=hunter2",
            "type=azblob,account_url=https://me:hunter2@a.example", "me:hunter2@ghcr.io/app",
            "https://me:hunter2@ghcr.io/app",
            "type=gha,token=hunter2\u{1},url=https://a.example",
        ])
    func noError(_ text: String) {
        for direction in CacheSpec.Direction.allCases {
            let error = refusal(of: text, direction)
            #expect(error.map { "\($0) \($0.message) \(String(reflecting: $0))".contains(Self.secret) } == false)
        }
        // What lenient parsing lets pass it reports in the same words.
        let reported = try? lenient(text).ignored
        #expect(reported?.contains { $0.contains(Self.secret) } != true)
    }

    @Test("is in no error about a list")
    func noListError() throws {
        let spec = try one(Self.texts[5])
        let error = #expect(throws: CacheError.self) { try CacheSpec.validate(exports: [spec, spec]) }
        #expect(error.map { String(reflecting: $0).contains(Self.secret) } == false)
    }

    @Test("in the environment is not shown by it")
    func environment() {
        let environment = Environment(["TOKEN": Self.secret])
        var dumped = ""
        dump(environment, to: &dumped)
        #expect(!(dumped + "\(environment)" + String(reflecting: environment)).contains(Self.secret))
        #expect(environment["TOKEN"] == Self.secret)
    }
}
