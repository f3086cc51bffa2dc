@testable import BuildCache
@testable import BuildCacheCore
@testable import BuildCacheSigning
import Foundation
@testable import TestTools
import Testing

/// External signers, written with openssl and the shell.
@Suite("A program that signs", .timeLimit(.minutes(10)))
struct ProgramSignerTests {
    private static let claims = SignatureClaims(name: "memory:main", signedAt: .now(), sequence: 1)

    /// A script that makes a bundle of what openssl signs.
    private static func script(_ input: ProgramSigner.Input, key: String, change: String = "cat") -> String {
        switch input {
        case .document:
            """
            set -e; d=$(mktemp -d); trap 'rm -r "$d"' EXIT; \(change) > "$d/m"
            s=$(openssl dgst -sha256 -sign \(key) "$d/m" | base64 | tr -d '\\n')
            printf '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":""}},"messageSignature":{"signature":"%s"}}' "$s"
            """
        default:
            """
            set -e; d=$(mktemp -d); trap 'rm -r "$d"' EXIT; \(change) > "$d/p"; n=$(wc -c < "$d/p" | tr -d ' ')
            { printf 'DSSEv1 28 application/vnd.in-toto+json %s ' "$n"; cat "$d/p"; } > "$d/m"
            s=$(openssl dgst -sha256 -sign \(key) "$d/m" | base64 | tr -d '\\n'); p=$(base64 < "$d/p" | tr -d '\\n')
            printf '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":""}},"dsseEnvelope":{"payload":"%s","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"%s"}]}}' "$p" "$s"
            """
        }
    }

    private static func withKey(_ body: (String) async throws -> Void) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/key.pem"
        try TestKeys.p256.write(toFile: path, atomically: true, encoding: .utf8)
        try await body(path)
    }

    private static func sign(
        _ script: String, _ input: ProgramSigner.Input, timeout: Duration = .seconds(60), document: [UInt8]
    ) async throws -> [SignatureBundle] {
        let verifier = try KeyVerifier(pem: [TestKeys.p256Public])
        let signer = try ProgramSigner(
            ["sh", "-c", script], input: input, timeout: timeout, verifiedBy: verifier)
        return try await SigningPolicy(signers: [signer]).sign(SignedStatement(document: document, claims: claims))
    }

    @Test(
        "gets the document or the statement, and what it prints verifies", .enabled(if: Tool("openssl").isInstalled),
        arguments: [ProgramSigner.Input.document, .statement])
    func signs(_ input: ProgramSigner.Input) async throws {
        try await Self.withKey { key in
            // More than a pipe holds.
            let document = [UInt8](repeating: 7, count: 1 << 20)
            let bundles = try await Self.sign(Self.script(input, key: key), input, document: document)
            let bundle = try #require(bundles.first)
            let verifier = try KeyVerifier(pem: [TestKeys.p256Public])
            let signature = try verifier.verify(bundle, document: Digest(of: document))
            #expect(signature?.claims == (input == .statement ? Self.claims : nil))
        }
    }

    @Test(
        "is refused if it signs something else, fails, prints garbage or too much",
        .enabled(if: Tool("openssl").isInstalled),
        arguments: [ProgramSigner.Input.document, .statement])
    func refused(_ input: ProgramSigner.Input) async throws {
        try await Self.withKey { key in
            let other: ProgramSigner.Input = input == .document ? .statement : .document
            for (script, code) in [
                (Self.script(input, key: key, change: "{ cat; echo; }"), CacheError.Code.untrusted),
                (Self.script(other, key: key), .untrusted), ("echo no key is there >&2; exit 3", .unavailable),
                ("echo garbage", .untrusted), ("true", .untrusted), ("yes | head -c 300000", .limitExceeded),
            ] {
                let error = await #expect(throws: CacheError.self) {
                    try await Self.sign(script, input, document: [1])
                }
                #expect(error?.code == code, "\(script)")
                if code == .unavailable { #expect(error?.message.contains("no key is there") == true) }
            }
        }
    }

    @Test("is stopped after its time")
    func hangs() async throws {
        let error = await #expect(throws: CacheError.self) {
            try await Self.sign("read answer < /dev/zero", .statement, timeout: .milliseconds(50), document: [1])
        }
        #expect(error?.code == .unavailable)
    }

    @Test("must exist")
    func missing() throws {
        let verifier = try KeyVerifier(pem: [TestKeys.p256Public])
        for command in [[], [""], ["no-such-program-anywhere"]] {
            let error = #expect(throws: CacheError.self) {
                try ProgramSigner(command, input: .document, verifiedBy: verifier)
            }
            #expect(error?.code == .invalidSpec)
        }
    }
}
