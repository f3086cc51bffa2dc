import BuildCacheCore
import BuildCacheSigning
import TestTools
import Testing

@Suite("A signing key")
struct KeyTests {
    @Test("is read as PKCS#8, SEC1 and encrypted PKCS#8, with the same public key")
    func forms() throws {
        let hints = [
            try KeySigner(pem: Secret(TestKeys.p256)).hint, try KeySigner(pem: Secret(TestKeys.p256SEC1)).hint,
            try KeySigner(pem: Secret(TestKeys.p256Encrypted), passphrase: Secret("secret")).hint,
        ]
        #expect(Set(hints).count == 1)
    }

    @Test("is refused with a wrong or missing passphrase", arguments: [nil, "wrong", ""])
    func passphrase(_ text: String?) {
        let error = #expect(throws: CacheError.self) {
            try KeySigner(pem: Secret(TestKeys.p256Encrypted), passphrase: text.map { Secret($0) })
        }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.contains("passphrase") == true)
    }

    @Test(
        "is refused for another algorithm or curve, and in cosign's own encryption",
        arguments: [
            TestKeys.rsa, TestKeys.p384, TestKeys.explicit,
            "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----",
            "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED COSIGN PRIVATE KEY-----",
        ])
    func unsupported(_ pem: String) {
        let error = #expect(throws: CacheError.self) { try KeySigner(pem: Secret(pem)) }
        #expect(error?.code == .unsupported)
    }

    @Test("is refused if it is not a key at all", arguments: ["", "key", TestKeys.p256Public])
    func garbage(_ pem: String) {
        let error = #expect(throws: CacheError.self) { try KeySigner(pem: Secret(pem)) }
        #expect(error?.code == .invalidSpec)
    }

    @Test("is refused as a public key if it is private, damaged in one of several, or missing")
    func publicKeys() throws {
        _ = try KeyVerifier(pem: [TestKeys.p256Public])
        for texts in [
            [], [""], [TestKeys.p256],
            [TestKeys.p256Public + "\n" + TestKeys.p256Public.replacing("\n", with: "\nAA", maxReplacements: 1)],
        ] {
            let error = #expect(throws: CacheError.self) { try KeyVerifier(pem: texts) }
            #expect(error?.code == .invalidSpec)
        }
    }

    @Test("never shows in a description")
    func redacted() throws {
        let signer = try KeySigner.test(TestKeys.p256)
        var text = ""
        dump(signer, to: &text)
        #expect(!text.contains(TestKeys.p256.split(separator: "\n")[1]))
    }

    @Test("signs what its public key verifies, and no other document", arguments: [TestKeys.ed25519, TestKeys.p256])
    func signs(_ pem: String) async throws {
        let signer = try KeySigner.test(pem)
        let statement = SignedStatement(document: [1], claims: try .test())
        let bundle = try #require(try await signer.sign(statement).first)
        let signature = try #require(try signer.verifier.verify(bundle, document: statement.digest))
        #expect(signature.signer == signer.hint)
        let error = #expect(throws: CacheError.self) {
            try signer.verifier.verify(bundle, document: Digest(of: [2]))
        }
        #expect(error?.code == .untrusted)
        let other = try KeySigner.test(TestKeys.otherEd25519)
        #expect(try other.verifier.verify(bundle, document: statement.digest) == nil)
    }

    @Test("may be elsewhere: a closure gets the bytes to sign")
    func closure() async throws {
        let key = try KeySigner.test(TestKeys.p256)
        let signer = try ClosureSigner(publicKeyPEM: TestKeys.p256Public) { try key.rawSignature(over: $0) }
        let statement = SignedStatement(document: [1], claims: try .test())
        let bundles = try await SigningPolicy(signers: [signer]).sign(statement)
        #expect(try key.verifier.verify(try #require(bundles.first), document: statement.digest) != nil)
    }

    @Test("elsewhere that lies makes no signature", arguments: ["other bytes", "nothing", "another key's"])
    func lyingClosure(_ lie: String) async throws {
        let (key, other) = (try KeySigner.test(TestKeys.p256), try KeySigner.test())
        let signer = try ClosureSigner(publicKeyPEM: TestKeys.p256Public) { bytes in
            switch lie {
            case "other bytes": try key.rawSignature(over: bytes + [0])
            case "nothing": []
            default: try other.rawSignature(over: bytes)
            }
        }
        let statement = SignedStatement(document: [1], claims: try .test())
        let error = await #expect(throws: CacheError.self) {
            try await SigningPolicy(signers: [signer]).sign(statement)
        }
        #expect(error?.code == .untrusted)
    }
}
