import BuildCacheCore
import BuildCacheHTTP
import BuildCacheS3
import BuildCacheSpec
import Foundation
import TestTools
import Testing

@Suite("A signature of version 4")
struct SignatureTests {
    /// A request of AWS's published test suite.
    struct Vector: Sendable, CustomTestStringConvertible {
        var name: String
        var method = "GET"
        var path = "/"
        var query: [(name: String, value: String)] = []
        var headers: [(name: String, value: String)] = []
        var payloadHash = SignatureV4.emptyPayload
        var signature: String
        var testDescription: String { name }
    }

    /// As `awslabs/aws-c-auth` publishes them, `tests/aws-signing-test-suite/v4`, `header-signed-request.txt`.
    static let published = [
        Vector(
            name: "get-vanilla", signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        Vector(
            name: "post-vanilla", method: "POST",
            signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        Vector(
            name: "get-vanilla-query-order-key-case", query: [("Param2", "value2"), ("Param1", "value1")],
            signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        Vector(
            name: "get-vanilla-query-unreserved", query: [(unreserved, unreserved)],
            signature: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
        Vector(
            name: "get-vanilla-utf8-query", query: [("ሴ", "bar")],
            signature: "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        Vector(
            name: "get-unreserved", path: "/" + unreserved.percentEncoded,
            signature: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        Vector(
            name: "get-utf8", path: "/" + "ሴ".percentEncoded,
            signature: "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        Vector(
            name: "get-space-unnormalized", path: "/example space/".percentEncoded(keeping: "/"),
            signature: "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        Vector(
            name: "get-slashes-unnormalized", path: "//example//".percentEncoded(keeping: "/"),
            signature: "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5"),
        Vector(
            name: "get-header-key-duplicate",
            headers: [("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
            signature: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"),
        Vector(
            name: "get-header-value-order",
            headers: [
                ("My-Header1", "value4"), ("My-Header1", "value1"), ("My-Header1", "value3"), ("My-Header1", "value2"),
            ], signature: "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"),
        Vector(
            name: "get-header-value-trim", headers: [("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
            signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
        Vector(
            name: "get-vanilla-with-session-token",
            headers: [("X-Amz-Security-Token", "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267")],
            signature: "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"),
        Vector(
            name: "post-x-www-form-urlencoded", method: "POST",
            headers: [
                ("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", "13"),
                ("x-amz-content-sha256", formHash),
            ], payloadHash: formHash, signature: "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"),
    ]
    private static let unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    private static let formHash = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"

    @Test("is the one that AWS publishes", arguments: published)
    func publishedVector(_ vector: Vector) throws {
        let signer = SignatureV4(region: "us-east-1", service: "service")
        let message = SignatureV4.Message(
            method: vector.method, path: vector.path, query: vector.query,
            headers: vector.headers + [("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z")],
            payloadHash: vector.payloadHash)
        let authorization = signer.authorization(
            for: message, accessKeyID: "AKIDEXAMPLE",
            secretAccessKey: Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            at: try Timestamp("2015-08-30T12:36:00Z"))
        #expect(authorization.hasSuffix("Signature=" + vector.signature))
    }

    // MARK: Against other signers

    /// A request that somebody else signed.
    struct Signed: Decodable {
        var operation: String?
        var endpoint: String?
        var pathStyle: Bool?
        var key: String?
        var isObject: Bool?
        var method: String
        var url: String?
        var target: String?
        var headers: [String: String]
    }

    private static let script = FixtureArchive.repository.appending(path: "s3/botocore-requests.py").path

    @Test(
        "is botocore's for every shape of key, query, header and body, and so is the path",
        .enabled("botocore is not installed") { (try? await Tool.python.output("-c", "import botocore")) != nil })
    func botocore() async throws {
        let output = try await Tool.python.output(SignatureTests.script)
        let requests = try output.split(separator: UInt8(ascii: "\n")).map {
            try JSONDecoder().decode(Signed.self, from: Data($0))
        }
        #expect(requests.count >= 40)
        for request in requests {
            let sent = "\(request.operation ?? "") of \(request.key ?? "") at \(request.endpoint ?? "AWS")"
            var options = S3Options(bucket: "the-cache", region: "eu-west-1")
            options.endpointURL = try request.endpoint.map { try ServiceURL($0) }
            options.usePathStyle = request.pathStyle ?? false
            let endpoint = try S3Endpoint(options, region: "eu-west-1")
            let url = try #require(request.url)
            let path = endpoint.path(request.isObject == true ? request.key : nil)
            let expected = url.prefix { $0 != "?" }
            // A client may leave the slash of an empty path to HTTP.
            #expect(endpoint.origin + path == expected || endpoint.origin + path == expected + "/", "\(sent)")
            try expectSameSignature(
                request, path: path, query: url, host: endpoint.host, "AKIDEXAMPLE", "secret/with+signs=", "eu-west-1",
                sent)
        }
    }

    @Test("is the one that BuildKit made")
    func buildKit() throws {
        struct Traces: Decodable {
            struct Requests: Decodable {
                var accessKey: String
                var secretKey: String
                var region: String
                var requests: [Signed]
            }
            var awsSigv4: Requests
        }
        let file = FixtureArchive.buildkit.appending(path: "http-traces/signature-vectors.json")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let traces = try decoder.decode(Traces.self, from: try Data(contentsOf: file)).awsSigv4
        #expect(traces.requests.count > 20)
        for request in traces.requests {
            let target = try #require(request.target)
            try expectSameSignature(
                request, path: String(target.prefix { $0 != "?" }), query: target,
                host: try #require(request.headers["Host"]), traces.accessKey, traces.secretKey, traces.region, target
            )
        }
    }

    private func expectSameSignature(
        _ request: Signed, path: String, query: String, host: String, _ id: String, _ secret: String, _ region: String,
        _ comment: String
    ) throws {
        var headers = Dictionary(
            request.headers.map { ($0.key.lowercased(), $0.value) }, uniquingKeysWith: { first, _ in first })
        headers["host"] = host
        let authorization = try #require(headers["authorization"])
        let signed = try #require(
            authorization.components(separatedBy: "SignedHeaders=").last?.prefix { $0 != "," }.split(separator: ";"))
        let parameters = query.split(separator: "?", maxSplits: 1).dropFirst().first.map { text in
            text.split(separator: "&").map { parameter in
                let parts = parameter.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                    .map { $0.replacing("+", with: " ").removingPercentEncoding ?? "" }
                return (name: parts[0], value: parts.count > 1 ? parts[1] : "")
            }
        }
        let date = try #require(headers["x-amz-date"])
        let ours = SignatureV4(region: region).authorization(
            for: SignatureV4.Message(
                method: request.method, path: path, query: parameters ?? [],
                headers: try signed.map { (String($0), try #require(headers[String($0)])) },
                payloadHash: try #require(headers["x-amz-content-sha256"])),
            accessKeyID: id, secretAccessKey: Secret(secret), at: try time(date))
        #expect(ours == authorization, "\(comment)")
    }

    /// `20150830T123600Z` as a time.
    private func time(_ text: String) throws -> Timestamp {
        let digits = Array(text)
        func part(_ range: Range<Int>) -> String { String(digits[range]) }
        return try Timestamp(
            "\(part(0..<4))-\(part(4..<6))-\(part(6..<8))T\(part(9..<11)):\(part(11..<13)):\(part(13..<15))Z")
    }
}

/// Caches and requests of a real BuildKit.
