@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheSpec
@testable import BuildCacheClient
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheGitHubActions

/// A runner's token that is valid now, with a text in the place of its signature.
private func runnerToken(_ signature: String = "hunter2") -> Secret<String> {
    let now = Timestamp.now().seconds
    let access = #"[{\"Scope\":\"refs/heads/main\",\"Permission\":3}]"#
    let claims = #"{"nbf":\#(now - 60),"exp":\#(now + 3600),"ac":"\#(access)"}"#
    return Secret("e30." + Base64.encodeForURL(Array(claims.utf8)) + "." + signature)
}

@Suite("A cache service that is not GitHub's", .timeLimit(.minutes(10)))
struct HostileCacheServiceTests {
    /// The code of the error of opening a store for a token and a URL, `nil` for success.
    private func code(
        _ url: String, token: Secret<String> = runnerToken(), variables: [String: String] = [:],
        allowed: CredentialHosts = .none
    ) throws -> CacheError.Code? {
        let client = GitHubActionsClient(allowedHosts: allowed, environment: Environment(variables))
        do throws(CacheError) {
            _ = try client.entries(GitHubActionsOptions(token: token, url: try ServiceURL(url)))
            return nil
        } catch {
            #expect(!error.debugDescription.contains("hunter2"))
            return error.code
        }
    }

    @Test(
        "does not get the token of the environment unless the environment names it, GitHub owns it, or the program allows it"
    )
    func origins() throws {
        let token = runnerToken()
        let mine = ["ACTIONS_RUNTIME_TOKEN": token.exposed]
        let evil = "https://evil.example/"
        for url in [
            evil, "http://evil.example/", "https://actions.githubusercontent.com.evil.example/", "http://127.0.0.1:1/",
        ] {
            #expect(try code(url, token: token, variables: mine) == .denied, "\(url)")
        }
        #expect(
            try code("https://results-receiver.actions.githubusercontent.com/", token: token, variables: mine) == nil)
        #expect(
            try code("http://results-receiver.actions.githubusercontent.com/", token: token, variables: mine) == .denied
        )
        // Runners of others have services in their own network, which they name, and which do not speak TLS.
        let runner = "http://172.17.0.2:38499/"
        for name in ["ACTIONS_RESULTS_URL", "ACTIONS_CACHE_URL"] {
            let named = mine.merging([name: runner]) { $1 }
            #expect(try code(runner + "prefix/", token: token, variables: named) == nil)
            #expect(try code(evil, token: token, variables: named) == .denied)
        }
        #expect(try code(evil, token: token, variables: mine, allowed: ["evil.example"]) == nil)
        #expect(try code("http://evil.example/", token: token, variables: mine, allowed: .any) == nil)
    }

    @Test("gets a token that came with its URL, over TLS or on this machine")
    func explicit() throws {
        let other = ["ACTIONS_RUNTIME_TOKEN": runnerToken("another").exposed]
        #expect(try code("https://mine.example/", variables: other) == nil)
        #expect(try code("http://127.0.0.1:1/", variables: other) == nil)
        #expect(try code("http://mine.example/", variables: other) == .denied)
    }

    @Test("gets no token with a line break in it", arguments: ["\n", "\r", "\0"])
    func lineBreaks(_ end: String) async throws {
        let requests = Mutex(0)
        try await withServer { _ in
            requests.withLock { $0 += 1 }
            return ServerResponse(200)
        } _: { address in
            let url = try ServiceURL("http://\(address)/")
            let client = GitHubActionsClient(api: url, environment: .empty, transport: .shared)
            let options = GitHubActionsOptions(
                token: runnerToken("hunter2" + end), url: url, repository: "a/b", ghtoken: Secret("hunter2" + end))
            let store = try client.entries(options)
            let listing = try #require(client.listing(options))
            for call in [
                { _ = try await store.newest("index") },
                { _ = try await listing.entries("k", in: nil, retries: store.requests.makeRetries()) },
            ] as [@Sendable () async throws -> Void] {
                let error = await #expect(throws: CacheError.self) { try await call() }
                #expect(error?.code == .invalidSpec)
                #expect(error?.debugDescription.contains("hunter2") == false)
            }
        }
        #expect(requests.withLock { $0 } == 0)
    }

    // MARK: Lists and numbers

    private func withListing(
        _ limits: ListLimits = ListLimits(), _ respond: @escaping @Sendable (ServerRequest) -> ServerResponse,
        _ body: @escaping @Sendable (GitHubListing, Retries) async throws -> Void
    ) async throws {
        try await withServer(respond) { address in
            var transport = HTTPTransport.shared
            transport.retryClock = ImmediateClock()
            transport.listLimits = limits
            let listing = GitHubListing(
                transport: transport, api: try ServiceURL("http://\(address)"), repository: "a/b", token: Secret("t"))
            try await body(listing, transport.retries())
        }
    }

    @Test("cannot make a list go on for ever")
    func endlessLists() async throws {
        var limits = ListLimits()
        limits.entries = 20
        let pages = Mutex(0)
        try await withListing(limits) { _ in
            pages.withLock { $0 += 1 }
            return ServerResponse(
                200, json: #"{"total_count":4000000,"actions_caches":[{"id":1,"key":"k","version":"v"}]}"#)
        } _: { listing, retries in
            let error = await #expect(throws: CacheError.self) {
                try await listing.entries("k", in: nil, retries: retries)
            }
            #expect(error?.code == .limitExceeded)
        }
        #expect(pages.withLock { $0 } == 21)
    }

    @Test(
        "may write any number in a list: it is within bounds, or the list is refused", arguments: OutsideNumbers.texts)
    func numbers(_ number: String) async throws {
        for key in ["total_count", "id", "size_in_bytes"] {
            let entry = #"{"id":1,"key":"k","version":"\#(GitHubKeys.version)","\#(key)":\#(number)}"#
            let total = key == "total_count" ? number : "1"
            var limits = ListLimits()
            limits.pages = 3
            try await withListing(limits) { _ in
                ServerResponse(200, json: #"{"total_count":\#(total),"actions_caches":[\#(entry)]}"#)
            } _: { listing, retries in
                do {
                    let entries = try await listing.entries("k", in: nil, retries: retries)
                    #expect(entries.count == 1)
                    #expect(entries.allSatisfy { $0.number >= 0 && (0...Descriptor.maximumSize).contains($0.size) })
                } catch let error as CacheError {
                    #expect([.corrupted, .busy, .limitExceeded].contains(error.code))
                }
            }
        }
    }

    @Test("may write any number as that of an entry or as a time of a token", arguments: OutsideNumbers.texts)
    func reservations(_ number: String) async throws {
        try await withServer { _ in
            ServerResponse(201, json: #"{"cacheId":\#(number)}"#)
        } _: { address in
            let options = GitHubActionsOptions(token: runnerToken(), url: try ServiceURL("http://\(address)/"))
            let store = try GitHubActionsClient(environment: .empty).entries(options)
            do {
                let reservation = try await store.service.reserve("k", retries: store.requests.makeRetries())
                guard case .number(let entry) = reservation else {
                    Issue.record("no number")
                    return
                }
                #expect(entry > 0)
            } catch let error as CacheError {
                #expect([.corrupted, .unsupported].contains(error.code))
            }
        }
        for claims in [#"{"nbf":\#(number),"exp":2,"ac":"[]"}"#, #"{"nbf":1,"exp":\#(number),"ac":"[]"}"#] {
            let text = Secret("e30." + Base64.encodeForURL(Array(claims.utf8)) + ".c2ln")
            do throws(CacheError) { _ = try RunnerToken(text) } catch { #expect(error.code == .invalidSpec) }
        }
    }

    @Test("cannot make the search for the last version of an index go on for ever")
    func endlessVersions() async throws {
        let lookups = Mutex(0)
        try await withServer { request in
            lookups.withLock { $0 += 1 }
            // Every version that is asked for exists.
            let key = request.query["keys"] ?? ""
            return ServerResponse(
                200,
                json:
                    #"{"cacheKey":"\#(key.hasSuffix("#") ? key + "1" : key)","archiveLocation":"http://\#(request.host)/x"}"#
            )
        } _: { address in
            let options = GitHubActionsOptions(token: runnerToken(), url: try ServiceURL("http://\(address)/"))
            var store = try GitHubActionsClient(environment: .empty).entries(options)
            store.maximumRounds = 20
            let limited = store
            let error = await #expect(throws: CacheError.self) {
                try await limited.publish("index", limit: 1 << 20, mergesOthers: true) { current, _, _ in
                    RawDocument(mediaType: .cacheConfig, bytes: current ?? [])
                }
            }
            #expect(error?.code == .limitExceeded)
        }
        #expect(lookups.withLock { $0 } < 400)
    }
}
