@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheSpec
@testable import BuildCacheTestServers
@testable import BuildCacheClient
import Foundation
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheAzure

/// A token server that writes down what it was asked.
private final class TokenServer: Sendable {
    struct Asked: Sendable {
        var path: String
        var query: [String: String]
        var form: [String: String]
        var headers: [String: String]
    }
    private let state = Mutex<[Asked]>([])
    var asked: [Asked] { state.withLock { $0 } }
    let answer: ServerResponse

    init(_ answer: ServerResponse = ServerResponse(200, json: #"{"access_token":"token-1","expires_in":3600}"#)) {
        self.answer = answer
    }

    func run(_ body: @escaping @Sendable (_ address: String) async throws -> Void) async throws {
        try await withServer { request in
            let text = String(decoding: try await request.bytes(), as: UTF8.self)
            var form: [String: String] = [:]
            for (name, value) in try ServiceURL("http://host/?" + text).queryParameters { form[name] = value }
            self.state.withLock {
                $0.append(Asked(path: request.path, query: request.query, form: form, headers: request.headers))
            }
            return self.answer
        } _: { address in
            try await body("http://\(address)")
        }
    }
}

@Suite("A token for Azure")
struct CredentialTests {
    /// What the credentials of an environment give.
    private func token(_ variables: [String: String]) async throws -> Secret<String> {
        let credentials = AzureCredentials.standard(environment: Environment(variables))
        var transport = HTTPTransport.shared
        // The machine's answer is waited for a second, which passes when a test says so.
        transport.clock = ManualClock()
        transport.retryClock = ImmediateClock()
        return try await AzureTokens(credentials, transport: transport, now: { .now() }).current().text
    }

    /// Nobody answers there.
    private static let nowhere = "http://127.0.0.1:1"

    @Test("comes from a secret in the environment first")
    func secret() async throws {
        let server = TokenServer()
        try await server.run { address in
            let token = try await token([
                "AZURE_TENANT_ID": "tenant-1", "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "s&cret+",
                "AZURE_AUTHORITY_HOST": address, "AZURE_FEDERATED_TOKEN_FILE": "/nowhere",
                "IDENTITY_ENDPOINT": Self.nowhere, "IDENTITY_HEADER": "x",
            ])
            #expect(token.exposed == "token-1")
        }
        let asked = try #require(server.asked.first)
        #expect(server.asked.count == 1)
        #expect(asked.path == "/tenant-1/oauth2/v2.0/token")
        #expect(
            asked.form == [
                "grant_type": "client_credentials", "client_id": "client", "client_secret": "s&cret+",
                "scope": "https://storage.azure.com/.default",
            ])
    }

    @Test("comes from a certificate in the environment, whose key signs", arguments: ["pem", "pfx", "encrypted.pem"])
    func certificate(_ form: String) async throws {
        let openssl = Tool("openssl")
        try #require(openssl.isInstalled)
        let folder = FileManager.default.temporaryDirectory.appending(path: "azure-\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        _ = try await openssl.output(
            "req", "-x509", "-newkey", "rsa:2048", "-keyout", "\(folder)/key.pem", "-out", "\(folder)/cert.pem",
            "-nodes",
            "-subj", "/CN=test")
        let password = form == "pem" ? "" : "pass word"
        switch form {
        case "pfx":
            _ = try await openssl.output(
                "pkcs12", "-export", "-in", "\(folder)/cert.pem", "-inkey", "\(folder)/key.pem", "-out",
                "\(folder)/both.\(form)", "-passout", "pass:\(password)")
        default:
            var key = "\(folder)/key.pem"
            if form == "encrypted.pem" {
                key = "\(folder)/locked.pem"
                _ = try await openssl.output(
                    "rsa", "-aes256", "-in", "\(folder)/key.pem", "-out", key, "-passout", "pass:\(password)")
            }
            let both = try ["\(folder)/cert.pem", key].map { try String(contentsOfFile: $0, encoding: .utf8) }
            try both.joined().write(toFile: "\(folder)/both.\(form)", atomically: true, encoding: .utf8)
        }

        let server = TokenServer()
        let variables = Mutex<[String: String]>([:])
        try await server.run { address in
            let environment = [
                "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_AUTHORITY_HOST": address,
                "AZURE_CLIENT_CERTIFICATE_PATH": "\(folder)/both.\(form)",
                "AZURE_CLIENT_CERTIFICATE_PASSWORD": password,
            ]
            variables.withLock { $0 = environment }
            let given = try await token(environment).exposed
            #expect(given == "token-1")
        }
        let asked = try #require(server.asked.first)
        #expect(asked.form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        let parts = try #require(asked.form["client_assertion"]).split(separator: ".").map(String.init)
        try #require(parts.count == 3)
        struct Claims: Decodable {
            var aud: String
            var iss: String
            var sub: String
            var nbf: Int64
            var exp: Int64
        }
        let claims = try JSONDecoder().decode(
            Claims.self, from: Data(try #require(Base64.decodeForURL(parts[1].utf8))))
        let address = variables.withLock { $0["AZURE_AUTHORITY_HOST"] ?? "" }
        #expect(claims.aud == "\(address)/tenant/oauth2/v2.0/token")
        #expect(claims.iss == "client" && claims.sub == "client" && claims.exp - claims.nbf == 600)
        // Another program checks the signature.
        let signature = Data(try #require(Base64.decodeForURL(parts[2].utf8)))
        try signature.write(to: URL(fileURLWithPath: "\(folder)/signature"))
        try "\(parts[0]).\(parts[1])".write(toFile: "\(folder)/text", atomically: true, encoding: .utf8)
        _ = try await openssl.output(
            "dgst", "-sha256", "-prverify", "\(folder)/key.pem", "-signature", "\(folder)/signature", "\(folder)/text")
    }

    @Test("comes from a workload's own token where there is no secret")
    func workload() async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "federated-\(UUID())").path
        try "the.federated.token\n".write(toFile: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: file) }
        let server = TokenServer()
        try await server.run { address in
            let token = try await token([
                "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_AUTHORITY_HOST": address + "/",
                "AZURE_FEDERATED_TOKEN_FILE": file, "IDENTITY_ENDPOINT": Self.nowhere, "IDENTITY_HEADER": "x",
            ])
            #expect(token.exposed == "token-1")
        }
        #expect(server.asked.first?.form["client_assertion"] == "the.federated.token")
        #expect(server.asked.first?.path == "/tenant/oauth2/v2.0/token")
    }

    @Test("comes from the identity of an app")
    func appService() async throws {
        let server = TokenServer(ServerResponse(200, json: #"{"access_token":"app","expires_on":"4102444800"}"#))
        try await server.run { address in
            let token = try await token([
                "IDENTITY_ENDPOINT": address + "/msi/token", "IDENTITY_HEADER": "secret", "AZURE_CLIENT_ID": "mine",
            ])
            #expect(token.exposed == "app")
        }
        let asked = try #require(server.asked.first)
        #expect(asked.headers["x-identity-header"] == "secret")
        #expect(
            asked.query == [
                "api-version": "2019-08-01", "resource": "https://storage.azure.com", "client_id": "mine",
            ])
    }

    @Test("comes from the identity of a machine")
    func machine() async throws {
        let server = TokenServer()
        try await server.run { address in
            let given = try await token(["AZURE_POD_IDENTITY_AUTHORITY_HOST": address]).exposed
            #expect(given == "token-1")
        }
        // Without the header it only asks whether anybody is there.
        #expect(server.asked.map { $0.headers["metadata"] } == [nil, "true"])
        #expect(server.asked.last?.path == "/metadata/identity/oauth2/token")
        #expect(server.asked.last?.query["resource"] == "https://storage.azure.com")
    }

    /// Gives `body` a `PATH` with a program that is a shell script.
    private func withProgram<Value>(_ name: String, _ script: String, _ body: (String) async throws -> Value)
        async throws
        -> Value
    {
        let folder = FileManager.default.temporaryDirectory.appending(path: "program-\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try ("#!/bin/sh\n" + script).write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(folder)/\(name)")
        return try await body("/nowhere:" + folder)
    }

    /// A program of Azure's: what it is called with, prints, and says if no user is logged in.
    struct Program: Sendable {
        var name: String
        var arguments: String
        var answer: String
        var absence: String
        var credential: String
    }

    private static let programs = [
        Program(
            name: "az", arguments: "account get-access-token -o json --resource https://storage.azure.com",
            answer: #"{"accessToken":"given","expires_on":4102444800,"expiresOn":"2100-01-01 00:00:00.000000"}"#,
            absence: "echo \"ERROR: Please run 'az login' to setup account.\" >&2", credential: "AzureCLICredential"),
        Program(
            name: "azd", arguments: "auth token -o json --no-prompt --scope https://storage.azure.com/.default",
            answer: #"{"token":"given","expiresOn":"2100-01-01T00:00:00Z"}"#,
            absence: #"echo '{"data":{"message":"ERROR: not logged in, run `azd auth login` to login"}}'"#,
            credential: "AzureDeveloperCLICredential"),
        Program(
            name: "pwsh", arguments: "-NoProfile -NonInteractive -Command *-ResourceUrl 'https://storage.azure.com'*",
            answer: #"{"expires_on":4102444800,"access_token":"given"}"#,
            absence: "echo 'Run Connect-AzAccount to login.' >&2", credential: "AzurePowerShellCredential"),
    ]

    @Test("comes from the programs for developers last, if a user is logged in", arguments: programs, [true, false])
    func commandLine(_ program: Program, _ isLoggedIn: Bool) async throws {
        let pattern = program.arguments.split(separator: "*", omittingEmptySubsequences: false).map { "\"\($0)\"" }
            .joined(separator: "*")
        let script =
            isLoggedIn
            ? "case \"$*\" in \(pattern)) echo '\(program.answer)';; *) exit 9;; esac\n"
            : program.absence + "\nexit 1\n"
        try await withProgram(program.name, script) { path in
            let variables = ["PATH": path, "AZURE_POD_IDENTITY_AUTHORITY_HOST": Self.nowhere]
            for wanted in ["", "dev", program.credential] {
                let variables = variables.merging(["AZURE_TOKEN_CREDENTIALS": wanted]) { $1 }
                if isLoggedIn {
                    let fetched = try await AzureCredentials.standard(environment: Environment(variables)).fetch(
                        .shared)
                    #expect(fetched.text.exposed == "given")
                    #expect(fetched.expires.seconds == 4_102_444_800)
                } else {
                    let error = await #expect(throws: CacheError.self) { try await token(variables) }
                    #expect(error?.code == .denied)
                    #expect(error?.message.contains("az login, azd auth login or Connect-AzAccount") == true)
                }
            }
        }
    }

    @Test(
        "is not expected from a program that fails, and its output is not repeated", arguments: ["az", "azd", "pwsh"])
    func failingProgram(_ name: String) async throws {
        let failures = [
            "echo hunter2; echo 'the tenant is blocked' >&2; exit 1": CacheError.Code.denied,
            "echo hunter2": .corrupted, "echo '{\"other\":\"hunter2\"}'": .corrupted,
        ]
        for (script, code) in failures {
            try await withProgram(name, script + "\n") { path in
                let error = await #expect(throws: CacheError.self) {
                    try await token(["PATH": path, "AZURE_TOKEN_CREDENTIALS": "dev"])
                }
                #expect(error?.code == code)
                #expect(error?.debugDescription.contains("hunter2") == false)
            }
        }
    }

    // MARK: Azure Arc

    /// Answers as the agent of Azure Arc, which names a file and wants its secret; returns the token that the identity gives.
    private func arcToken(
        realm: (_ folder: String) -> String, secret: String = "hunter2\n", variables: [String: String] = [:],
        host: String? = nil
    ) async throws -> (token: String, asked: [[String: String]]) {
        let folder = FileManager.default.temporaryDirectory.appending(path: "arc-\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder + "/below", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for name in ["/a.key", "/a.txt", "/below/a.key", "/.key"] {
            try secret.write(toFile: folder + name, atomically: true, encoding: .utf8)
        }
        let challenge = realm(folder)
        let asked = Mutex<[[String: String]]>([])
        return try await withServer { request in
            var seen = request.headers
            seen["path"] = request.path
            seen.merge(request.query) { $1 }
            asked.withLock { [seen] in $0.append(seen) }
            guard request.headers["authorization"] == "Basic hunter2" else {
                return ServerResponse(401, headers: challenge.isEmpty ? [] : [("WWW-Authenticate", challenge)])
            }
            return ServerResponse(200, json: #"{"access_token":"arc","expires_on":"4102444800"}"#)
        } _: { address in
            let environment = Environment(
                variables.merging([
                    "IDENTITY_ENDPOINT": "http://\(host ?? address)/metadata/identity/oauth2/token",
                    "IMDS_ENDPOINT": "http://\(address)",
                ]) { $1 })
            var identity = ManagedIdentity(environment, .shared)
            identity.arcFolder = folder
            let token = try await identity.token(isExpected: false)?.text.exposed ?? ""
            return (token, asked.withLock { $0 })
        }
    }

    @Test("comes from the agent of Azure Arc for the secret in a file", arguments: ["Basic realm=", "basic realm=\""])
    func arc(_ start: String) async throws {
        let (token, asked) = try await arcToken { "\(start)\($0)/a.key" + (start.hasSuffix("\"") ? "\"" : "") }
        #expect(token == "arc")
        #expect(asked.count == 2)
        #expect(asked.first?["authorization"] == nil)
        for request in asked {
            #expect(request["path"] == "/metadata/identity/oauth2/token")
            #expect(request["metadata"] == "true")
            #expect(request["api-version"] == "2020-06-01")
            #expect(request["resource"] == "https://storage.azure.com")
        }
    }

    @Test(
        "is not had for the contents of a file that is not the agent's",
        arguments: [
            "", "Basic", "Bearer realm=FOLDER/a.key", "Basic realm=", "Basic realm=FOLDER/a.txt",
            "Basic realm=FOLDER/.key",
            "Basic realm=FOLDER/below/a.key", "Basic realm=FOLDER/../a.key", "Basic realm=FOLDER//a.key",
            "Basic realm=/etc/passwd", "Basic realm=/etc/a.key", "Basic realm=a.key", "Basic realm=FOLDER/missing.key",
            "Basic realm=FOLDER/below",
        ])
    func arcFiles(_ challenge: String) async throws {
        let error = await #expect(throws: CacheError.self) {
            try await arcToken { challenge.replacing("FOLDER", with: $0) }
        }
        #expect([.denied, .corrupted].contains(error?.code))
        #expect(error?.debugDescription.contains("hunter2") == false)
    }

    @Test("is not had for a secret that is empty or too long, from another machine, or for an identity of one's own")
    func arcLimits() async throws {
        for secret in ["", String(repeating: "hunter2", count: 586)] {
            let error = await #expect(throws: CacheError.self) {
                try await arcToken(realm: { "Basic realm=\($0)/a.key" }, secret: secret)
            }
            #expect(error?.code == .denied)
            #expect(error?.debugDescription.contains("hunter2") == false)
        }
        let elsewhere = await #expect(throws: CacheError.self) {
            try await arcToken(realm: { "Basic realm=\($0)/a.key" }, host: "192.0.2.1:40342")
        }
        #expect(elsewhere?.code == .invalidSpec)
        let other = await #expect(throws: CacheError.self) {
            try await arcToken(realm: { "Basic realm=\($0)/a.key" }, variables: ["AZURE_CLIENT_ID": "other"])
        }
        #expect(other?.code == .unsupported)
        let wrong = await #expect(throws: CacheError.self) {
            try await arcToken(realm: { "Basic realm=\($0)/a.key" }, secret: "other")
        }
        #expect(wrong?.code == .denied)
    }

    // MARK: Service Fabric

    @Test(
        "comes from Service Fabric, to the one server whose certificate has the thumbprint", arguments: [true, false])
    func serviceFabric(_ isRight: Bool) async throws {
        let body = #"{"access_token":"fabric","expires_on":4102444800}"#
        let response = "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
        try await TLSServer.run(responding: response) { server in
            let output = try await Tool("openssl").output(
                "x509", "-in", server.certificateFile, "-noout", "-fingerprint", "-sha1")
            let fingerprint = String(decoding: output, as: UTF8.self).split(separator: "=").last ?? ""
            let thumbprint = fingerprint.filter(\.isHexDigit)
            let other = String(thumbprint.reversed())
            let variables = [
                "IDENTITY_ENDPOINT": "https://\(server.address)/metadata/identity/oauth2/token",
                "IDENTITY_HEADER": "hunter2", "IDENTITY_SERVER_THUMBPRINT": isRight ? thumbprint : other,
            ]
            guard isRight else {
                let error = await #expect(throws: CacheError.self) { try await token(variables) }
                #expect(error?.code == .denied)
                #expect(server.requests.isEmpty)
                return
            }
            #expect(try await token(variables).exposed == "fabric")
            #expect(server.requests.count == 1)
            let request = try #require(server.requests.first)
            #expect(request.contains("api-version=2019-07-01-preview&resource=https%3A%2F%2Fstorage.azure.com "))
            #expect(request.lowercased().contains("\r\nsecret: hunter2\r\n"))
        }
    }

    @Test("is not asked for at Service Fabric without TLS, without a thumbprint, or for another identity")
    func serviceFabricSettings() async throws {
        let base = [
            "IDENTITY_ENDPOINT": "https://127.0.0.1:1/token", "IDENTITY_HEADER": "hunter2",
            "IDENTITY_SERVER_THUMBPRINT": String(repeating: "a", count: 40),
        ]
        for (name, value, code) in [
            ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token", CacheError.Code.invalidSpec),
            ("IDENTITY_SERVER_THUMBPRINT", "aabbcc", .invalidSpec), ("AZURE_CLIENT_ID", "other", .unsupported),
            ("IDENTITY_SERVER_THUMBPRINT", String(repeating: "b", count: 40), .unavailable),
        ] {
            let error = await #expect(throws: CacheError.self) { try await token(base.merging([name: value]) { $1 }) }
            #expect(error?.code == code, "\(name)")
            #expect(error?.debugDescription.contains("hunter2") == false)
        }
    }

    @Test("is not looked for elsewhere when the first that is set up fails, and no secret gets into the error")
    func firstDecides() async throws {
        let server = TokenServer(
            ServerResponse(401, json: #"{"error":"invalid_client","error_description":"AADSTS7000215: wrong secret"}"#))
        try await server.run { address in
            let error = await #expect(throws: CacheError.self) {
                try await token([
                    "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "hidden",
                    "AZURE_AUTHORITY_HOST": address, "AZURE_POD_IDENTITY_AUTHORITY_HOST": address,
                ])
            }
            #expect(error?.code == .denied)
            #expect(error?.message.contains("AADSTS7000215") == true)
            #expect(error.map { "\($0.debugDescription)" }?.contains("hidden") == false)
        }
        #expect(server.asked.count == 1)
    }

    @Test("is looked for only where AZURE_TOKEN_CREDENTIALS says")
    func restricted() async throws {
        let server = TokenServer()
        try await server.run { address in
            let secret = [
                "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "s",
                "AZURE_AUTHORITY_HOST": address,
            ]
            func with(_ name: String) -> [String: String] {
                secret.merging(["AZURE_TOKEN_CREDENTIALS": name]) { $1 }
            }
            for name in ["prod", "EnvironmentCredential"] {
                let given = try await token(with(name)).exposed
                #expect(given == "token-1")
            }
            for (name, code) in [
                ("dev", CacheError.Code.denied), ("AzureCLICredential", .denied), ("what", .invalidSpec),
            ] {
                let error = await #expect(throws: CacheError.self) { try await token(with(name)) }
                #expect(error?.code == code, "\(name)")
            }
        }
    }

    @Test("is fetched once for all who want it, replaced in good time, and kept while there is no better one")
    func refresh() async throws {
        let fetched = Mutex(0)
        let now = Mutex(Timestamp.now())
        let fails = Mutex(false)
        let credentials = AzureCredentials {
            if fails.withLock({ $0 }) { throw CacheError(.unavailable, "no token today") }
            let number = fetched.withLock { count in
                count += 1
                return count
            }
            let expires = now.withLock { $0.seconds } + 3600
            return AzureToken(Secret("token \(number)"), expires: Timestamp(seconds: expires) ?? .zero)
        }
        let tokens = AzureTokens(credentials, transport: .shared, now: { now.withLock { $0 } })
        func advance(_ seconds: Int64) {
            now.withLock { $0 = Timestamp(seconds: $0.seconds + seconds) ?? $0 }
        }
        try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<10 { group.addTask { try await tokens.current().text.exposed } }
            for try await token in group { #expect(token == "token 1") }
        }
        advance(3200)
        #expect(try await tokens.current().text.exposed == "token 1")
        advance(200)
        #expect(try await tokens.current().text.exposed == "token 2")
        fails.withLock { $0 = true }
        advance(3400)
        #expect(try await tokens.current().text.exposed == "token 2")
        advance(300)
        await #expect(throws: CacheError.self) { try await tokens.current() }
    }

    @Test("that the service does not take any more is replaced by a new one, once")
    func rejectedToken() async throws {
        try await AzureBlobServer().run { server, url in
            server.accept(token: "token 2")
            let fetched = Mutex(0)
            let credentials = AzureCredentials {
                let number = fetched.withLock { count in
                    count += 1
                    return count
                }
                return AzureToken(Secret("token \(number)"), expires: Timestamp(seconds: 4_102_444_800) ?? .zero)
            }
            let client = AzureClient(credentials: credentials, allowedHosts: ["127.0.0.1"], environment: .empty)
            try await withCache(server, url, client: client, signed: false) { cache in
                let given = try await cache.importCache(progress: .discarded)
                #expect(given == nil)
                server.reject(token: "token 2")
                let error = await #expect(throws: CacheError.self) {
                    try await cache.importCache(progress: .discarded)
                }
                #expect(error?.code == .denied)
            }
        }
    }

    @Test("is never sent to an address that can be read on the way")
    func plainHTTP() async throws {
        let credentials = AzureCredentials { AzureToken(Secret("secret"), expires: .now()) }
        let client = AzureClient(credentials: credentials, allowedHosts: .any, environment: .empty)
        let options = AzureBlobOptions(accountURL: try ServiceURL("http://account.blob.core.windows.net"))
        try await ScratchStore.withTemporary { scratch in
            let cache = AzureBlobCache(options, scratch: scratch, client: client)
            let error = await #expect(throws: CacheError.self) { try await cache.imported() }
            #expect(error?.code == .denied)
        }
    }
}
