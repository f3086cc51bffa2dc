@testable import BuildCacheCore
@testable import BuildCacheHTTP
import Synchronization
@testable import TestServers
import Testing

@testable import BuildCacheRegistry

@Suite("A registry that is not what it seems", .timeLimit(.minutes(10)))
struct HostileTokenServerTests {
    private func challenge(_ address: String) -> ServerResponse {
        ServerResponse(401, headers: [("WWW-Authenticate", "Bearer realm=\"http://\(address)/token\",service=\"s\"")])
    }

    private func error(
        _ address: String, _ credential: RegistryCredential, logging lines: LogLines = LogLines(),
        limits: ListLimits? = nil,
        _ call: @Sendable (RegistryRepository) async throws -> Void
    ) async throws -> CacheError? {
        var transport = HTTPTransport.shared
        transport.retry = .none
        transport.logger = lines.logger
        if let limits { transport.listLimits = limits }
        let client = RegistryClient(
            settings: RegistrySettings(credentials: RegistryCredentials { _ in credential }), transport: transport)
        let repository = try await RegistryRepository(try Reference("\(address)/app:latest"), client: client)
        do {
            try await call(repository)
            return nil
        } catch let error as CacheError {
            #expect(!error.debugDescription.contains("hunter2"))
            return error
        }
    }

    @Test(
        "cannot send a password or a refresh token to another host by a redirect of its token server",
        arguments: [307, 308], [true, false])
    func redirects(_ status: Int, _ isPassword: Bool) async throws {
        let stolen = Mutex(0)
        let credential: RegistryCredential =
            isPassword ? .password(user: "alice", Secret("hunter2")) : .identityToken(Secret("hunter2"))
        try await withServer { _ in
            stolen.withLock { $0 += 1 }
            return ServerResponse(200, json: #"{"token":"t"}"#)
        } _: { thief in
            try await withServer { request in
                request.path == "/token"
                    ? ServerResponse(status, headers: [("Location", "http://\(thief)/stolen")])
                    : challenge(request.host)
            } _: { address in
                let error = try await error(address, credential) { _ = try await $0.stat(Digest(of: [])) }
                #expect(error?.code == .denied)
            }
        }
        #expect(stolen.withLock { $0 } == 0)
    }

    @Test("gets no token with a line break in it, and no log does", arguments: ["\n", "\r", "\0"])
    func lineBreaks(_ end: String) async throws {
        let lines = LogLines()
        let shown = Mutex(0)
        try await withServer { request in
            if request.headers["authorization"] != nil { shown.withLock { $0 += 1 } }
            return challenge(request.host)
        } _: { address in
            let error = try await error(address, .registryToken(Secret("hunter2" + end)), logging: lines) {
                _ = try await $0.stat(Digest(of: []))
            }
            #expect(error?.code == .invalidSpec)
        }
        #expect(shown.withLock { $0 } == 0)
        #expect(lines.all.filter { $0.contains("hunter2") } == [])
    }

    @Test("cannot make a list of tags go on for ever, by tags or by pages without any", arguments: [true, false])
    func endlessTags(_ hasTags: Bool) async throws {
        let pages = Mutex(0)
        var limits = ListLimits()
        (limits.pages, limits.entries) = (50, 100)
        let few = limits
        try await withServer { request in
            let page = pages.withLock { count in
                count += 1
                return count
            }
            let tags = hasTags ? (0..<7).map { "\"t\(page)-\($0)\"" }.joined(separator: ",") : ""
            return ServerResponse(
                200, headers: [("Link", "</v2/app/tags/list?last=\(page)>; rel=\"next\"")], json: "{\"tags\":[\(tags)]}"
            )
        } _: { address in
            let error = try await error(address, .password(user: "a", Secret("b")), limits: few) {
                _ = try await $0.tags()
            }
            #expect(error?.code == .limitExceeded)
        }
        #expect(pages.withLock { $0 } == (hasTags ? 15 : 50))
    }

    @Test(
        "may name other pages before the next one of a list",
        arguments: [
            "</prev>; rel=\"prev\", </next?a=1>; rel=\"next\"", "</first>; rel=first,</next?a=1>; rel = next",
            "</next?a=1>; rel=\"next\", </last>; rel=\"last\"",
        ])
    func links(_ header: String) {
        #expect(RegistryRepository.nextPage(header) == "/next?a=1")
        #expect(RegistryRepository.nextPage("</prev>; rel=\"prev\"") == nil)
        #expect(RegistryRepository.nextPage("><") == nil)
    }

    @Test(
        "may write any number as the life of a token",
        arguments: [
            "0", "1", "-1", "2147483648", "4294967296", "9007199254740992", "9223372036854775807",
            "9223372036854775808",
            "18446744073709551616", "\"\"", "\" 1\"", "1e3", "\"NaN\"", "1.5",
        ])
    func lifetimes(_ number: String) async throws {
        try await withServer { request in
            if request.path == "/token" { return ServerResponse(200, json: #"{"token":"t","expires_in":\#(number)}"#) }
            return request.headers["authorization"] == "Bearer t" ? ServerResponse(404) : challenge(request.host)
        } _: { address in
            let error = try await error(address, .password(user: "alice", Secret("hunter2"))) {
                let stat = try await $0.stat(Digest(of: []))
                #expect(stat == nil)
            }
            #expect(error == nil)
        }
    }
}
