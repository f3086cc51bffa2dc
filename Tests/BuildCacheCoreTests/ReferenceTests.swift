import BuildCacheCore
import Testing

@Suite("A reference")
struct ReferenceTests {
    private static let hex = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

    @Test(
        "is normalised as Docker does",
        arguments: [
            ("app", "docker.io/library/app:latest"),
            ("app:v1", "docker.io/library/app:v1"),
            ("user/app", "docker.io/user/app:latest"),
            ("library/app", "docker.io/library/app:latest"),
            ("docker.io/app", "docker.io/library/app:latest"),
            ("docker.io/library/app:latest", "docker.io/library/app:latest"),
            ("index.docker.io/app", "docker.io/library/app:latest"),
            ("index.docker.io/user/app", "docker.io/user/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000", "docker.io/library/localhost:5000"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("ghcr.io/org/team/app:cache", "ghcr.io/org/team/app:cache"),
            ("Registry/app", "Registry/app:latest"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("[fe80::1]/app:v1", "[fe80::1]/app:v1"),
            ("a__b/c.d-e--f_g", "docker.io/a__b/c.d-e--f_g:latest"),
            ("app@sha256:\(hex)", "docker.io/library/app@sha256:\(hex)"),
            ("app:v1@sha256:\(hex)", "docker.io/library/app:v1@sha256:\(hex)"),
            ("\(hex):v1", "docker.io/library/\(hex):v1"),
        ])
    func normalises(_ text: String, _ expected: String) throws {
        let reference = try Reference(text)
        #expect(reference.description == expected)
        #expect(try Reference(expected) == reference)
    }

    @Test("knows its parts")
    func parts() throws {
        let reference = try Reference("localhost:5000/team/app:v1@sha256:\(Self.hex)")
        #expect(reference.domain == "localhost:5000")
        #expect(reference.path == "team/app")
        #expect(reference.name == "localhost:5000/team/app")
        #expect(reference.tag == "v1")
        #expect(reference.digest?.hex == Self.hex)
        #expect(reference.apiHost == "localhost:5000")
    }

    @Test("on Docker Hub is served by another host than it names")
    func hubHost() throws {
        #expect(try Reference("app").apiHost == "registry-1.docker.io")
    }

    @Test(
        "has a familiar text, the shortest that means the same",
        arguments: [
            ("docker.io/library/app:latest", "app"),
            ("docker.io/library/app:v1", "app:v1"),
            ("docker.io/user/app", "user/app"),
            ("docker.io/library/team/app", "library/team/app"),
            ("ghcr.io/org/app:latest", "ghcr.io/org/app"),
            ("docker.io/localhost/app", "docker.io/localhost/app"),
            ("docker.io/foo.bar/app", "docker.io/foo.bar/app"),
            ("docker.io/library/\(hex)", "library/\(hex)"),
            ("app:latest@sha256:\(hex)", "app:latest@sha256:\(hex)"),
            ("app@sha256:\(hex)", "app@sha256:\(hex)"),
        ])
    func familiar(_ text: String, _ expected: String) throws {
        let reference = try Reference(text)
        #expect(reference.familiar == expected)
        #expect(try Reference(reference.familiar) == reference)
    }

    @Test(
        "refuses what Docker refuses",
        arguments: [
            "", " ", "App", "user/App", "ghcr.io/Org/app", "app:", ":v1", "app:.v1", "app:v 1", "app@", "/app", "app/",
            "a//b",
            "-app", "app-", "a___b", "a._b", "a..b", "https://ghcr.io/app", "ghcr.io:x/app", "-a.io/app", ".io/app",
            "[]/app", "[::1]", "[::g]/app", "app:v1:v2", "app\n", "äpp", "app@sha256:abc", "\u{0}", hex, "a,b", "a=b",
            "app:" + String(repeating: "v", count: 129), String(repeating: "a", count: 256),
        ])
    func refuses(_ text: String) {
        let error = #expect(throws: CacheError.self) { try Reference(text) }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.contains("\n") == false)
    }

    @Test("without a slash is a name on Docker Hub, even if it looks like a host")
    func hostAlone() throws {
        #expect(try Reference("ghcr.io").description == "docker.io/library/ghcr.io:latest")
    }

    @Test("counts 255 characters of repository and 128 of tag as allowed")
    func limits() throws {
        // "library/" belongs to the repository.
        _ = try Reference(String(repeating: "a", count: 247) + ":" + String(repeating: "v", count: 128))
        #expect(throws: CacheError.self) { try Reference(String(repeating: "a", count: 248)) }
    }

    @Test("says that a digest of another algorithm is not supported")
    func otherAlgorithm() {
        let error = #expect(throws: CacheError.self) { try Reference("app@sha512:\(Self.hex)\(Self.hex)") }
        #expect(error?.code == .unsupported)
    }

    @Test(
        "never repeats a password that was written before the host",
        arguments: ["me:hunter2@ghcr.io/app", "https://me:hunter2@ghcr.io/app", "me:hunter2@ghcr.io/app@sha256:0"])
    func hidesPasswords(_ text: String) {
        let error = #expect(throws: CacheError.self) { try Reference(text) }
        #expect(error.map { String(reflecting: $0).contains("hunter2") } == false)
    }
}
