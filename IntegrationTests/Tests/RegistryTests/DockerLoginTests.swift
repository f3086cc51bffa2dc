@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheSpec
@testable import BuildCacheTesting
import Foundation
import Synchronization
@testable import TestServers
import Testing

@testable import BuildCacheRegistry

/// A `config.json` that cannot be used, in a folder of its own.
private struct UnusableConfig: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var make: @Sendable (_ path: String) throws -> Void

    private static func text(_ description: String, _ text: String) -> UnusableConfig {
        UnusableConfig(testDescription: description) { try write(text, to: $0) }
    }

    static let all = [
        UnusableConfig(testDescription: "a directory") {
            try FileManager.default.createDirectory(atPath: $0, withIntermediateDirectories: true)
        },
        UnusableConfig(testDescription: "a link to itself") {
            try FileManager.default.createSymbolicLink(atPath: $0, withDestinationPath: $0)
        },
        UnusableConfig(testDescription: "a pipe") { mkfifo($0, 0o600) },
        text("cut off", #"{"auths":{"127.0.0.1":{"auth":"c2VjcmV0"}}"#),
        text("a byte order mark before JSON", "\u{FEFF}{}"),
        text("not JSON", "auths: {}"),
        text("a list", "[]"),
        text("logins that are a list", #"{"auths":[]}"#),
        text("a number for a login", #"{"auths":{"127.0.0.1":5}}"#),
        text("nested without end", String(repeating: #"{"auths":"#, count: 100_000)),
    ]
}

@Suite("Docker's configuration")
struct DockerConfigTests {
    /// Asks for a blob that does not exist, as a user with this environment.
    private func ask(_ gate: LoginGate, _ environment: [String: String]) async throws -> CacheError? {
        let failure = Mutex<CacheError?>(nil)
        try await withServer(gate.respond) { address in
            let credentials = RegistryCredentials.docker(environment: Environment(environment))
            try await RegistryClient.forTests(credentials: credentials) { client in
                let repository = try await RegistryRepository(try Reference("\(address)/app:latest"), client: client)
                do { _ = try await repository.stat(Digest(of: Array("nothing".utf8))) } catch let error as CacheError {
                    failure.withLock { $0 = error }
                }
            }
        }
        return failure.withLock { $0 }
    }

    private var anonymousGate: LoginGate { LoginGate(.anonymousToken, FakeRegistry().respond) }

    @Test("that cannot be used is passed over at a registry that lets everyone in", arguments: UnusableConfig.all)
    private func unusable(_ config: UnusableConfig) async throws {
        try await withTemporaryFolder { folder in
            try config.make(folder + "/config.json")
            #expect(try await ask(anonymousGate, ["DOCKER_CONFIG": folder]) == nil)
        }
    }

    @Test(
        "that cannot be used is named, without its content, when a registry then refuses", arguments: UnusableConfig.all
    )
    private func refused(_ config: UnusableConfig) async throws {
        try await withTemporaryFolder { folder in
            try config.make(folder + "/config.json")
            let gate = LoginGate(.basic, FakeRegistry().respond)
            let error = try #require(try await ask(gate, ["DOCKER_CONFIG": folder]))
            #expect(error.code == .denied)
            #expect(error.message.contains("\(folder)/config.json is not used"))
            #expect(error.message.contains("docker login"))
            #expect(!error.message.contains("c2VjcmV0"))
        }
    }

    @Test("gives the cache a warning where it cannot be used", arguments: UnusableConfig.all.prefix(1))
    private func warns(_ config: UnusableConfig) async throws {
        try await withTemporaryFolder { folder in
            try config.make(folder + "/config.json")
            let credentials = RegistryCredentials.docker(environment: Environment(["DOCKER_CONFIG": folder]))
            try await withServer(anonymousGate.respond) { address in
                try await RegistryClient.forTests(credentials: credentials) { client in
                    try await ScratchStore.withTemporary { scratch in
                        let cache = RegistryCache(
                            RegistryOptions(ref: try Reference("\(address)/app:cache")), scratch: scratch,
                            client: client)
                        let sample = try SampleCache.diamond()
                        let receipt = try await cache.exportCache(
                            sample.graph, from: sample.source, progress: .discarded)
                        let known = try #require(try await cache.importCache(progress: .discarded))
                        for problems in [receipt.problems, known.problems] {
                            #expect(problems.contains { $0.message.contains("\(folder)/config.json is not used") })
                        }
                    }
                }
            }
        }
    }

    @Test("without content is an empty one", arguments: ["", "\n", " \t\r\n"])
    func empty(_ text: String) async throws {
        try await withTemporaryFolder { folder in
            try write(text, to: folder + "/config.json")
            let answer = try await DockerLogins(environment: Environment(["DOCKER_CONFIG": folder])).login(
                to: "a.example")
            #expect(answer.credential == nil)
            #expect(answer.problems == [])
        }
    }

    @Test("that another user owns is passed over", .enabled(if: geteuid() != 0, "root reads all files"))
    func forbidden() async throws {
        try await withTemporaryFolder { folder in
            try write("{}", to: folder + "/config.json")
            try FileManager.default.setAttributes([.posixPermissions: 0], ofItemAtPath: folder + "/config.json")
            #expect(try await ask(anonymousGate, ["DOCKER_CONFIG": folder]) == nil)
        }
    }

    @Test("in DOCKER_AUTH_CONFIG that cannot be used leaves the file's login")
    func variable() async throws {
        try await withTemporaryFolder { folder in
            try write(dockerConfig("a.example"), to: folder + "/config.json")
            let logins = DockerLogins(
                environment: Environment(["DOCKER_CONFIG": folder, "DOCKER_AUTH_CONFIG": #"{"auths":{"c2VjcmV0""#]))
            let answer = try await logins.login(to: "a.example")
            #expect(answer.credential == .password(user: LoginGate.user, Secret(LoginGate.password)))
            #expect(answer.problems.count == 1)
            #expect(answer.problems[0].hasPrefix("DOCKER_AUTH_CONFIG is not used: "))
            #expect(!answer.problems[0].contains("c2VjcmV0"))
        }
    }

    @Test("with one login that cannot be used has the others")
    func oneLogin() async throws {
        try await withTemporaryFolder { folder in
            try write(
                #"{"auths":{"a.example":{"auth":"%"},"b.example":{"username":"u","password":"p"}}}"#,
                to: folder + "/config.json")
            let logins = DockerLogins(environment: Environment(["DOCKER_CONFIG": folder]))
            let (broken, good) = (try await logins.login(to: "a.example"), try await logins.login(to: "b.example"))
            #expect(broken.credential == nil)
            #expect(broken.problems.first?.contains("invalid \"auth\" for a.example") == true)
            #expect(good.credential == .password(user: "u", Secret("p")))
        }
    }

    @Test(
        "of Docker Hub serves the registries that Docker Hub backs, unless they have a login",
        arguments: ["dhi.io", "registry.scout.docker.com"])
    func hubBacked(_ domain: String) async throws {
        try await withTemporaryFolder { folder in
            let logins = DockerLogins(environment: Environment(["DOCKER_CONFIG": folder]))
            try write(dockerConfig("https://index.docker.io/v1/", "hub"), to: folder + "/config.json")
            #expect(try await logins.login(to: domain).credential == .password(user: "hub", Secret(LoginGate.password)))
            #expect(try await logins.login(to: "other.example").credential == nil)
            try write(dockerConfig(domain, "own"), to: folder + "/config.json")
            #expect(try await logins.login(to: domain).credential == .password(user: "own", Secret(LoginGate.password)))
        }
    }
}

@Suite("A login that buildx keeps for a scope")
struct ScopedLoginTests {
    /// The folder whose login counts for a repository, of folders of these names; its name is the password.
    private func login(
        _ folders: [String], _ scopes: [String], domain: String = "reg.example:5000", base: String = "/buildx"
    ) async throws -> String? {
        try await withTemporaryFolder { folder in
            let key = domain == "docker.io" ? "https://index.docker.io/v1/" : domain
            try write(dockerConfig(key, "user", "registry"), to: folder + "/config.json")
            for name in folders {
                try write(dockerConfig(key, "user", name), to: "\(folder)\(base)/config/\(name)/config.json")
            }
            var environment = ["DOCKER_CONFIG": folder]
            if base != "/buildx" { environment["BUILDX_CONFIG"] = folder + base }
            let logins = DockerLogins(environment: Environment(environment))
            let (narrow, problems) = try await logins.login(to: domain, for: AuthScopes(scopes))
            #expect(problems == [])
            guard let narrow else { return nil }
            guard case .password(_, let password) = narrow.credential else { return "none" }
            return password.exposed
        }
    }

    // As buildx's own tests have it, with a host that has a port.
    private static let cases: [(folder: String, scopes: [String], matches: Bool)] = [
        ("reg.example:5000", ["repository:foo/bar:pull"], true),
        ("reg.example:5000/foo/bar", ["repository:foo/bar:pull"], true),
        ("reg.example:5000/foo/bar@", ["repository:foo/bar:pull"], true),
        ("reg.example:5000/foo/bar@a,b", ["repository:foo/bar:pull"], false),
        ("reg.example:5000/foo/bar@push", ["repository:foo/bar:pull,push"], true),
        ("reg.example:5000/foo/bar@push", ["repository:foo/bar:pull"], false),
        ("reg.example:5000/foo/bar@push", ["repository:foo/bar2:pull,push"], false),
        ("reg.example:5000/foo/bar@push,pull", ["repository:foo/bar:pull,push"], true),
        ("reg.example:5000/foo/bar@pull", ["repository:foo/bar:"], false),
        ("reg.example:5000@push", ["repository:foo/bar:pull,push"], true),
        ("reg.example:5000@push", ["repository:foo/bar:pull"], false),
        ("reg.example:5000/@push", ["repository:foo/bar:pull,push"], true),
        // A login for a namespace does not exist: buildx compares whole names.
        ("reg.example:5000/foo", ["repository:foo/bar:pull"], false),
        ("reg.example/foo/bar", ["repository:foo/bar:pull"], false),
        // Only questions about one repository have a login of their own.
        ("reg.example:5000/foo/bar", ["repository:foo/bar:pull", "repository:other:pull"], false),
        ("reg.example:5000", ["registry:catalog:*"], false),
    ]

    @Test("counts where buildx takes it", arguments: cases.indices)
    func matches(_ index: Int) async throws {
        let (folder, scopes, matches) = Self.cases[index]
        #expect(try await login([folder], scopes) == (matches ? folder : nil))
    }

    @Test("for a repository goes before one for a registry, and one for more actions before one for fewer")
    func order() async throws {
        let host = "reg.example:5000"
        let folders = [
            host, "\(host)@pull", "\(host)@pull,push", "\(host)/app", "\(host)/app@push", "\(host)/app@pull,push",
        ]
        let scopes = ["repository:app:pull,push"]
        var remaining = folders
        var order: [String] = []
        for _ in folders {
            guard let next = try await login(remaining, scopes) else { break }
            order.append(next)
            remaining.removeAll { $0 == next }
        }
        #expect(order == folders.reversed())
    }

    @Test("is looked for in BUILDX_CONFIG, and under the name of Docker Hub's API")
    func places() async throws {
        let folder = "registry-1.docker.io/library/app"
        let scopes = ["repository:library/app:pull"]
        #expect(try await login([folder], scopes, domain: "docker.io", base: "/elsewhere") == folder)
        #expect(try await login(["docker.io/library/app"], scopes, domain: "docker.io") == nil)
    }

    @Test(
        "of Docker Hub counts for a registry that Docker Hub backs, unless that has a login", arguments: [true, false])
    func hubBacked(_ hasOwn: Bool) async throws {
        try await withTemporaryFolder { folder in
            let hub = "https://index.docker.io/v1/"
            try write(dockerConfig(hasOwn ? "dhi.io" : hub, "user", "wide"), to: folder + "/config.json")
            let scoped = folder + "/buildx/config/registry-1.docker.io/org/image@pull/config.json"
            try write(dockerConfig(hub, "user", "narrow"), to: scoped)
            let logins = DockerLogins(environment: Environment(["DOCKER_CONFIG": folder]))
            let (narrow, _) = try await logins.login(to: "dhi.io", for: .pull("org/image"))
            #expect(narrow?.credential == (hasOwn ? nil : .password(user: "user", Secret("narrow"))))
        }
    }

    @Test("counts though it has no credentials for the registry")
    func withoutCredentials() async throws {
        try await withTemporaryFolder { folder in
            try write("{}", to: folder + "/buildx/config/a.example/app/config.json")
            try write(dockerConfig("a.example"), to: folder + "/config.json")
            let logins = DockerLogins(environment: Environment(["DOCKER_CONFIG": folder]))
            let (narrow, _) = try await logins.login(to: "a.example", for: .pull("app"))
            #expect(narrow != nil)
            #expect(narrow?.credential == nil)
        }
    }

    @Test("that cannot be read leaves the registry's, with a problem that names the file")
    func unusable() async throws {
        try await withTemporaryFolder { folder in
            try write("{", to: folder + "/buildx/config/a.example/app/config.json")
            let logins = DockerLogins(environment: Environment(["DOCKER_CONFIG": folder]))
            let (narrow, problems) = try await logins.login(to: "a.example", for: .pull("app"))
            #expect(narrow == nil)
            #expect(problems.first?.contains("a.example/app/config.json is not used") == true)
        }
    }

    @Test(
        "is shown for its repository, and the registry's for others",
        arguments: [LoginGate.Way.basic, .token(takesPost: true)])
    func shown(_ way: LoginGate.Way) async throws {
        let gate = LoginGate(way, lifetime: 1 << 20, FakeRegistry().respond)
        try await withTemporaryFolder { folder in
            try await withServer(gate.respond) { address in
                try write(dockerConfig(address, "other"), to: folder + "/config.json")
                try write(dockerConfig(address), to: "\(folder)/buildx/config/\(address)/team/app@pull/config.json")
                let credentials = RegistryCredentials.docker(environment: Environment(["DOCKER_CONFIG": folder]))
                try await RegistryClient.forTests(credentials: credentials) { client in
                    let nothing = Digest(of: Array("nothing".utf8))
                    let app = try await RegistryRepository(try Reference("\(address)/team/app:latest"), client: client)
                    let other = try await RegistryRepository(
                        try Reference("\(address)/team/other:latest"), client: client)
                    let stat = try await app.stat(nothing)
                    #expect(stat == nil)
                    let error = await #expect(throws: CacheError.self) { try await other.stat(nothing) }
                    #expect(error?.code == .denied)
                    let again = try await app.stat(nothing)
                    #expect(again == nil)
                }
            }
        }
    }
}
