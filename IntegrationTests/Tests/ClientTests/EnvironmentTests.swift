@testable import BuildCacheHTTP
@testable import BuildCache
import NIOCore
import Synchronization
@testable import TestServers
import Testing

/// The tests of one environment for everything; the process's own variables must not count beside it.
@Suite("A client of specs with an environment of its own")
struct EnvironmentTests {
    /// Imports with these variables, and returns the requests that a server got.
    private func requests(
        _ cacheFrom: String, _ variables: @escaping @Sendable (_ address: String) -> [String: String]
    ) async throws -> [ServerRequest] {
        let log = Mutex<[ServerRequest]>([])
        try await withServer { request in
            log.withLock { $0.append(request) }
            guard request.headers["authorization"] != nil || request.path != "/v2/app/manifests/cache" else {
                return ServerResponse(401, headers: [("WWW-Authenticate", "Basic realm=\"test\"")])
            }
            if request.path == "/identity" {
                return ServerResponse(200, json: #"{"access_token":"mine","expires_on":"9999999999"}"#)
            }
            return ServerResponse(404)
        } _: { address in
            try await ScratchStore.withTemporary { scratch in
                let client = try CacheClient(
                    cacheFrom: [cacheFrom.replacing("ADDRESS", with: address)],
                    environment: Environment(variables(address)), scratch: scratch)
                _ = try await client.importCaches()
            }
        }
        return log.withLock { $0 }
    }

    @Test("signs with its AWS credentials, at its endpoint")
    func aws() async throws {
        let found = try await requests("type=s3,bucket=b,name=n") { address in
            [
                "AWS_ACCESS_KEY_ID": "MINE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1",
                "AWS_ENDPOINT_URL_S3": "http://\(address)",
            ]
        }
        #expect(!found.isEmpty)
        #expect(
            found.allSatisfy { $0.headers["authorization"]?.contains("Credential=MINE/") == true },
            "\(found.map(\.headers))")
    }

    @Test("gets Azure's token where it says")
    func azure() async throws {
        let found = try await requests("type=azblob,account_url=http://ADDRESS/account,account_name=account,name=n") {
            address in
            [
                "IDENTITY_ENDPOINT": "http://\(address)/identity", "IDENTITY_HEADER": "mine",
                "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL": "http://\(address)/account",
            ]
        }
        #expect(found.contains { $0.path == "/identity" && $0.headers["x-identity-header"] == "mine" })
        #expect(found.contains { $0.path.hasPrefix("/account") && $0.headers["authorization"] == "Bearer mine" })
    }

    @Test("logs in with its Docker config")
    func docker() async throws {
        let found = try await requests("type=registry,ref=ADDRESS/app:cache") { address in
            ["DOCKER_AUTH_CONFIG": #"{"auths":{"\#(address)":{"auth":"bWluZTpzZWNyZXQ="}}}"#]
        }
        #expect(found.last?.headers["authorization"] == "Basic bWluZTpzZWNyZXQ=")
    }

    @Test("sends through its proxy")
    func proxy() async throws {
        let found = try await requests("type=s3,bucket=b,name=n,endpoint_url=http://s3.example,use_path_style=true") {
            address in
            [
                "AWS_ACCESS_KEY_ID": "MINE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1",
                "HTTP_PROXY": "http://\(address)",
            ]
        }
        #expect(!found.isEmpty)
        #expect(found.allSatisfy { $0.host.hasPrefix("s3.example") }, "\(found.map(\.host))")
    }

    @Test("shares the connections of the process if its proxies and authorities are the same")
    func sharing() {
        let same = HTTPTransport.shared(for: Environment { Environment.process[$0] })
        let mine = Environment(["HTTP_PROXY": "http://proxy.example:3128"])
        #expect(same.isSame(as: .shared))
        #expect(!HTTPTransport.shared(for: mine).isSame(as: .shared))
        #expect(HTTPTransport.shared(for: mine).isSame(as: .shared(for: mine)))
    }
}
