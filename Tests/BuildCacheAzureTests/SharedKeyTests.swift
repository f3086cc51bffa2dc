import BuildCacheAzure
import BuildCacheCore
import Foundation
import NIOHTTP1
import TestTools
import Testing

@Suite("A signature with an account's key")
struct SharedKeyTests {
    /// A request that somebody else signed.
    struct Vector: Sendable, CustomTestStringConvertible {
        var method: String
        var target: String
        var headers: [String: String]
        var length: Int64
        var authorization: String
        var account: String
        var key: String
        var testDescription: String { "\(method) \(target)" }

        /// What our key makes of it.
        func sign() throws -> String {
            var fields = HTTPHeaders()
            for (name, value) in headers where name.lowercased() != "authorization" {
                fields.add(name: name, value: value)
            }
            let key = try SharedKey(account: account, key: Secret(key))
            return key.authorization(
                HTTPMethod(rawValue: method), try ServiceURL("http://host" + target), fields, length: length
            ).exposed
        }
    }

    /// Requests that BuildKit sent, signed by Microsoft's library for Go.
    static let fromBuildKit: [Vector] = {
        struct File: Decodable {
            struct Signed: Decodable {
                struct Request: Decodable {
                    var method: String
                    var target: String
                    var headers: [String: String]
                    var expectAuthorization: String
                }
                var account: String
                var key: String
                var requests: [Request]
            }
            var azureSharedKey: Signed
        }
        let decoder = JSONDecoder()
        // Names of headers have no underscores.
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        guard
            let data = FileManager.default.contents(
                atPath: FixtureArchive.buildkit.path + "/http-traces/signature-vectors.json"),
            let file = try? decoder.decode(File.self, from: data)
        else { return [] }
        let signed = file.azureSharedKey
        return signed.requests.map { request in
            Vector(
                method: request.method, target: request.target, headers: request.headers,
                length: request.headers["Content-Length"].flatMap { Int64($0) } ?? 0,
                authorization: request.expectAuthorization, account: signed.account, key: signed.key)
        }
    }()

    @Test("is the one that BuildKit sends", arguments: fromBuildKit)
    func matchesBuildKit(_ vector: Vector) throws {
        #expect(try vector.sign() == vector.authorization)
    }

    @Test("covers method, headers in the service's order, path as sent and query as meant")
    func stringToSign() throws {
        let headers: HTTPHeaders = [
            "Content-Type": "text/plain", "X-MS-Meta-B2": "two ", "x-ms-meta-b_": "first", "x-ms-meta-b-1": "one",
            "x-ms-date": "Mon, 23 Nov 2026 04:32:05 GMT", "Date": "never", "Range": "bytes=0-1",
            "If-None-Match": "*", "User-Agent": "no matter",
        ]
        let text = SharedKey.stringToSign(
            account: "acct", .PUT, try ServiceURL("https://host/acct/a%2Fb:c?comp=list&b=2&b=1&A=x%20y"), headers,
            length: 12)
        #expect(
            text.split(separator: "\n", omittingEmptySubsequences: false) == [
                "PUT", "", "", "12", "", "text/plain", "", "", "", "*", "", "bytes=0-1",
                "x-ms-date:Mon, 23 Nov 2026 04:32:05 GMT", "x-ms-meta-b_:first", "x-ms-meta-b-1:one",
                "x-ms-meta-b2:two", "/acct/acct/a%2Fb:c", "a:x y", "b:1,2", "comp:list",
            ])
    }

    @Test("leaves out the length of nothing, and signs the root of the account")
    func emptyBody() throws {
        let text = SharedKey.stringToSign(account: "acct", .GET, try ServiceURL("https://host"), [:], length: 0)
        #expect(text == "GET" + String(repeating: "\n", count: 12) + "/acct/")
    }

    @Test("needs a key in base64, and does not repeat one that is not", arguments: ["", "no base64!"])
    func invalidKey(_ key: String) throws {
        let error = #expect(throws: CacheError.self) { try SharedKey(account: "acct", key: Secret(key)) }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.contains("no base64!") == false)
    }

    @Test(
        "is dated as HTTP has it",
        arguments: [
            ("1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("2024-02-29T23:59:59.999Z", "Thu, 29 Feb 2024 23:59:59 GMT"),
            ("2026-11-23T06:32:05+02:00", "Mon, 23 Nov 2026 04:32:05 GMT"),
            ("1969-12-31T12:00:00Z", "Wed, 31 Dec 1969 12:00:00 GMT"),
        ])
    func dates(_ time: String, _ text: String) throws {
        #expect(try Timestamp(time).httpDate == text)
    }
}
