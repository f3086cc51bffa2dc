import BuildCacheCore
import Testing

@Suite("A digest")
struct DigestTests {
    private static let foo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

    @Test("is the SHA-256 of the bytes and prints as it parses")
    func computes() throws {
        let digest = Digest(of: "foo".utf8)
        #expect(digest.description == "sha256:\(Self.foo)")
        #expect(try Digest("sha256:\(Self.foo)") == digest)
    }

    @Test("of a record is made of the operation's digest and the output, -1 for content")
    func recordDigests() throws {
        let operation = Digest(of: "foo".utf8)
        #expect(Digest.record(operation: operation, output: 0).hex.hasPrefix("9b33d715"))
        #expect(Digest.record(operation: operation, output: -1).hex.hasPrefix("afd85775"))
        #expect(Digest.record(content: operation).hex.hasSuffix("427a74"))
    }

    @Test("orders as its text does")
    func orders() {
        let digests = (0..<200).map { Digest(of: "\($0)".utf8) }
        #expect(digests.sorted().map(\.description) == digests.map(\.description).sorted())
    }

    @Test(
        "refuses what is no digest",
        arguments: [
            "", "sha256:", "sha256:\(foo)0", "sha256:\(foo.dropLast())G", "SHA256:\(foo)",
            "sha256:../\(foo.dropLast(3))",
        ])
    func refusesOthers(_ text: String) {
        let error = #expect(throws: CacheError.self) { try Digest(text) }
        #expect(error?.code == .corrupted)
    }

    @Test("says that another algorithm is not supported")
    func refusesOtherAlgorithms() {
        let error = #expect(throws: CacheError.self) { try Digest("sha512:\(Self.foo)\(Self.foo)") }
        #expect(error?.code == .unsupported)
    }
}
