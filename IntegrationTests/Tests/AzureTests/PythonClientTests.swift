@testable import BuildCacheAzure
@testable import BuildCacheCore
@testable import BuildCacheTestServers
import Foundation
import NIOHTTP1
@testable import TestTools
import Testing

/// Microsoft's client for Python, which `make tools` installs.
private enum PythonClient {
    static func isInstalled() async -> Bool {
        (try? await Tool.python.output("-c", "import azure.storage.blob")) != nil
    }

    static func run(_ script: String, _ arguments: [String]) async throws -> [UInt8] {
        let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return try await Tool.python.output([package.path + "/PythonClient/" + script] + arguments)
    }

    static func newKey() -> String {
        String(decoding: Base64.encode((0..<64).map { _ in UInt8.random(in: .min ... .max) }), as: UTF8.self)
    }
}

@Suite("Microsoft's own client", .enabled { await PythonClient.isInstalled() })
struct PythonClientTests {
    @Test("finds in our server what it expects of Azure")
    func server() async throws {
        try await AzureBlobServer().run { server, url in
            let output = try await PythonClient.run(
                "use_client.py", [url.base, server.key.exposed, PythonClient.newKey()])
            let lines = String(decoding: output, as: UTF8.self).split(separator: "\n")
            #expect(lines.filter { !$0.hasPrefix("ok ") } == [])
            #expect(lines.count == 34)
        }
    }

    @Test("signs every kind of request as we do")
    func signatures() async throws {
        struct Request: Decodable {
            var method: String
            var url: String
            var headers: [String: String]
        }
        let key = PythonClient.newKey()
        let output = try await PythonClient.run("sign_requests.py", [key])
        let requests = try JSONDecoder().decode([Request].self, from: Data(output))
        #expect(requests.count == 104)
        for request in requests {
            let theirs = try #require(request.headers["Authorization"])
            let account = try #require(theirs.dropFirst("SharedKey ".count).split(separator: ":").first)
            var headers = HTTPHeaders()
            for (name, value) in request.headers where name != "Authorization" { headers.add(name: name, value: value) }
            let ours = try SharedKey(account: String(account), key: Secret(key)).authorization(
                HTTPMethod(rawValue: request.method), try ServiceURL(request.url), headers,
                length: request.headers["Content-Length"].flatMap { Int64($0) } ?? 0)
            #expect(ours.exposed == theirs, "\(request.method) \(request.url)")
        }
    }
}
