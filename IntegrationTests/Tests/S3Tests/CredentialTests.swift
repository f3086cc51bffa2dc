@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheSpec
import Foundation
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheS3

@Suite("Credentials", .timeLimit(.minutes(10)))
struct CredentialTests {
    /// Two files as `aws configure` writes them.
    private func withFiles<Value>(
        config: String = "", credentials: String = "",
        _ body: (_ variables: [String: String], _ folder: String) async throws -> Value
    ) async throws -> Value {
        let folder = NSTemporaryDirectory() + "build-cache-aws-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try config.write(toFile: folder + "/config", atomically: true, encoding: .utf8)
        try credentials.write(toFile: folder + "/credentials", atomically: true, encoding: .utf8)
        let variables = [
            "AWS_CONFIG_FILE": folder + "/config", "AWS_SHARED_CREDENTIALS_FILE": folder + "/credentials",
            "AWS_EC2_METADATA_DISABLED": "true",
        ]
        return try await body(variables, folder)
    }

    private func found(_ variables: [String: String]) async throws -> AWSCredentials? {
        var transport = HTTPTransport.shared
        // The machine's service is waited for a second, which a busy machine does not keep to.
        transport.clock = ManualClock()
        transport.retryClock = ImmediateClock()
        return try await AWSCredentialSource.standard(environment: Environment(variables), transport: transport)
            .credentials(region: "eu-west-1")
    }

    /// Expects the key that these variables lead to.
    private func expect(
        _ key: String?, _ variables: [String: String], _ comment: Comment? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let credentials = try await found(variables)
        #expect(credentials?.accessKeyID == key, comment, sourceLocation: sourceLocation)
    }

    /// The region of a bucket of a client.
    private func region(_ client: S3Client, _ given: String = "") async throws -> String {
        try client.region(of: S3Options(bucket: "b", region: given), try await AWSSettings.read(client.environment))
    }

    // MARK: Variables and files

    @Test("are those of the environment before those of a profile")
    func order() async throws {
        try await withFiles(credentials: "[default]\naws_access_key_id = file\naws_secret_access_key = s\n") {
            variables, _ in
            try await expect("file", variables)
            var both = variables
            both["AWS_ACCESS_KEY_ID"] = "variable"
            try await expect("file", both, "one variable alone is none")
            both["AWS_SECRET_ACCESS_KEY"] = "s"
            both["AWS_SESSION_TOKEN"] = "t"
            let credentials = try #require(try await found(both))
            #expect(credentials.accessKeyID == "variable")
            #expect(credentials.sessionToken?.exposed == "t")
        }
        try await withFiles { variables, _ in try await expect(nil, variables) }
    }

    @Test("come from the profile that is meant, the credentials file first")
    func profiles() async throws {
        let config = """
            # A comment
            [default]
            aws_access_key_id = default
            aws_secret_access_key = s
            [profile work]
            region = eu-central-1 ; where we are
            aws_access_key_id = config
            aws_secret_access_key=s
            s3 =
              addressing_style = path
            [work]
            aws_access_key_id = not a profile of this file
            """
        try await withFiles(config: config, credentials: "[work]\naws_access_key_id=shared\n") { variables, _ in
            var variables = variables
            try await expect("default", variables)
            variables["AWS_PROFILE"] = "work"
            try await expect("shared", variables)
            let client = S3Client(environment: Environment(variables))
            #expect(try await region(client) == "eu-central-1")
            variables["AWS_DEFAULT_REGION"] = "us-east-2"
            let other = S3Client(environment: Environment(variables))
            #expect(try await region(other) == "us-east-2")
            #expect(try await region(other, "mine") == "mine")
            variables["AWS_PROFILE"] = "missing"
            let error = await #expect(throws: CacheError.self) { try await found(variables) }
            #expect(error?.code == .invalidSpec)
            #expect(error?.message.contains("\"missing\"") == true)
        }
        let error = await #expect(throws: CacheError.self) {
            try await region(S3Client(environment: .empty))
        }
        #expect(error?.message.contains("AWS_REGION") == true)
    }

    @Test("come from a program")
    func process() async throws {
        let config = """
            [profile ok]
            credential_process = printf '{"Version":1,"AccessKeyId":"made","SecretAccessKey":"s","SessionToken":"t","Expiration":"2099-01-01T00:00:00Z"}'
            [profile broken]
            credential_process = echo hunter2
            [profile failing]
            credential_process = echo hunter2; exit 3
            """
        try await withFiles(config: config) { variables, _ in
            var variables = variables
            variables["AWS_PROFILE"] = "ok"
            let credentials = try #require(try await found(variables))
            #expect(credentials.accessKeyID == "made")
            #expect(credentials.expiresAt == (try Timestamp("2099-01-01T00:00:00Z")))
            for (profile, code) in [("broken", CacheError.Code.corrupted), ("failing", .denied)] {
                variables["AWS_PROFILE"] = profile
                let error = await #expect(throws: CacheError.self) { try await found(variables) }
                #expect(error?.code == code)
                #expect(error?.debugDescription.contains("hunter2") == false)
            }
        }
    }

    @Test(
        "are not those of a profile that leads to itself, to nobody, or to a person",
        arguments: ["loop", "nobody", "sso", "mfa"])
    func uselessProfiles(_ profile: String) async throws {
        let config = """
            [profile loop]
            role_arn = a
            source_profile = back
            [profile back]
            role_arn = b
            source_profile = loop
            [profile nobody]
            role_arn = a
            source_profile = gone
            [profile sso]
            sso_session = me
            [profile keys]
            aws_access_key_id = id
            aws_secret_access_key = s
            [profile mfa]
            role_arn = a
            mfa_serial = device
            source_profile = keys
            """
        try await withFiles(config: config) { variables, _ in
            let variables = variables.merging(["AWS_PROFILE": profile]) { _, new in new }
            let error = await #expect(throws: CacheError.self) { try await found(variables) }
            #expect([.invalidSpec, .unsupported].contains(error?.code))
        }
    }

    // MARK: Services

    /// Answers as the token service, with the key named after the role.
    private static func lend(_ request: ServerRequest) async throws -> ServerResponse {
        let body = String(decoding: try await request.bytes(), as: UTF8.self)
        var fields: [String: String] = [:]
        for field in body.split(separator: "&") {
            let parts = field.split(separator: "=", maxSplits: 1).map { String($0).removingPercentEncoding ?? "" }
            if parts.count == 2 { fields[parts[0]] = parts[1] }
        }
        let action = fields["Action"] ?? ""
        let isSigned = request.headers["authorization"]?.contains("/sts/aws4_request") == true
        guard isSigned == (action == "AssumeRole"), fields["WebIdentityToken"] ?? "token" == "token" else {
            return ServerResponse(
                403, body: Array("<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>".utf8))
        }
        let by =
            request.headers["authorization"]?.components(separatedBy: "Credential=").last?.prefix { $0 != "/" } ?? ""
        return ServerResponse(
            200,
            body: Array(
                """
                <\(action)Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><\(action)Result><Credentials>
                <AccessKeyId>\(fields["RoleArn"] ?? "") by \(by)</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
                <SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
                </Credentials></\(action)Result></\(action)Response>
                """.utf8))
    }

    @Test("are lent for a role, by way of other profiles")
    func roles() async throws {
        let config = """
            [profile first]
            aws_access_key_id = id
            aws_secret_access_key = s
            [profile second]
            role_arn = middle
            source_profile = first
            [profile third]
            role_arn = last
            source_profile = second
            external_id = x
            [profile from-environment]
            role_arn = role
            credential_source = Environment
            """
        try await withServer(Self.lend) { address in
            try await withFiles(config: config) { variables, _ in
                var variables = variables
                variables["AWS_ENDPOINT_URL_STS"] = "http://\(address)"
                variables["AWS_PROFILE"] = "third"
                try await expect("last by middle by id", variables)
                variables["AWS_PROFILE"] = "from-environment"
                variables["AWS_ACCESS_KEY_ID"] = "variable"
                variables["AWS_SECRET_ACCESS_KEY"] = "s"
                let profile = ProfileCredentials(Environment(variables))
                #expect(try await profile.credentials(region: "r")?.accessKeyID == "role by variable")
            }
        }
    }

    @Test("are lent for the token of a web identity")
    func webIdentity() async throws {
        try await withServer(Self.lend) { address in
            try await withFiles { variables, folder in
                try "token".write(toFile: folder + "/token", atomically: true, encoding: .utf8)
                try "other".write(toFile: folder + "/other", atomically: true, encoding: .utf8)
                var variables = variables
                variables["AWS_ENDPOINT_URL_STS"] = "http://\(address)"
                variables["AWS_ROLE_ARN"] = "role"
                variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = folder + "/token"
                let credentials = try #require(try await found(variables))
                #expect(credentials.accessKeyID == "role by")
                #expect(credentials.sessionToken?.exposed == "t")
                for file in ["/other", "/missing"] {
                    variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = folder + file
                    let error = await #expect(throws: CacheError.self) { try await found(variables) }
                    #expect(error?.code == .denied)
                }
            }
        }
    }

    private static let answer =
        #"{"Code":"Success","AccessKeyId":"lent","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#

    @Test("are those of the container")
    func container() async throws {
        try await withServer { request in
            guard request.path == "/role", request.headers["authorization"] == "Bearer hunter2" else {
                return ServerResponse(403)
            }
            return ServerResponse(200, json: Self.answer)
        } _: { address in
            let variables = [
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://\(address)/role",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": "Bearer hunter2", "HOME": "/nonexistent",
            ]
            try await expect("lent", variables)
        }
        let error = await #expect(throws: CacheError.self) {
            try await found([
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/role", "HOME": "/nonexistent",
            ])
        }
        #expect(error?.code == .invalidSpec)
    }

    @Test("are those of the machine, whose service wants to see a token")
    func instance() async throws {
        try await withServer { request in
            let path = "/latest/meta-data/iam/security-credentials/"
            switch (request.method, request.path) {
            case ("PUT", "/latest/api/token"):
                return ServerResponse(
                    request.headers["x-aws-ec2-metadata-token-ttl-seconds"] == nil ? 400 : 200, body: Array("abc".utf8))
            case _ where request.headers["x-aws-ec2-metadata-token"] != "abc": return ServerResponse(401)
            case ("GET", path): return ServerResponse(200, body: Array("the-role\n".utf8))
            case ("GET", path + "the-role"): return ServerResponse(200, json: Self.answer)
            default: return ServerResponse(404)
            }
        } _: { address in
            var variables = ["AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://\(address)/", "HOME": "/nonexistent"]
            try await expect("lent", variables)
            variables["AWS_EC2_METADATA_DISABLED"] = "true"
            try await expect(nil, variables)
        }
    }

    @Test(
        "are not asked for by what cannot be the name of a role, which no error or address shows",
        arguments: [
            #"{"SecretAccessKey":"hunter2"}"#, "<html>hunter2", "hunter2/..", "hunter2 b", "hunter2?x",
            String(repeating: "hunter2-", count: 9),
        ])
    func roleNames(_ name: String) async throws {
        let paths = Mutex<[String]>([])
        var patient = HTTPTransport.shared
        patient.clock = ManualClock()
        let transport = patient
        try await withServer { request in
            paths.withLock { $0.append(request.path) }
            return ServerResponse(200, body: Array((request.method == "PUT" ? "abc" : name).utf8))
        } _: { address in
            let environment = Environment(["AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://\(address)/"])
            let error = await #expect(throws: CacheError.self) {
                try await InstanceCredentials(environment, transport: transport).credentials(region: "r")
            }
            #expect(error?.code == .corrupted)
            #expect(error?.debugDescription.contains("hunter2") == false)
        }
        #expect(paths.withLock { $0.filter { $0.contains("hunter2") } } == [])
    }

    @Test("are not waited for where there is no such service")
    func noInstance() async throws {
        let port = try freePort()
        let variables = ["AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:\(port)", "HOME": "/nonexistent"]
        try await expect(nil, variables)
        let cache = CredentialCache(
            AWSCredentialSource.standard(environment: Environment(variables)), region: "r", now: { .now() })
        let error = await #expect(throws: CacheError.self) { try await cache.current() }
        #expect(error?.code == .denied)
        #expect(error?.message.contains("AWS_ACCESS_KEY_ID") == true)
    }

    // MARK: Keeping them

    /// Lends keys that live for ten minutes, unless it is told to fail.
    private final class Lender: Sendable {
        let time = Mutex(Int64(1_000_000))
        let asked = Mutex(0)
        let fails = Mutex(false)

        func credentials(region: String) async throws -> AWSCredentials? {
            if fails.withLock({ $0 }) { throw CacheError(.unavailable, "nobody is there") }
            let number = asked.withLock { count in
                count += 1
                return count
            }
            return AWSCredentials(
                accessKeyID: "\(number)", secretAccessKey: Secret("s"),
                expiresAt: Timestamp(seconds: time.withLock { $0 } + 600))
        }
    }

    @Test("are asked for once by all who need them, again shortly before they expire, and outlast a failure then")
    func keeping() async throws {
        let lender = Lender()
        let cache = CredentialCache(
            AWSCredentialSource { try await lender.credentials(region: $0) }, region: "r",
            now: { Timestamp(seconds: lender.time.withLock { $0 }) ?? .zero })
        try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<20 { group.addTask { try await cache.current().accessKeyID } }
            for try await id in group { #expect(id == "1") }
        }
        lender.time.withLock { $0 += 400 }
        #expect(try await cache.current().accessKeyID == "1")
        lender.time.withLock { $0 += 100 }
        lender.fails.withLock { $0 = true }
        #expect(try await cache.current().accessKeyID == "1")
        lender.fails.withLock { $0 = false }
        let second = try await cache.current()
        #expect(second.accessKeyID == "2")
        #expect(try await cache.current(rejecting: second).accessKeyID == "3")
        lender.time.withLock { $0 += 1000 }
        lender.fails.withLock { $0 = true }
        await #expect(throws: CacheError.self) { try await cache.current() }
    }
}
