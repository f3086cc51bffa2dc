@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheRegistry
import Foundation
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

/// Asks for a blob that nobody has: all that can go wrong is the login.
private func ask(
    _ gate: LoginGate, _ credentials: RegistryCredentials, repositories: [String] = ["app"]
) async throws {
    try await withServer(gate.respond) { address in
        try await RegistryClient.forTests(credentials: credentials) { client in
            for name in repositories {
                let repository = try await RegistryRepository(
                    try Reference("\(address)/\(name):latest"), client: client)
                let answer = try await repository.stat(Digest(of: Array("nothing".utf8)))
                #expect(answer == nil)
            }
        }
    }
}

@Suite("A login")
struct LoginTests {
    private static let right = RegistryCredential.password(user: LoginGate.user, Secret(LoginGate.password))
    private static let wrong = RegistryCredential.password(user: LoginGate.user, Secret("wrong & secret"))

    private func gate(_ way: LoginGate.Way, pace: Int = 0) -> LoginGate {
        LoginGate(way, pace: pace, lifetime: 1 << 20, FakeRegistry().respond)
    }

    @Test("with a user and a password is shown once the registry asks for it")
    func basic() async throws { try await ask(gate(.basic), .right) }

    @Test("gets its token by POST, as OAuth 2 has it")
    func byPost() async throws {
        let gate = gate(.token(takesPost: true))
        try await ask(gate, .right)
        #expect(gate.methods == ["POST"])
    }

    @Test("gets its token by GET where the server takes no POST, and does not try again each time")
    func byGet() async throws {
        let gate = gate(.token(takesPost: false))
        try await ask(gate, .right, repositories: ["one", "two"])
        #expect(gate.methods == ["POST", "GET", "GET"])
    }

    @Test("takes an identity token for a refresh token")
    func identityToken() async throws {
        let gate = gate(.token(takesPost: true))
        try await ask(gate, RegistryCredentials { _ in .identityToken(Secret(LoginGate.refreshToken)) })
        #expect(gate.issued == 1)
    }

    @Test("asks for one token for as long as that is good")
    func keepsTokens() async throws {
        let gate = gate(.token(takesPost: true))
        try await ask(gate, .right, repositories: ["app", "app", "app"])
        #expect(gate.issued == 1)
    }

    @Test(
        "asks the caller again when the registry or its token server refuses what it gave",
        arguments: [LoginGate.Way.basic, .token(takesPost: true), .token(takesPost: false)])
    func asksAgain(_ way: LoginGate.Way) async throws {
        let questions = Mutex<[RegistryCredential?]>([])
        let credentials = RegistryCredentials { question in
            questions.withLock { $0.append(question.rejected) }
            return question.rejected == nil ? Self.wrong : Self.right
        }
        try await ask(gate(way), credentials, repositories: ["one", "two"])
        #expect(questions.withLock { $0 } == [nil, Self.wrong])
    }

    @Test(
        "with a token for the registry itself shows each token once, and asks the caller when one is refused",
        arguments: [true, false])
    func registryTokens(_ isReplaced: Bool) async throws {
        let shown = Mutex<[String]>([])
        let questions = Mutex<[RegistryCredential?]>([])
        let credentials = RegistryCredentials { question in
            questions.withLock { $0.append(question.rejected) }
            return .registryToken(Secret(question.rejected != nil && isReplaced ? "new" : "old"))
        }
        try await withServer { request in
            if let header = request.headers["authorization"] { shown.withLock { $0.append(header) } }
            if request.headers["authorization"] == "Bearer new" { return ServerResponse(404) }
            let challenge = "Bearer realm=\"http://\(request.host)/token\""
            return ServerResponse(401, headers: [("WWW-Authenticate", challenge)])
        } _: { address in
            try await RegistryClient.forTests(credentials: credentials) { client in
                let repository = try await RegistryRepository(try Reference("\(address)/app:latest"), client: client)
                if isReplaced {
                    #expect(try await repository.stat(Digest(of: [])) == nil)
                } else {
                    let error = await #expect(throws: CacheError.self) { try await repository.stat(Digest(of: [])) }
                    #expect(error?.code == .denied)
                }
            }
        }
        #expect(shown.withLock { $0 } == (isReplaced ? ["Bearer old", "Bearer new"] : ["Bearer old"]))
        #expect(questions.withLock { $0 } == [nil, .registryToken(Secret("old"))])
    }

    @Test("that fails says so without the password", arguments: [true, false])
    func redacts(_ isBasic: Bool) async throws {
        let gate = gate(isBasic ? .basic : .token(takesPost: true))
        let error = await #expect(throws: CacheError.self) {
            try await ask(gate, RegistryCredentials { _ in Self.wrong })
        }
        #expect(error?.code == .denied)
        #expect(error.map { "\($0)" }?.contains("secret") == false)
        #expect(error?.message.contains("credentials for") == true)
    }

    @Test("that nobody has says how to get one")
    func anonymous() async throws {
        let error = await #expect(throws: CacheError.self) { try await ask(gate(.basic), .anonymous) }
        #expect(error?.code == .denied)
        #expect(error?.message.contains("docker login") == true)
    }

    // MARK: Docker's configuration

    @Test("is found in DOCKER_AUTH_CONFIG, in config.json, and with the helper that it names", arguments: [0, 1, 2])
    func dockerConfiguration(_ place: Int) async throws {
        let gate = gate(.basic)
        let folder = NSTemporaryDirectory() + "build-cache-docker-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try await withServer(gate.respond) { address in
            let login = Data("\(LoginGate.user):\(LoginGate.password)".utf8).base64EncodedString()
            let auths = #"{"auths":{"\#(address)":{"auth":"\#(login)"}}}"#
            var environment = ["DOCKER_CONFIG": folder, "PATH": folder]
            switch place {
            case 0: environment["DOCKER_AUTH_CONFIG"] = auths
            case 1: try Data(auths.utf8).write(to: URL(fileURLWithPath: folder + "/config.json"))
            default:
                let config = #"{"credHelpers":{"\#(address)":"test"}}"#
                try Data(config.utf8).write(to: URL(fileURLWithPath: folder + "/config.json"))
                let answer = #"{"ServerURL":"x","Username":"\#(LoginGate.user)","Secret":"\#(LoginGate.password)"}"#
                let script = folder + "/docker-credential-test"
                try Data("#!/bin/sh\necho '\(answer)'\n".utf8).write(to: URL(fileURLWithPath: script))
                try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: script)
            }
            try await RegistryClient.forTests(credentials: .docker(environment: Environment(environment))) { client in
                let repository = try await RegistryRepository(try Reference("\(address)/app:latest"), client: client)
                #expect(try await repository.stat(Digest(of: Array("nothing".utf8))) == nil)
            }
        }
    }
}

@Suite("An encrypted registry")
struct EncryptionTests {
    @Test(
        "is trusted by an authority of its own, and refused without",
        .enabled(
            if: Tool.dockerRegistry.isInstalled && Tool.openssl.isInstalled,
            "docker-registry or openssl is not installed"))
    func ownAuthority() async throws {
        let folder = NSTemporaryDirectory() + "build-cache-tls-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (certificate, key) = (folder + "/cert.pem", folder + "/key.pem")
        _ = try await Tool.openssl.output(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate)
        try await DockerRegistry.run(tls: (certificate, key)) { address in
            func isReachable(_ host: RegistryHost?, insecure: Bool = false) async throws -> Bool {
                try await RegistryClient.forTests(hosts: host.map { [address: $0] } ?? [:]) { client in
                    let reference = try Reference("\(address)/app:latest")
                    let repository = try await RegistryRepository(reference, insecure: insecure, client: client)
                    do { return try await repository.stat(Digest(of: [])) == nil } catch let error as CacheError {
                        #expect(error.code == .unavailable)
                        #expect(error.message.contains("no secure connection"))
                        return false
                    }
                }
            }
            let answers = [
                try await isReachable(RegistryHost(tls: TLSOptions(authorities: [certificate]))),
                try await isReachable(RegistryHost()),
                try await isReachable(nil, insecure: true),
            ]
            #expect(answers == [true, false, true])
        }
    }
}
