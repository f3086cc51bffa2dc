import BuildCacheCore
import BuildCacheSigning
import Foundation
import TestTools
import Testing

/// Signatures that pass between this library and other programs, in both directions.
@Suite("Another program")
struct OtherToolsTests {
    private static let openssl = Tool("openssl")

    private static func verifyArguments(_ pem: String, _ key: String, _ signature: String, _ message: String)
        -> [String]
    {
        pem == TestKeys.p256
            ? ["dgst", "-sha256", "-verify", key, "-signature", signature, message]
            : ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key, "-in", message, "-sigfile", signature]
    }

    @Test(
        "openssl verifies our signatures, and refuses them over one changed byte", .enabled(if: openssl.isInstalled),
        arguments: [TestKeys.p256, TestKeys.ed25519])
    func opensslVerifies(_ pem: String) async throws {
        let directory = try TemporaryDirectory()
        func file(_ name: String, _ bytes: [UInt8]) throws -> String {
            let path = "\(directory.path)/\(name)"
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            return path
        }
        let statement = SignedStatement(document: Array("{}".utf8), claims: try .test())
        let bundle = try #require(try await KeySigner.test(pem).sign(statement).first)
        guard case .envelope(let envelope) = bundle.content, let signature = envelope.signatures.first else { return }
        let key = try file("key", try await Self.openssl.output("pkey", "-pubout", input: Array(pem.utf8)))
        let (good, bad) = (statement.encoded, statement.encoded.dropLast() + [0])
        let raw = try file("signature", signature.bytes)
        _ = try await Self.openssl.output(Self.verifyArguments(pem, key, raw, try file("good", good)))
        await #expect(throws: ToolFailure.self) {
            try await Self.openssl.output(Self.verifyArguments(pem, key, raw, try file("bad", Array(bad))))
        }
    }

    @Test(
        "openssl signs, and we verify it, over no changed byte", .enabled(if: openssl.isInstalled),
        arguments: [TestKeys.p256, TestKeys.ed25519])
    func opensslSigns(_ pem: String) async throws {
        let directory = try TemporaryDirectory()
        let (key, message) = ("\(directory.path)/key", "\(directory.path)/message")
        try Data(pem.utf8).write(to: URL(fileURLWithPath: key))
        let isP256 = pem == TestKeys.p256
        let publicKey = String(
            decoding: try await Self.openssl.output("pkey", "-pubout", input: Array(pem.utf8)), as: UTF8.self)
        let signer = try ClosureSigner(publicKeyPEM: publicKey) { bytes in
            try Data(bytes).write(to: URL(fileURLWithPath: message))
            return try await Self.openssl.output(
                isP256
                    ? ["dgst", "-sha256", "-sign", key, message]
                    : ["pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", message])
        }
        let statement = SignedStatement(document: [1, 2, 3], claims: try .test())
        let bundles = try await SigningPolicy(signers: [signer]).sign(statement)
        #expect(bundles.count == 1)
        guard case .envelope(var envelope) = bundles.first?.content else { return }
        envelope.payload.append(UInt8(ascii: " "))
        let changed = SignatureBundle(.envelope(envelope), by: .key(hint: ""))
        #expect(try signer.verifier.verify(changed, document: statement.digest) == nil)
    }

    private static let script = """
        import base64, json, sys
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
        from securesystemslib.dsse import Envelope
        from securesystemslib.signer import CryptoSigner, SSlibKey
        task = json.load(sys.stdin)
        if task["do"] == "verify":
            key = SSlibKey.from_crypto(load_pem_public_key(task["key"].encode()), keyid=task["hint"])
            try:
                Envelope.from_dict(task["envelope"]).verify([key], 1)
                print("good", end="")
            except Exception:
                print("bad", end="")
        else:
            signer = CryptoSigner(load_pem_private_key(task["key"].encode(), None))
            envelope = Envelope(base64.b64decode(task["payload"]), "application/vnd.in-toto+json", {})
            envelope.sign(signer)
            print(envelope.to_dict()["signatures"][0]["sig"], end="")
        """

    /// The output of the script; `nil` if the package is not installed.
    private static func python(_ task: [String: Any]) async throws -> String? {
        guard (try? await Tool.python.output("-c", "import securesystemslib.dsse, cryptography")) != nil else {
            return nil
        }
        let input = try JSONSerialization.data(withJSONObject: task)
        return String(decoding: try await Tool.python.output(["-c", script], input: Array(input)), as: UTF8.self)
    }

    @Test(
        "securesystemslib verifies our bundles, and refuses one changed byte",
        arguments: [TestKeys.p256, TestKeys.ed25519])
    func secureSystemsVerifies(_ pem: String) async throws {
        let signer = try KeySigner.test(pem)
        let statement = SignedStatement(document: Array("{}".utf8), claims: try .test())
        let bundle = try #require(try await signer.sign(statement).first)
        let object = try JSONSerialization.jsonObject(with: Data(bundle.bytes)) as? [String: Any]
        var envelope = try #require(object?["dsseEnvelope"] as? [String: Any])
        let key = String(
            decoding: try await Self.openssl.output("pkey", "-pubout", input: Array(pem.utf8)), as: UTF8.self)
        func answer() async throws -> String? {
            try await Self.python(["do": "verify", "key": key, "hint": signer.hint, "envelope": envelope])
        }
        guard let first = try await answer() else { return }
        #expect(first == "good")
        envelope["payload"] = Data(statement.payload.dropLast() + [0]).base64EncodedString()
        #expect(try await answer() == "bad")
    }

    @Test("securesystemslib signs, and we verify it", arguments: [TestKeys.p256, TestKeys.ed25519])
    func secureSystemsSigns(_ pem: String) async throws {
        let statement = SignedStatement(document: Array("{}".utf8), claims: try .test())
        let payload = Data(statement.payload).base64EncodedString()
        guard let text = try await Self.python(["do": "sign", "key": pem, "payload": payload]) else { return }
        let signature = try #require(Data(base64Encoded: text))
        let envelope = SignatureBundle.Envelope(
            payload: statement.payload, payloadType: "application/vnd.in-toto+json",
            signatures: [.init(bytes: Array(signature))])
        let bundle = SignatureBundle(.envelope(envelope), by: .key(hint: ""))
        let verified = try KeySigner.test(pem).verifier.verify(bundle, document: statement.digest)
        #expect(try verified?.claims == .test())
    }
}
