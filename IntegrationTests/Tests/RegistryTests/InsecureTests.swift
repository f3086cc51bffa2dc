@testable import BuildCacheCore
@testable import BuildCacheHTTP
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheRegistry

/// Asks a registry for a blob, as a spec with `registry.insecure=true` does.
private func ask(
    _ address: String, settings: RegistrySettings, environment: Environment = .empty
) async throws -> CacheError? {
    let failure = Mutex<CacheError?>(nil)
    try await RegistryClient.forTests(settings: settings, environment: environment, attempts: 2) { client in
        let repository = try await RegistryRepository(
            try Reference("\(address)/app:latest"), insecure: true, client: client)
        do { _ = try await repository.stat(Digest(of: Array("nothing".utf8))) } catch let error as CacheError {
            failure.withLock { $0 = error }
        }
    }
    return failure.withLock { $0 }
}

/// The address of a server on this machine under a name that no rule of this machine covers, as that of a host elsewhere.
private func elsewhere(_ address: String) -> String { address.replacing("127.0.0.1", with: "0.0.0.0") }

private func settings(_ hosts: [String: RegistryHost] = [:], allowing allowed: CredentialHosts = .none)
    -> RegistrySettings
{
    RegistrySettings(hosts: hosts, credentials: .right, hostDirectories: [], allowedInsecureHosts: allowed)
}

@Suite("registry.insecure=true in a spec")
struct InsecureTests {
    @Test("sends no password over plain HTTP, and the error says how to allow it", arguments: [true, false])
    func plain(_ isBasic: Bool) async throws {
        let registry = FakeRegistry()
        let seen = Mutex<[String]>([])
        let gate = LoginGate(isBasic ? .basic : .token(takesPost: true), registry.respond)
        try await withServer { request in
            seen.withLock { $0 += request.headers["authorization"].map { [$0] } ?? [] }
            return try await gate.respond(request)
        } _: { address in
            let error = try #require(try await ask(elsewhere(address), settings: settings()))
            #expect(error.code == .denied)
            #expect(error.message.contains("registry.insecure=true"))
            #expect(error.message.contains("plain http"))
            #expect(error.message.contains("allowedInsecureHosts"))
            #expect(!error.message.contains(LoginGate.password))
        }
        #expect(seen.withLock { $0 } == [])
        // A token without a login is asked for by GET, and without a user.
        #expect(gate.methods.allSatisfy { $0 == "GET" })
    }

    @Test("reads a registry over plain HTTP that lets everyone in", arguments: [true, false])
    func anonymous(_ hasTokens: Bool) async throws {
        let registry = FakeRegistry()
        let gate = LoginGate(.anonymousToken, registry.respond)
        try await withServer(hasTokens ? gate.respond : registry.respond) { address in
            let error = try await ask(elsewhere(address), settings: settings())
            #expect(error == nil)
        }
    }

    @Test("sends the password over plain HTTP to this machine, and where the program says so", arguments: 0..<4)
    func allowed(_ way: Int) async throws {
        let gate = LoginGate(.basic, FakeRegistry().respond)
        try await withServer(gate.respond) { address in
            let other = elsewhere(address)
            let error =
                switch way {
                case 0: try await ask(address, settings: settings())
                case 1: try await ask(other, settings: settings(allowing: ["0.0.0.0"]))
                case 2: try await ask(other, settings: settings([other: RegistryHost(plainHTTP: true)]))
                default:
                    try await ask(
                        other, settings: settings([other: RegistryHost(tls: TLSOptions(verifiesCertificates: false))]))
                }
            #expect(error == nil)
        }
    }

    @Test(
        "sends the password over TLS where the certificate proves right, and not where it does not",
        .enabled(
            if: Tool.dockerRegistry.isInstalled && Tool.htpasswd.isInstalled && Tool.openssl.isInstalled,
            "docker-registry, htpasswd or openssl is not installed"))
    func encrypted() async throws {
        let line = try await Tool.htpasswd.output("-nbB", LoginGate.user, LoginGate.password)
        try await withTemporaryFolder { folder in
            let passwords = folder + "/htpasswd"
            try write(String(decoding: line, as: UTF8.self), to: passwords)
            let server = try await TestCertificate.make("server", in: folder, for: "IP:0.0.0.0,IP:127.0.0.1")
            try await DockerRegistry.run(
                settings: "auth: {htpasswd: {realm: test, path: \(passwords)}}", tls: (server.certificate, server.key)
            ) { address in
                let other = elsewhere(address)
                let trusted = Environment(["SSL_CERT_FILE": server.certificate])
                let verified = try await ask(other, settings: settings(), environment: trusted)
                #expect(verified == nil)
                let authority = RegistryHost(tls: TLSOptions(authorities: [server.certificate]))
                #expect(try await ask(other, settings: settings([other: authority])) == nil)
                let error = try #require(try await ask(other, settings: settings()))
                #expect(error.code == .denied)
                #expect(error.message.contains("its certificate is not verified"))
                #expect(try await ask(address, settings: settings()) == nil)
                #expect(try await ask(other, settings: settings(allowing: .any)) == nil)
            }
        }
    }
}
