@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheOCI
@testable import BuildCacheTesting
import Foundation
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheRegistry

@Suite("A buildkitd.toml")
struct BuildKitConfigurationTests {
    private func read(_ text: String) async throws -> [String: RegistryHost] {
        try await withTemporaryFolder { folder in
            try write(text, to: folder + "/buildkitd.toml")
            return try await RegistrySettings.buildKit(configuration: folder + "/buildkitd.toml", environment: .empty)
                .hosts
        }
    }

    @Test("says how registries are reached, as BuildKit's documentation has it")
    func documented() async throws {
        let hosts = try await read(
            """
            [worker.oci]
              max-parallelism = 4
            [registry."docker.io"]
              mirrors = ["yourmirror.local:5000", "core.harbor.domain/proxy.docker.io", "https://third.example/"]
              http = true
              insecure = true
              ca=["/etc/config/myca.pem"]
              [[registry."docker.io".keypair]]
                key="/etc/config/key.pem"
                cert="/etc/config/cert.pem"
            [registry."yourmirror.local:5000"]
              http = true
            [registry."localhost:5000"]
            [registry."reg.example"]
            """)
        var tls = TLSOptions(verifiesCertificates: false, authorities: ["/etc/config/myca.pem"])
        tls.clientCertificate = .init(certificate: "/etc/config/cert.pem", key: "/etc/config/key.pem")
        let mirrors = [
            RegistryServer(host: "yourmirror.local:5000"),
            RegistryServer(host: "core.harbor.domain", apiPath: "/v2/proxy.docker.io"),
            RegistryServer(host: "third.example"),
        ]
        #expect(
            hosts == [
                "docker.io": RegistryHost(plainHTTP: true, tls: tls, mirrors: mirrors),
                "yourmirror.local:5000": RegistryHost(plainHTTP: true), "localhost:5000": RegistryHost(plainHTTP: true),
                "reg.example": RegistryHost(),
            ])
    }

    @Test("takes certificates from the folders that it names")
    func folders() async throws {
        try await withTemporaryFolder { folder in
            for name in ["b.crt", "a.crt", "c.cert", "c.key", "notes"] { try write("", to: "\(folder)/certs/\(name)") }
            let hosts = try await read("registry.'a.example' = {tlsconfigdir = ['\(folder)/certs', '\(folder)/none']}")
            let tls = hosts["a.example"]?.tls
            #expect(tls?.authorities == ["\(folder)/certs/a.crt", "\(folder)/certs/b.crt"])
            #expect(
                tls?.clientCertificate == .init(certificate: "\(folder)/certs/c.cert", key: "\(folder)/certs/c.key"))
        }
    }

    @Test(
        "that cannot be used is an error with its name and the place",
        arguments: [
            ("[registry.\"a\"]\nhttp = 1", "invalid value of \"http\": expected true or false"),
            ("[registry.\"a\"]\nmirrors = [1]", "invalid value of \"mirrors\": expected a list of texts"),
            ("[registry.\"a\"]\nca = true", "invalid value of \"ca\""),
            ("registry = 5", "invalid value of \"registry\": expected a table"),
            ("[registry]\na = 5", "invalid value of \"a\": expected a table"),
            ("[registry.a]\nkeypair = 'x'", "invalid value of \"keypair\""), ("x = ", "line 1: "),
        ])
    func unusable(_ text: String, _ problem: String) async throws {
        let error = await #expect(throws: CacheError.self) { try await read(text) }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.contains("buildkitd.toml cannot be used: \(problem)") == true)
    }

    @Test("that does not exist is an error where it was named, and no registries where it was not")
    func missing() async throws {
        try await withTemporaryFolder { folder in
            let error = await #expect(throws: CacheError.self) {
                try await RegistrySettings.buildKit(configuration: folder + "/buildkitd.toml")
            }
            #expect(error?.code == .notFound)
            try write("registry.a.http = true", to: folder + "/buildkit/buildkitd.toml")
            let environment = Environment(["XDG_CONFIG_HOME": folder])
            let settings = try await RegistrySettings.buildKit(environment: environment)
            #expect(settings.hosts.keys.sorted() == ["a"])
        }
    }
}

@Suite("A directory with a folder for each registry")
struct HostDirectoryTests {
    /// Reads the entry of a registry in a directory with these files.
    private func entry(
        _ files: [String: String], for domain: String = "reg.example:5000",
        _ body: (HostDirectory.Entry?, _ root: String) throws -> Void
    ) async throws {
        try await withTemporaryFolder { root in
            for (path, text) in files { try write(text, to: "\(root)/\(path)") }
            try body(try await HostDirectory(root: root).entry(for: domain), root)
        }
    }

    @Test(
        "is looked into under the registry's name in two forms, then under _default",
        arguments: [
            (["reg.example_5000_", "reg.example:5000", "_default"], "reg.example_5000_"),
            (["reg.example:5000", "_default"], "reg.example:5000"), (["_default", "reg.example"], "_default"),
        ])
    func names(_ folders: [String], _ expected: String) async throws {
        try await entry(Dictionary(uniqueKeysWithValues: folders.map { ("\($0)/ca.crt", "") })) { entry, root in
            #expect(entry?.host?.tls.authorities == ["\(root)/\(expected)/ca.crt"])
        }
    }

    @Test("that does not know the registry says nothing")
    func unknown() async throws {
        try await entry(["other.example/ca.crt": ""]) { entry, _ in #expect(entry == nil) }
        try await entry(["reg.example:5000": ""]) { entry, _ in #expect(entry == nil) }
        try await entry(["reg.example:5000/notes": ""]) { entry, _ in #expect(entry?.host == nil) }
    }

    @Test("has certificates as Docker takes them")
    func certificates() async throws {
        let files = ["ca.crt", "more.crt", "client.cert", "client.key", "other.cert", "alone.key", "hosts.toml"]
        try await entry(Dictionary(uniqueKeysWithValues: files.map { ("reg.example:5000/\($0)", "") })) { entry, root in
            let folder = "\(root)/reg.example:5000"
            #expect(entry?.host?.tls.authorities == ["\(folder)/ca.crt", "\(folder)/more.crt"])
            #expect(
                entry?.host?.tls.clientCertificate
                    == .init(certificate: "\(folder)/client.cert", key: "\(folder)/client.key"))
            #expect(entry?.host?.plainHTTP == false)
            #expect(entry?.problems.contains { $0.contains("alone.key is a key without its certificate") } == true)
            #expect(entry?.problems.contains { $0.contains("other.cert is not used") } == true)
        }
        try await entry(["reg.example:5000/both.cert": ""]) { entry, root in
            let both = "\(root)/reg.example:5000/both.cert"
            #expect(entry?.host?.tls.clientCertificate == .init(certificate: both, key: both))
        }
    }

    @Test("has a hosts.toml as containerd takes it")
    func hosts() async throws {
        let text = """
            server = "https://reg.example:5000"
            capabilities = ["pull", "resolve", "push"]
            ca = "own.crt"

            [host."https://mirror.example/us"]
              capabilities = ["pull"]
              ca = ["one.pem", "/etc/two.pem"]
              client = [["client.cert", "client.key"], ["other.pem", ""]]
            [host."http://plain.example:81"]
              skip_verify = true
            [host."a.example/v2/upstream"]
              override_path = true
              client = "both.pem"
              dial_timeout = "1s"
              [host."a.example/v2/upstream".header]
                x-custom = "secret"
            """
        try await entry(["reg.example:5000/hosts.toml": text]) { entry, root in
            let folder = "\(root)/reg.example:5000"
            let all = Set(RegistryServer.Capability.allCases)
            var first = TLSOptions(authorities: ["\(folder)/one.pem", "/etc/two.pem"])
            first.clientCertificate = .init(certificate: "\(folder)/client.cert", key: "\(folder)/client.key")
            var second = RegistryServer.Connection(plainHTTP: true, tls: TLSOptions(verifiesCertificates: false))
            second.prefersTLS = true
            let both = TLSOptions(
                clientCertificate: .init(certificate: "\(folder)/both.pem", key: "\(folder)/both.pem"))
            #expect(
                entry?.host?.mirrors == [
                    RegistryServer(
                        host: "mirror.example", apiPath: "/us/v2", connection: .init(tls: first), capabilities: [.pull]),
                    RegistryServer(host: "plain.example:81", connection: second, capabilities: all),
                    RegistryServer(
                        host: "a.example", apiPath: "/v2/upstream", connection: .init(tls: both), capabilities: all),
                ])
            #expect(
                entry?.host?.server
                    == RegistryServer(
                        host: "reg.example:5000",
                        connection: .init(tls: TLSOptions(authorities: ["\(folder)/own.crt"])), capabilities: all))
            #expect(entry?.problems.contains { $0.contains("the headers for a.example") } == true)
            #expect(entry?.problems.contains { $0.contains("secret") } == false)
        }
    }

    @Test("without a server in its hosts.toml means the registry itself")
    func withoutServer() async throws {
        try await entry(["_default/hosts.toml": "[host.'mirror.example']"], for: "docker.io") { entry, _ in
            #expect(entry?.host?.server?.host == "registry-1.docker.io")
            #expect(entry?.host?.mirrors.map(\.host) == ["mirror.example"])
        }
        try await entry(["_default/hosts.toml": "server = 'https://docker.io'"], for: "docker.io") { entry, _ in
            #expect(entry?.host?.server?.host == "registry-1.docker.io")
        }
        try await entry(["_default/hosts.toml": "skip_verify = true"], for: "localhost:5000") { entry, _ in
            #expect(entry?.host?.server?.connection?.plainHTTP == true)
        }
    }

    @Test(
        "with a hosts.toml that cannot be used has its certificates, and says so",
        arguments: [
            "server = ", "server = 5", "server = 'ftp://a'", "server = 'https://a b'", "[host.'https://a/../b']",
            "capabilities = ['fly']",
            "ca = [5]", "client = [[]]", "skip_verify = 'yes'", "host = 5", "host.a = 5", "client = [['a','b','c']]",
        ])
    func unusable(_ text: String) async throws {
        try await entry(["reg.example:5000/hosts.toml": text, "reg.example:5000/ca.crt": ""]) { entry, root in
            #expect(entry?.host?.tls.authorities == ["\(root)/reg.example:5000/ca.crt"])
            #expect(entry?.problems.first?.contains("hosts.toml is not used: ") == true)
        }
    }

    @Test("that Docker reads is the user's, then the machine's")
    func places() {
        func places(_ variables: [String: String]) -> [String] {
            RegistrySettings.dockerHostDirectories(environment: Environment(variables))
        }
        #expect(places([:]) == ["/etc/docker/certs.d"])
        #expect(places(["HOME": "/home/u"]) == ["/home/u/.config/docker/certs.d", "/etc/docker/certs.d"])
        #expect(
            places(["HOME": "/home/u", "XDG_CONFIG_HOME": "/x"]) == ["/x/docker/certs.d", "/etc/docker/certs.d"])
    }
}

@Suite("A registry with settings in files")
struct ConfiguredRegistryTests {
    private static let tools = Tool.dockerRegistry.isInstalled && Tool.openssl.isInstalled

    @Test(
        "is trusted by the authority in its folder, and shown the certificate there",
        .enabled(if: tools, "docker-registry or openssl is not installed"),
        arguments: ["pair", "one file", "hosts.toml"])
    func certificates(_ form: String) async throws {
        try await withTemporaryFolder { folder in
            let server = try await TestCertificate.make("server", in: folder, for: "IP:127.0.0.1,IP:0.0.0.0")
            let own = try await TestCertificate.make("client", in: folder, for: "DNS:client")
            try await DockerRegistry.run(tls: (server.certificate, server.key), clientAuthority: own.certificate) {
                address in
                let domain = address.replacing("127.0.0.1", with: "0.0.0.0")
                let root = folder + "/certs.d"
                func copy(_ file: String, _ name: String) throws {
                    try write(try String(contentsOfFile: file, encoding: .utf8), to: "\(root)/\(domain)/\(name)")
                }
                try copy(server.certificate, "ca.crt")
                let repository = { () async throws -> Bool in
                    try await RegistryClient.forTests(hostDirectories: [root], attempts: 1) { client in
                        let repository = try await RegistryRepository(try Reference("\(domain)/app:c"), client: client)
                        return try await repository.stat(Digest(of: Array("nothing".utf8))) == nil
                    }
                }
                await #expect(throws: CacheError.self) { try await repository() }
                switch form {
                case "pair":
                    try copy(own.certificate, "client.cert")
                    try copy(own.key, "client.key")
                case "one file":
                    let both = try [own.certificate, own.key].map { try String(contentsOfFile: $0, encoding: .utf8) }
                    try write(both.joined(), to: "\(root)/\(domain)/client.cert")
                default:
                    let text = "ca = 'ca.crt'\nclient = [['\(own.certificate)', '\(own.key)']]"
                    try write(text, to: "\(root)/\(domain)/hosts.toml")
                }
                let answer = try await repository()
                #expect(answer)
            }
        }
    }

    @Test("is read from the mirrors that its hosts.toml names, each for what it can do, and written where that says")
    func capabilities() async throws {
        let (registry, first, second) = (FakeRegistry(), FakeRegistry(), FakeRegistry())
        try await withServer(first.respond) { firstAddress in
            try await withServer(second.respond) { secondAddress in
                try await withServer(registry.respond) { address in
                    try await withTemporaryFolder { root in
                        let text = """
                            server = "http://\(address)"
                            capabilities = ["pull", "resolve"]
                            [host."http://\(firstAddress)/v2/copies"]
                              capabilities = ["pull"]
                              override_path = true
                            [host."http://\(secondAddress)"]
                              capabilities = ["pull", "resolve", "push"]
                            """
                        try write(text, to: "\(root)/reg.example/hosts.toml")
                        try await RegistryClient.forTests(hostDirectories: [root]) { client in
                            let repository = try await RegistryRepository(
                                try Reference("reg.example/app:c"), client: client)
                            let blob = makeBlob(100)
                            try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
                            let manifest = RawDocument(mediaType: .ociManifest, bytes: Array("{}".utf8))
                            try await repository.putManifest(manifest, as: .tag("c"))
                            #expect(second.blobs(of: "app").count == 1)
                            #expect(registry.log.isEmpty && first.log.isEmpty)
                            second.clearLog()
                            let found = try await repository.manifest(.tag("c"))
                            #expect(found?.digest == manifest.digest)
                            // A server that may not resolve is not asked for a tag.
                            #expect(first.log.isEmpty && second.log.count == 1)
                            let holds = try await repository.holds(blob.descriptor)
                            #expect(holds)
                            #expect(first.log.map(\.path) == ["/v2/copies/app/blobs/\(blob.descriptor.digest)"])
                            #expect(first.log.last?.query["ns"] == "reg.example")
                            #expect(registry.log.isEmpty)
                        }
                    }
                }
            }
        }
    }

    @Test("that may not be pushed to says so before anything is sent")
    func readOnly() async throws {
        try await withTemporaryFolder { root in
            try write(
                "server = 'http://127.0.0.1:1'\ncapabilities = ['pull', 'resolve']", to: "\(root)/_default/hosts.toml")
            try await RegistryClient.forTests(hostDirectories: [root]) { client in
                let repository = try await RegistryRepository(try Reference("reg.example/app:c"), client: client)
                let blob = makeBlob(100)
                let error = await #expect(throws: CacheError.self) {
                    try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
                }
                #expect(error?.code == .unsupported)
                #expect(error?.message.contains("capability push") == true)
            }
        }
    }

    @Test("whose authority cannot be read is an error that names the file")
    func unreadable() async throws {
        try await withTemporaryFolder { root in
            try write("not a certificate", to: "\(root)/reg.example/ca.crt")
            let error = await #expect(throws: CacheError.self) {
                try await RegistryClient.forTests(hostDirectories: [root]) { client in
                    _ = try await RegistryRepository(try Reference("reg.example/app:c"), client: client)
                }
            }
            #expect(error?.code == .invalidSpec)
            #expect(error?.message.contains("\(root)/reg.example/ca.crt") == true)
        }
    }

    @Test(
        "whose mirror is not a server is an error that names both", arguments: ["a b", "", "/path", "host:x", "a/b c"])
    func invalidMirror(_ mirror: String) async throws {
        let hosts = ["reg.example": RegistryHost(mirrors: [RegistryServer(mirror)])]
        let error = await #expect(throws: CacheError.self) {
            try await RegistryClient.forTests(hosts: hosts) { client in
                _ = try await RegistryRepository(try Reference("reg.example/app:c"), client: client)
            }
        }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.hasPrefix("invalid server ") == true)
        #expect(error?.message.contains("of reg.example") == true)
    }

    @Test("with a login in the address of a server is an error without it")
    func loginInAddress() async throws {
        let hosts = ["reg.example": RegistryHost(mirrors: ["https://alice:hunter2@mirror.example/path"])]
        let error = await #expect(throws: CacheError.self) {
            try await RegistryClient.forTests(hosts: hosts) { client in
                _ = try await RegistryRepository(try Reference("reg.example/app:c"), client: client)
            }
        }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.contains("mirror.example") == true)
        #expect(error?.debugDescription.contains("hunter2") == false, "\(error?.message ?? "")")
        try await withTemporaryFolder { root in
            try write("[host.'https://alice:hunter2@mirror.example']", to: "\(root)/reg.example/hosts.toml")
            let entry = try await HostDirectory(root: root).entry(for: "reg.example")
            #expect(entry?.problems.count == 1)
            #expect(entry?.problems.first?.contains("mirror.example") == true)
            #expect(entry?.problems.first?.contains("hunter2") == false, "\(entry?.problems ?? [])")
        }
    }

    @Test("gives the cache a warning where the settings cannot be used")
    func warns() async throws {
        let registry = FakeRegistry()
        try await withServer(registry.respond) { address in
            try await withTemporaryFolder { root in
                try write("server = ", to: "\(root)/\(address)/hosts.toml")
                try await RegistryClient.forTests(hostDirectories: [root]) { client in
                    let repository = try await RegistryRepository(try Reference("\(address)/app:c"), client: client)
                    #expect(repository.problems.first?.contains("hosts.toml is not used: line 1: ") == true)
                }
            }
        }
    }
}
