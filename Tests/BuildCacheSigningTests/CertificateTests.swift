import BuildCacheCore
import BuildCacheSigning
import Foundation
import TestTools
import Testing

/// Bundles of a private Fulcio, log and time authority, which `Tests/Fixtures/sigstore/authority.py` made.
@Suite("A signature with a certificate")
struct CertificateTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures/sigstore")
    private static let names: [String] =
        ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? [])
        .filter { $0.hasPrefix("good-") || $0.hasPrefix("bad-") }.sorted()
    private static let main: [CertificateField: String] = [
        .issuer: "https://token.actions.githubusercontent.com",
        .subjectAlternativeName: "https://github.com/acme/app/*", .sourceRepositoryRef: "refs/heads/main",
    ]

    private static func read(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: folder.appending(path: name)))
    }

    private static func verifier(_ identities: [[CertificateField: String]] = [main]) throws -> CertificateVerifier {
        try CertificateVerifier(trustedRoot: try read("root.json"), identities: identities)
    }

    private static func verify(
        _ name: String, by verifier: CertificateVerifier, of artifact: String = "artifact"
    ) throws -> VerifiedSignature? {
        try verifier.verify(
            try SignatureBundle(decoding: try read(name)), document: Digest(of: try read(artifact)))
    }

    @Test("verifies if it is good, and not if it is bad", arguments: names)
    func cases(_ name: String) throws {
        if name.hasPrefix("good-") {
            let signature = try #require(try Self.verify(name, by: try Self.verifier()))
            #expect(signature.signer.hasPrefix("https://github.com/acme/app/.github/workflows/ci.yml@"))
            #expect(signature.verifiedTime != nil)
            #expect((signature.claims != nil) == (name == "good-statement.json"))
        } else {
            let error = #expect(throws: CacheError.self) { try Self.verify(name, by: try Self.verifier()) }
            #expect(error?.code == .untrusted)
        }
    }

    @Test("has cases of both kinds")
    func hasCases() {
        #expect(Self.names.count { $0.hasPrefix("good-") } == 3)
        #expect(Self.names.count { $0.hasPrefix("bad-") } >= 17)
    }

    @Test("is good or bad to PyPI's sigstore as it is to us")
    func agrees() async throws {
        let script = """
            import os, sys
            from sigstore.models import Bundle, TrustedRoot
            from sigstore.verify import Verifier, policy
            folder = sys.argv[1]
            verifier = Verifier(trusted_root=TrustedRoot.from_file(os.path.join(folder, "root.json")))
            artifact = open(os.path.join(folder, "artifact"), "rb").read()
            for name in sorted(os.listdir(folder)):
                if not name.startswith(("good-", "bad-")): continue
                try:
                    text = open(os.path.join(folder, name)).read()
                    bundle = Bundle.from_json(text)
                    if '"dsseEnvelope"' in text:
                        verifier.verify_dsse(bundle, policy.UnsafeNoOp())
                    else:
                        verifier.verify_artifact(artifact, bundle, policy.UnsafeNoOp())
                    print(name, "good")
                except Exception as error:
                    print(name, "bad", type(error).__name__, error, file=sys.stderr)
                    print(name, "bad")
            """
        guard (try? await Tool.python.output("-c", "import sigstore.verify")) != nil else { return }
        let output = try await Tool.python.output("-c", script, Self.folder.path)
        let verdicts = String(decoding: output, as: UTF8.self).split(separator: "\n").map { String($0) }
        // It does not compare the size of the tree with the one that the log signed.
        let laxer = "bad-proof-treeSize.json"
        #expect(verdicts == Self.names.map { "\($0) \($0.hasPrefix("good-") || $0 == laxer ? "good" : "bad")" })
    }

    @Test("is of an unknown signer if no identity matches")
    func identities() throws {
        func isKnown(_ identity: [CertificateField: String]) throws -> Bool {
            try Self.verify("good-message.json", by: try Self.verifier([identity])) != nil
        }
        #expect(try isKnown([.subjectAlternativeName: "*"]))
        #expect(try isKnown([.subjectAlternativeName: "*@refs/heads/main"]))
        #expect(try isKnown([.subjectAlternativeName: "*acme/app*", .githubWorkflowRef: "refs/heads/main"]))
        #expect(try isKnown([.certificateIssuer: "CN=intermediate,O=test"]))
        #expect(try !isKnown([.sourceRepositoryRef: "refs/heads/release"]))
        #expect(try !isKnown([.subjectAlternativeName: "https://github.com/*/app"]))
        #expect(try !isKnown([.subjectAlternativeName: "*", .sourceRepositoryRef: "refs/pull/*"]))
        #expect(try !isKnown([.runnerEnvironment: "github-hosted"]))
    }

    @Test("needs a trusted root and an identity")
    func invalid() throws {
        let root = try Self.read("root.json")
        let text = String(decoding: root, as: UTF8.self)
        for (bytes, identities) in [
            (root, []), (root, [[:]]), (Array("{}".utf8), [Self.main]), (Array("garbage".utf8), [Self.main]),
            (Array(text.replacing("certificateAuthorities", with: "others").utf8), [Self.main]),
        ] {
            let error = #expect(throws: CacheError.self) {
                try CertificateVerifier(trustedRoot: bytes, identities: identities)
            }
            #expect(error?.code == .invalidSpec)
        }
    }

    @Test("is refused by another root, and over another document")
    func others() throws {
        let text = String(decoding: try Self.read("root.json"), as: UTF8.self)
        for part in ["tlogs", "ctlogs"] {
            let changed = Array(text.replacing("\"\(part)\"", with: "\"other\"").utf8)
            let verifier = try CertificateVerifier(trustedRoot: changed, identities: [Self.main])
            #expect(throws: CacheError.self) { try Self.verify("good-message.json", by: verifier) }
        }
        #expect(throws: CacheError.self) {
            try Self.verify("good-message.json", by: try Self.verifier(), of: "root.json")
        }
        #expect(throws: CacheError.self) {
            try Self.verify("good-statement.json", by: try Self.verifier(), of: "root.json")
        }
    }

    @Test("is refused, or the same signature, with any byte flipped", arguments: names.filter { $0.hasPrefix("good-") })
    func flips(_ name: String) throws {
        let (bytes, document) = (try Self.read(name), Digest(of: try Self.read("artifact")))
        let verifier = try Self.verifier()
        let good = try #require(try Self.verify(name, by: verifier))
        for index in stride(from: 0, to: bytes.count, by: 3) {
            var flipped = bytes
            flipped[index] ^= 1 << UInt8(index % 8)
            guard let bundle = try? SignatureBundle(decoding: flipped),
                let found = try? verifier.verify(bundle, document: document)
            else { continue }
            #expect(found.claims == good.claims && found.signer == good.signer, "byte \(index)")
        }
    }

    @Test("takes its age from a verified time, whatever its claims say")
    func age() async throws {
        let bundle = try SignatureBundle(decoding: try Self.read("good-statement.json"))
        let document = Digest(of: try Self.read("artifact"))
        func accepted(at now: String) async throws -> Int {
            var policy = VerificationPolicy(.required, verifiers: [try Self.verifier()])
            let now = try Timestamp(now)
            policy.now = { now }
            let check = SignatureCheck(policy, place: "s3:ci/main")
            return try await check.accept(document, signedBy: SignatureFile([bundle])).count
        }
        #expect(try await accepted(at: "2026-01-20T00:00:00Z") == 1)
        await #expect(throws: CacheError.self) { try await accepted(at: "2026-02-03T00:00:00Z") }
    }
}
