@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheSpec
import Foundation
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheS3

/// An environment with a config file, and a bucket in it.
struct EndpointCase: Sendable, Encodable, CustomTestStringConvertible {
    var variables: [String: String] = [:]
    var config = ""
    /// As `endpoint_url` of the spec.
    var endpoint: String?
    var bucket = "the-cache"
    var region = "eu-west-1"
    var service = "s3"
    /// The beginning of the URL, `nil` for an error.
    var expected: String?
    /// Whether botocore does the same.
    ///
    /// It passes over the kind of host where an endpoint is given, which AWS's client for Go refuses, and
    /// does not look at the partition of an ARN.
    var isBotocores = true

    private enum CodingKeys: CodingKey { case variables, config, endpoint, bucket, region, service }

    var testDescription: String {
        "\(service) \(bucket) \(region) \(endpoint ?? "") \(variables.sorted { $0.key < $1.key }) \(config)"
    }

    /// Gives `body` the environment of the case.
    func run<Value>(_ body: (Environment) async throws -> Value) async throws -> Value {
        let file = FileManager.default.temporaryDirectory.appending(path: "aws-config-\(UUID())").path
        try config.write(toFile: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: file) }
        return try await body(Environment(variables.merging(["AWS_CONFIG_FILE": file]) { $1 }))
    }

    /// The URL of an object, and the region that signs.
    func place() async throws -> (url: String, region: String) {
        try await run { environment in
            guard service == "s3" else {
                let settings = try await AWSSettings.read(environment).endpoints(of: service)
                return (try SecurityTokenService.endpoint(region, settings).base, region)
            }
            var options = S3Options(bucket: bucket, region: region)
            options.endpointURL = try endpoint.map { try ServiceURL($0) }
            let bucket = try await S3Bucket(options, client: S3Client(environment: environment))
            return (bucket.endpoint.origin + bucket.endpoint.path("key"), bucket.endpoint.region)
        }
    }

    private static let sections = """
        [default]
        services = local
        endpoint_url = https://profile.example.com
        [profile general]
        endpoint_url = https://general.example.com/path/
        [profile off]
        ignore_configured_endpoint_urls = true
        endpoint_url = https://general.example.com
        [profile fips]
        use_fips_endpoint = true
        [profile dual]
        use_dualstack_endpoint = TRUE
        [profile sts-only]
        services = tokens
        endpoint_url = https://general.example.com
        [profile style]
        endpoint_url = https://general.example.com
        s3 =
            addressing_style = path
        [services local]
        # The service of this machine
        s3 =
          endpoint_url = https://section.example.com
        dynamodb =
          endpoint_url = https://dynamodb.example.com
        [services tokens]
        sts =
          endpoint_url = https://tokens.example.com
        """

    private static let point = "arn:aws:s3:us-west-2:123456789012:accesspoint/my-point"

    static let all: [EndpointCase] = [
        // The order of sources.
        EndpointCase(expected: "https://the-cache.s3.eu-west-1.amazonaws.com/"),
        EndpointCase(
            variables: [
                "AWS_ENDPOINT_URL_S3": "https://s3.example.com", "AWS_ENDPOINT_URL": "https://all.example.com",
            ],
            config: sections, expected: "https://the-cache.s3.example.com/"),
        EndpointCase(
            variables: ["AWS_ENDPOINT_URL": "https://all.example.com"], config: sections,
            expected: "https://the-cache.all.example.com/"),
        EndpointCase(config: sections, expected: "https://the-cache.section.example.com/"),
        EndpointCase(
            variables: ["AWS_PROFILE": "general"], config: sections,
            expected: "https://the-cache.general.example.com/path/"),
        EndpointCase(
            variables: ["AWS_PROFILE": "sts-only"], config: sections,
            expected: "https://the-cache.general.example.com/"),
        EndpointCase(
            variables: ["AWS_PROFILE": "style"], config: sections, expected: "https://general.example.com/the-cache/"),
        EndpointCase(
            variables: ["AWS_ENDPOINT_URL_S3": "https://s3.example.com"], config: sections,
            endpoint: "https://spec.example.com", expected: "https://the-cache.spec.example.com/"),
        EndpointCase(
            variables: ["AWS_ENDPOINT_URL": "http://127.0.0.1:9000"], expected: "http://127.0.0.1:9000/the-cache/"),
        // Ignoring them.
        EndpointCase(
            variables: ["AWS_ENDPOINT_URL": "https://x.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"],
            config: sections, expected: "https://the-cache.s3.eu-west-1.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_PROFILE": "off"], config: sections,
            expected: "https://the-cache.s3.eu-west-1.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_ENDPOINT_URL": "https://x.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"],
            endpoint: "https://spec.example.com", expected: "https://the-cache.spec.example.com/"),
        // The token service.
        EndpointCase(service: "sts", expected: "https://sts.eu-west-1.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_ENDPOINT_URL_S3": "https://s3.example.com"], service: "sts",
            expected: "https://sts.eu-west-1.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_PROFILE": "sts-only"], config: sections, service: "sts",
            expected: "https://tokens.example.com/"),
        EndpointCase(
            variables: ["AWS_USE_FIPS_ENDPOINT": "true"], service: "sts",
            expected: "https://sts-fips.eu-west-1.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_USE_FIPS_ENDPOINT": "true"], region: "us-gov-west-1", service: "sts",
            expected: "https://sts.us-gov-west-1.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"], service: "sts",
            expected: "https://sts-fips.eu-west-1.api.aws/"),
        // Kinds of hosts.
        EndpointCase(
            variables: ["AWS_USE_FIPS_ENDPOINT": "true"], region: "us-gov-west-1",
            expected: "https://the-cache.s3-fips.us-gov-west-1.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_USE_DUALSTACK_ENDPOINT": "true"],
            expected: "https://the-cache.s3.dualstack.eu-west-1.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"], bucket: "with.dots",
            expected: "https://s3-fips.dualstack.eu-west-1.amazonaws.com/with.dots/"),
        EndpointCase(
            variables: ["AWS_PROFILE": "fips", "AWS_USE_DUALSTACK_ENDPOINT": "false"], config: sections,
            expected: "https://the-cache.s3-fips.eu-west-1.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_PROFILE": "fips", "AWS_USE_FIPS_ENDPOINT": "false"], config: sections,
            expected: "https://the-cache.s3.eu-west-1.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_PROFILE": "dual"], config: sections, region: "cn-north-1",
            expected: "https://the-cache.s3.dualstack.cn-north-1.amazonaws.com.cn/"),
        EndpointCase(variables: ["AWS_USE_FIPS_ENDPOINT": "true"], region: "cn-north-1", expected: nil),
        EndpointCase(
            variables: ["AWS_USE_FIPS_ENDPOINT": "true"], endpoint: "https://spec.example.com", expected: nil,
            isBotocores: false),
        EndpointCase(
            variables: ["AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_ENDPOINT_URL": "https://all.example.com"],
            expected: nil, isBotocores: false),
        // Access points.
        EndpointCase(
            bucket: point, region: "us-west-2",
            expected: "https://my-point-123456789012.s3-accesspoint.us-west-2.amazonaws.com/"),
        EndpointCase(
            bucket: point.replacing("accesspoint/", with: "accesspoint:"),
            expected: "https://my-point-123456789012.s3-accesspoint.us-west-2.amazonaws.com/"),
        EndpointCase(
            variables: ["AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"], bucket: point,
            expected: "https://my-point-123456789012.s3-accesspoint-fips.dualstack.us-west-2.amazonaws.com/"),
        EndpointCase(
            endpoint: "https://spec.example.com", bucket: point,
            expected: "https://my-point-123456789012.spec.example.com/"),
        EndpointCase(variables: ["AWS_S3_USE_ARN_REGION": "false"], bucket: point, expected: nil),
        EndpointCase(bucket: point.replacing("arn:aws:", with: "arn:aws-cn:"), expected: nil, isBotocores: false),
        EndpointCase(bucket: "arn:aws:s3:us-west-2:123456789012:bucket/name", expected: nil),
        EndpointCase(bucket: "arn:aws:s3:us-west-2::accesspoint/name", expected: nil),
        EndpointCase(bucket: "arn:aws:s3:us-west-2:123456789012:accesspoint/a/b", expected: nil),
        EndpointCase(bucket: "arn:aws:s3:evil.example:123456789012:accesspoint/a", expected: nil),
        EndpointCase(bucket: "arn:aws:s3:us-west-2:123456789012:accesspoint/evil.example", expected: nil),
    ]

    /// A line that the script prints.
    struct Answer: Decodable {
        var url: String?
        var region: String?
        var error: String?
    }
}

@Suite("An endpoint of S3", .timeLimit(.minutes(10)))
struct EndpointTests {
    @Test(
        "is the one of the spec, a variable, a section, the profile or Amazon, in this order",
        arguments: EndpointCase.all)
    func order(_ example: EndpointCase) async throws {
        guard let expected = example.expected else {
            let error = await #expect(throws: CacheError.self) { _ = try await example.place() }
            #expect([.invalidSpec, .unsupported].contains(error?.code))
            return
        }
        let place = try await example.place()
        #expect(place.url == expected + (example.service == "s3" ? "key" : ""))
    }

    @Test(
        "is botocore's, and so is the region that signs",
        .enabled("botocore is not installed") { (try? await Tool.python.output("-c", "import botocore")) != nil })
    func botocore() async throws {
        let encoder = JSONEncoder()
        let lines = try EndpointCase.all.map { String(decoding: try encoder.encode($0), as: UTF8.self) + "\n" }
        let script = FixtureArchive.repository.appending(path: "s3/botocore-endpoints.py").path
        let output = try await Tool.python.output(script, input: Array(lines.joined().utf8))
        let answers = try output.split(separator: UInt8(ascii: "\n"))
            .map { try JSONDecoder().decode(EndpointCase.Answer.self, from: Data($0)) }
        try #require(answers.count == EndpointCase.all.count)
        for (example, answer) in zip(EndpointCase.all, answers) where example.isBotocores {
            guard let url = answer.url, example.expected != nil else {
                #expect((answer.url == nil) == (example.expected == nil), "\(example.testDescription): \(answer)")
                continue
            }
            let place = try await example.place()
            #expect(place.url == url, "\(example.testDescription)")
            #expect(place.region == answer.region, "\(example.testDescription)")
        }
    }

    @Test(
        "is refused by the name of the setting that is wrong",
        arguments: [
            (["AWS_ENDPOINT_URL_S3": "localhost:9000"], "", "AWS_ENDPOINT_URL_S3"),
            (["AWS_USE_FIPS_ENDPOINT": "yes"], "", "AWS_USE_FIPS_ENDPOINT"),
            (["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "1"], "", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"),
            ([:], "[default]\nendpoint_url = ftp://x\n", "endpoint_url of the profile default"),
            ([:], "[default]\nservices = gone\n", "[services gone]"),
            ([:], "[default]\nuse_dualstack_endpoint = on\n", "use_dualstack_endpoint"),
            (["AWS_CA_BUNDLE": "/nonexistent/ca.pem"], "", "AWS_CA_BUNDLE"),
            ([:], "[default]\nca_bundle = /nonexistent/ca.pem\n", "ca_bundle"),
        ] as [([String: String], String, String)])
    func wrongSettings(_ variables: [String: String], _ config: String, _ name: String) async throws {
        let example = EndpointCase(variables: variables, config: config)
        let error = await #expect(throws: CacheError.self) { _ = try await example.place() }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.contains(name) == true, "\(String(describing: error))")
    }

    @Test(
        "cannot be that of a bucket that does not hold caches, and the error says which kind it is",
        arguments: [
            ("cache--usw2-az1--x-s3", "S3 Express"), ("point--usw2-az1--xa-s3", "S3 Express"),
            ("point-o01ac5d28a6a232904e8xz5w8ijx1qzlbp3i3kuse10--op-s3", "Outposts"),
            ("mfzwi23gnjvgw.mrap", "multi-region"),
            ("arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap", "multi-region"),
            ("arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-1/accesspoint/a", "s3-outposts"),
            ("arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/a", "s3-object-lambda"),
        ])
    func kinds(_ bucket: String, _ kind: String) async throws {
        let error = await #expect(throws: CacheError.self) { _ = try await EndpointCase(bucket: bucket).place() }
        #expect(error?.code == .unsupported)
        #expect(error?.message.contains(kind) == true)
    }

    @Test("names an access point as the source of a copy by its ARN")
    func copies() throws {
        let point = S3Options(bucket: "arn:aws:s3:us-west-2:123456789012:accesspoint/p", region: "us-west-2")
        #expect(
            try S3Endpoint(point, region: "us-west-2").copySource("a:b/c")
                == "arn%3Aaws%3As3%3Aus-west-2%3A123456789012%3Aaccesspoint/p/object/a%3Ab/c")
        let bucket = S3Options(bucket: "the-cache", region: "us-west-2")
        #expect(try S3Endpoint(bucket, region: "us-west-2").copySource("a:b/c") == "the-cache/a%3Ab/c")
    }

    @Test("is in the region of the access point where no other is given")
    func regions() async throws {
        let point = EndpointCase(bucket: "arn:aws:s3:us-west-2:123456789012:accesspoint/p", region: "")
        #expect(try await point.place().region == "us-west-2")
    }

    @Test("of the environment or the profile gets the session token without encryption, also in front of its host")
    func tokens() async throws {
        let lent = AWSCredentialSource.fixed(
            AWSCredentials(accessKeyID: "id", secretAccessKey: Secret("s"), sessionToken: Secret("hunter2")))
        func sends(_ example: EndpointCase) async throws -> Bool {
            try await example.run { environment in
                var options = S3Options(bucket: example.bucket, region: example.region)
                options.endpointURL = try example.endpoint.map { try ServiceURL($0) }
                let bucket = try await S3Bucket(
                    options, client: S3Client(credentials: lent, environment: environment))
                let url = try ServiceURL(bucket.endpoint.origin + bucket.endpoint.path("key"))
                do { try bucket.checkMaySendToken(url) } catch { return false }
                return true
            }
        }
        let plain = "http://minio.example:9000"
        let profile = "[default]\nendpoint_url = \(plain)\n"
        #expect(try await sends(EndpointCase(variables: ["AWS_ENDPOINT_URL_S3": plain])))
        #expect(try await sends(EndpointCase(config: profile)))
        #expect(try await sends(EndpointCase(variables: ["AWS_ENDPOINT_URL_S3": plain], endpoint: plain)))
        #expect(try await sends(EndpointCase(config: profile, endpoint: plain)))
        #expect(try await !sends(EndpointCase(endpoint: plain)))
        #expect(try await !sends(EndpointCase(config: profile, endpoint: "http://other.example:9000")))
        #expect(
            try await !sends(
                EndpointCase(
                    variables: ["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"], config: profile, endpoint: plain)))
    }

    @Test(
        "is trusted by the authorities of AWS_CA_BUNDLE or ca_bundle, and of these alone",
        arguments: ["variable", "profile", "other", "none"])
    func authorities(_ place: String) async throws {
        let response = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        try await TLSServer.run(responding: response) { server in
            try await TLSServer.run(responding: response) { other in
                var example = EndpointCase(variables: [
                    "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s", "AWS_MAX_ATTEMPTS": "1",
                    "AWS_ENDPOINT_URL_S3": "https://\(server.address)",
                ])
                switch place {
                case "variable": example.variables["AWS_CA_BUNDLE"] = server.certificateFile
                case "profile": example.config = "[default]\nca_bundle = \(server.certificateFile)\n"
                case "other": example.variables["AWS_CA_BUNDLE"] = other.certificateFile
                default: break
                }
                try await example.run { environment in
                    let bucket = try await S3Bucket(
                        S3Options(bucket: "cache", region: "r"), client: S3Client(environment: environment))
                    if ["variable", "profile"].contains(place) {
                        #expect(try await bucket.object("name", limit: 1) == nil)
                        #expect(server.requests.count == 1)
                    } else {
                        await #expect(throws: CacheError.self) { try await bucket.object("name", limit: 1) }
                        #expect(server.requests.isEmpty)
                    }
                }
            }
        }
    }
}
