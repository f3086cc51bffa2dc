import BuildCacheCore
import BuildCacheSigning
import TestTools
import Testing

@Suite("A signature bundle")
struct BundleTests {
    private static func sample(_ pem: String = TestKeys.ed25519) async throws -> (Digest, SignatureBundle) {
        let statement = SignedStatement(document: Array("{}".utf8), claims: try .test())
        return (statement.digest, try #require(try await KeySigner.test(pem).sign(statement).first))
    }

    @Test("is refused, or the same signature, with any byte flipped", arguments: [TestKeys.ed25519, TestKeys.p256])
    func flips(_ pem: String) async throws {
        let (document, bundle) = try await Self.sample(pem)
        let verifier = try KeySigner.test(pem).verifier
        let good = try #require(try verifier.verify(bundle, document: document))
        let bytes = bundle.bytes
        for index in bytes.indices {
            for mask: UInt8 in [0x01, 0x20, 0x80] {
                var flipped = bytes
                flipped[index] ^= mask
                let found = try? verifier.verify(try SignatureBundle(decoding: flipped), document: document)
                // Hints are not signed, and base64 has spare bits: what is accepted must make the same claims.
                if let found { #expect(found.claims == good.claims, "byte \(index)") }
            }
        }
    }

    @Test("is refused when cut at any byte, and when doubled")
    func cuts() async throws {
        let (_, bundle) = try await Self.sample()
        let bytes = bundle.bytes
        for count in bytes.indices {
            #expect(throws: CacheError.self) { try SignatureBundle(decoding: Array(bytes.prefix(count))) }
        }
        #expect(throws: CacheError.self) { try SignatureBundle(decoding: bytes + bytes) }
    }

    @Test(
        "is refused with unknown, doubled or missing members",
        arguments: [
            (#""mediaType""#, #""extra":1,"mediaType""#),
            (#""mediaType""#, #""mediatype""#),
            (#""publicKey""#, #""public_key":{"hint":"x"},"publicKey""#),
            (#""payload":"#, #""payload":"AA==","payload":"#),
            (#""keyid""#, #""keyID""#),
            ("v0.3+json", "v0.4+json"),
            ("v0.3+json", "v0.2+json"),
            (#""dsseEnvelope""#, #""messageSignature":{"signature":"AAAA"},"dsseEnvelope""#),
            (#""hint""#, #""rawBytes""#),
            (#""verificationMaterial":{"publicKey""#, #""verificationMaterial":{"x509CertificateChain""#),
            (#"{"publicKey":{"hint""#, #"{"tlogEntries":[{"logIndex":"1"}],"publicKey":{"hint""#),
        ])
    func members(_ change: (String, String)) async throws {
        let text = String(decoding: try await Self.sample().1.bytes, as: UTF8.self)
        #expect(text.contains(change.0))
        let changed = text.replacing(change.0, with: change.1, maxReplacements: 1)
        let error = #expect(throws: CacheError.self) { try SignatureBundle(decoding: Array(changed.utf8)) }
        #expect(error?.code == .untrusted)
    }

    @Test("is read with the names of the protocol buffer, base64 of URLs and spaces")
    func spellings() async throws {
        let (document, bundle) = try await Self.sample()
        var text = String(decoding: bundle.bytes, as: UTF8.self)
        for (name, other) in [
            ("mediaType", "media_type"), ("verificationMaterial", "verification_material"), ("publicKey", "public_key"),
            ("dsseEnvelope", "dsse_envelope"), ("payloadType", "payload_type"),
        ] { text = text.replacing("\"\(name)\"", with: "\n \"\(other)\"") }
        text = text.replacing("==\"", with: "\"")
        let read = try SignatureBundle(decoding: Array(text.utf8))
        #expect(read.content == bundle.content)
        #expect(!read.bytes.contains(UInt8(ascii: "\n")))
        #expect(try KeySigner.test().verifier.verify(read, document: document) != nil)
    }

    @Test("of two signatures in one envelope is refused")
    func twoSignatures() async throws {
        let (document, bundle) = try await Self.sample()
        guard case .envelope(var envelope) = bundle.content else { return }
        envelope.signatures.append(contentsOf: envelope.signatures)
        let doubled = SignatureBundle(.envelope(envelope), by: bundle.signer)
        #expect(throws: CacheError.self) { try KeySigner.test().verifier.verify(doubled, document: document) }
    }

    @Test("past 256 KiB, 32 log entries or 16 signatures is refused by the limit")
    func limits() async throws {
        let text = String(decoding: try await Self.sample().1.bytes, as: UTF8.self)
        let space = String(repeating: " ", count: SignatureBundle.maximumBytes)
        let entry = #"{"logIndex":"1","logId":{"keyId":"AA=="},"canonicalizedBody":"AA==","inclusionProof":{}}"#
        let entries = Array(repeating: entry, count: 33).joined(separator: ",")
        for changed in [
            text + space, text.replacing("{\"publicKey\"", with: "{\"tlogEntries\":[\(entries)],\"publicKey\""),
        ] {
            let error = #expect(throws: CacheError.self) { try SignatureBundle(decoding: Array(changed.utf8)) }
            #expect(error?.code == .limitExceeded)
        }
    }

    @Test("with log entries and timestamps is written as it is read")
    func entries() throws {
        let text =
            #"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"AQID"},"tlogEntries":[{"logIndex":"12","logId":{"keyId":"AQ=="},"kindVersion":{"kind":"hashedrekord","version":"0.0.1"},"integratedTime":"1766077479","inclusionPromise":{"signedEntryTimestamp":"Ag=="},"inclusionProof":{"logIndex":"3","rootHash":"Aw==","treeSize":"4","hashes":["BA=="],"checkpoint":{"envelope":"note\n"}},"canonicalizedBody":"BQ=="}],"timestampVerificationData":{"rfc3161Timestamps":[{"signedTimestamp":"Bg=="}]}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"signature":"Bw=="}}"#
        let bundle = try SignatureBundle(decoding: Array(text.utf8))
        let again = SignatureBundle(
            bundle.content, by: bundle.signer, logEntries: bundle.logEntries, timestamps: bundle.timestamps)
        #expect(String(decoding: again.bytes, as: UTF8.self) == text)
    }

    @Test("file keeps sixteen lines, and replaces older signatures of one signer for one name")
    func file() async throws {
        let signer = try KeySigner.test()
        var file = SignatureFile()
        for sequence in 1...40 {
            let statement = SignedStatement(
                document: [1], claims: try .test(name: "memory:\(sequence % 20)", sequence: Int64(sequence)))
            file = try #require(file.adding(try await signer.sign(statement)))
            #expect(file.adding(try await signer.sign(statement)) == nil)
        }
        #expect(file.lines.count == SignatureFile.maximumLines)
        let read = SignatureFile(decoding: file.bytes)
        #expect(read == file || read.bytes == file.bytes)
        let sequences = read.bundles.compactMap { $0.unverifiedClaims?.sequence }
        #expect(sequences == Array(25...40))
        #expect(SignatureFile(decoding: file.bytes + file.bytes).bundles.isEmpty)
    }

    @Test("of garbage is refused ten thousand times without reading past the limits")
    func garbage() {
        var generator = SystemRandomNumberGenerator()
        var accepted = 0
        for _ in 0..<10_000 {
            let bytes = (0..<200).map { _ in UInt8.random(in: 32...126, using: &generator) }
            if (try? SignatureBundle(decoding: bytes)) != nil { accepted += 1 }
        }
        #expect(accepted == 0)
    }
}
