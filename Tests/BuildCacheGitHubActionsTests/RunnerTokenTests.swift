@testable import BuildCacheGitHubActions
import BuildCacheCore
import TestTools
import Testing

@Suite("A runner's token")
struct RunnerTokenTests {
    /// A token with these claims, which nobody signed.
    private func text(_ claims: String) -> Secret<String> {
        Secret("e30." + Base64.encodeForURL(Array(claims.utf8)) + ".c2ln")
    }

    private static let now = Timestamp(seconds: 1_790_000_000) ?? .zero

    @Test("names its scopes, of which the last writable one is written and its own are read first")
    func scopes() throws {
        let access =
            #"[{\"Scope\":\"refs/heads/main\",\"Permission\":1},{\"Scope\":\"refs/heads/a\",\"Permission\":3},"#
            + #"{\"Scope\":\"refs/heads/b\",\"Permission\":2},{\"Scope\":\"refs/heads/c\",\"Permission\":3}]"#
        let token = try RunnerToken(text(#"{"nbf":1.5,"exp":1790000001,"ac":"\#(access)","x":[{}]}"#))
        #expect(token.writeScope?.name == "refs/heads/c")
        #expect(token.readScopes.map(\.name) == ["refs/heads/c", "refs/heads/a", "refs/heads/main"])
        try token.check(Self.now)
    }

    @Test("is valid from its beginning on and before its end")
    func times() throws {
        let token = try RunnerToken(text(#"{"nbf":1789999999,"exp":1790000001,"ac":"[]"}"#))
        for (seconds, isValid) in [(-2, false), (-1, true), (0, true), (1, false), (2, false)] {
            let time = Timestamp(seconds: Self.now.seconds + Int64(seconds)) ?? .zero
            if isValid {
                try token.check(time)
            } else {
                let error = #expect(throws: CacheError.self) { try token.check(time) }
                #expect(error?.code == .denied)
            }
        }
        #expect(token.writeScope == nil)
    }

    @Test(
        "is refused without what it needs, and not repeated",
        arguments: [
            "", "a.b", "a.b.c.d", "a.!!.c", "e30.bm8ganNvbg.x",
        ])
    func malformed(_ text: String) {
        let error = #expect(throws: CacheError.self) { try RunnerToken(Secret(text)) }
        #expect(error?.code == .invalidSpec)
        #expect(text.isEmpty || error?.message.contains(text) == false)
    }

    @Test(
        "is refused with claims that are missing or of another kind",
        arguments: [
            #"{"nbf":1,"exp":2}"#, #"{"ac":"[]","exp":2}"#, #"{"ac":"[]","nbf":1}"#, #"{"ac":[],"nbf":1,"exp":2}"#,
            #"{"ac":"{","nbf":1,"exp":2}"#, #"{"ac":"[1]","nbf":1,"exp":2}"#, #"{"ac":"[]","nbf":"1","exp":2}"#,
            #"{"ac":"[]","nbf":1,"exp":1e300}"#, #"[]"#,
        ])
    func claims(_ claims: String) {
        let error = #expect(throws: CacheError.self) { try RunnerToken(text(claims)) }
        #expect(error?.code == .invalidSpec)
    }
}

@Suite("A key at GitHub")
struct GitHubKeysTests {
    @Test("is the one that BuildKit has")
    func golden() throws {
        #expect(GitHubKeys.version == "693bb7016429d80366022f036f84856888c9f13e00145f5f6f4dce303a38d6f2")
        #expect(GitHubKeys.index("buildkit", in: "refs/heads/main") == "index-buildkit-1-f921bd05")
        #expect(GitHubKeys.index("x", in: "") == "index-x-1-e3b0c442")
        let digest = Digest(of: [])
        #expect(GitHubKeys.blob(digest) == "buildkit-blob-1-\(digest)")
    }

    @Test("has the number of its version, and no other key has one")
    func numbers() {
        #expect(GitHubKeys.number(of: "index-a-1-12345678#12", in: "index-a-1-12345678") == 12)
        for key in [
            "index-a-1-12345678-sig#3", "index-a-1-12345678", "index-a-1-12345678#", "index-a-1-12345678#1x",
            "index-a-1-12345678#-1", "xindex-a-1-12345678#1", "index-a-1-12345678#9223372036854775807",
        ] {
            #expect(GitHubKeys.number(of: key, in: "index-a-1-12345678") == nil, "\(key)")
        }
    }
}

@Suite("The budget of uploads")
struct UploadBudgetTests {
    @Test("gives out two hundred at once, and in no minute more")
    func minute() async throws {
        let clock = ImmediateClock()
        let budget = UploadBudget(clock: clock)
        let start = clock.now
        for _ in 0..<200 { try await budget.take() }
        #expect(start.duration(to: clock.now) == .zero)
        var taken = [Duration](repeating: .zero, count: 200)
        for _ in 0..<500 {
            try await budget.take()
            taken.append(start.duration(to: clock.now))
        }
        for (early, late) in zip(taken, taken.dropFirst(200)) { #expect(late - early >= .seconds(60)) }
        #expect(taken.last == .seconds(180))
    }

    @Test("lets those who wait go in turn")
    func turns() async throws {
        let clock = ImmediateClock()
        let budget = UploadBudget(limit: 1, clock: clock)
        let start = clock.now
        for _ in 0..<5 { try await budget.take() }
        #expect(start.duration(to: clock.now) == .seconds(240))
    }
}
