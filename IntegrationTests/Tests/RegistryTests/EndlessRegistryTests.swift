@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheTesting
@testable import TestServers
import Testing

@testable import BuildCacheRegistry

@Suite("A registry that goes on and on")
struct EndlessRegistryTests {
    @Test("with 401 gets at most 20 requests", arguments: ["Basic realm=\"x\"", "Bearer realm=\"http://%/token\""])
    func refusals(_ challenge: String) async throws {
        let registry = FakeRegistry()
        registry.manners.fault = { number, request in
            if request.path == "/token" { return .answer(ServerResponse(200, json: #"{"token":"t\#(number)"}"#)) }
            let text = challenge.replacing("%", with: request.host)
            return .answer(ServerResponse(401, headers: [("WWW-Authenticate", text)]))
        }
        try await withServer(registry.respond) { address in
            try await RegistryClient.forTests(credentials: .right) { client in
                let repository = try await RegistryRepository(try Reference("\(address)/app:c"), client: client)
                let error = await #expect(throws: CacheError.self) { try await repository.stat(Digest(of: [])) }
                #expect(error?.code == .denied)
            }
        }
        #expect(registry.log.count { $0.path != "/token" } <= 20)
        #expect(registry.log.count { $0.path == "/token" } <= 20)
    }

    @Test("asking for more and more scopes gets at most those of 64 resources and actions, for one request")
    func scopes() async throws {
        let registry = FakeRegistry()
        registry.manners.fault = { number, request in
            if request.path == "/token" { return .answer(ServerResponse(200, json: #"{"token":"t\#(number)"}"#)) }
            let scopes = (0..<60).map { "repository:r\(number)-\($0):pull" }.joined(separator: " ")
            return .answer(
                ServerResponse(
                    401,
                    headers: [("WWW-Authenticate", "Bearer realm=\"http://\(request.host)/token\",scope=\"\(scopes)\"")]
                ))
        }
        try await withServer(registry.respond) { address in
            try await RegistryClient.forTests(credentials: .right) { client in
                for name in ["one", "two"] {
                    let repository = try await RegistryRepository(try Reference("\(address)/\(name):c"), client: client)
                    _ = try? await repository.stat(Digest(of: []))
                }
            }
        }
        let scopes = registry.log.filter { $0.path == "/token" && $0.method == "GET" }.map { request in
            request.parameters.filter { $0.name == "scope" }
        }
        #expect(scopes.allSatisfy { $0.count <= 64 })
    }

    @Test("redirecting a blob for ever ends after ten addresses")
    func redirects() async throws {
        let registry = FakeRegistry()
        registry.manners.fault = { number, _ in
            .answer(ServerResponse(307, headers: [("Location", "/v2/next/\(number)")]))
        }
        try await withRepository(registry, attempts: 2) { repository, _, _ in
            let error = await #expect(throws: CacheError.self) { try await repository.stat(Digest(of: [])) }
            #expect(error?.code == .unsupported)
            #expect(registry.log.count <= 22)
        }
    }

    @Test("naming another address for each part of an upload is followed, and ends")
    func locations() async throws {
        let registry = FakeRegistry()
        registry.manners.usesRelativeLocations = true
        try await withRepository(registry, profile: RegistryProfile(upload: .chunks(1000)), resumableSize: 1000) {
            repository, _, _ in
            let blob = makeBlob(9500)
            try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            #expect(registry.methods.count { $0 == "PATCH" } == 10)
        }
    }

    @Test("breaking off each answer of a manifest ends after the tries that there are")
    func manifests() async throws {
        let registry = FakeRegistry()
        registry.manners.fault = { _, _ in
            var response = ServerResponse(200, headers: [("Content-Type", "application/json")], body: Array("{}".utf8))
            response.announcedLength = 1000
            return .answer(response)
        }
        try await withRepository(registry, attempts: 6) { repository, _, _ in
            let error = await #expect(throws: CacheError.self) { try await repository.manifest(.tag("c")) }
            #expect(error?.retry == .exhausted)
            #expect(registry.log.count == 6)
        }
    }
}
