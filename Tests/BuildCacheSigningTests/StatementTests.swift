import BuildCacheCore
import BuildCacheSigning
import Testing

@Suite("A signed statement")
struct StatementTests {
    /// A document whose digest is the one of the specification's vector is not known, so the vector replaces it in the payload.
    private static let vector =
        #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"709b7e262ef6294e2f60d359079044a0ec4ef47faccd60cabaf72f33613ca447"},"annotations":{"build-cache.name":"s3:ci/main","build-cache.sequence":"7","build-cache.signed-at":"2026-01-02T03:04:05Z"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}"#
    private static let digest = "709b7e262ef6294e2f60d359079044a0ec4ef47faccd60cabaf72f33613ca447"

    @Test("has the bytes of the specification's vector")
    func vectorBytes() throws {
        let statement = SignedStatement(document: Array("{}".utf8), claims: try .test())
        let text = String(decoding: statement.payload, as: UTF8.self)
        #expect(text.replacing(statement.digest.hex, with: Self.digest) == Self.vector)
        #expect(Self.vector.utf8.count == 335)
        #expect(Digest(of: Self.vector.utf8).hex.hasPrefix("f4645830"))
        let encoded = DSSE.encode(Array(Self.vector.utf8), type: DSSE.statementType)
        #expect(encoded.count == 378)
        #expect(Digest(of: encoded).hex == "393cc365dbfbf9ee101887108fdf10a4a380fe701599afaa01900fbe6a73cccf")
    }

    @Test("is signed and bundled with the bytes of the specification's vector")
    func bundleVector() async throws {
        let signer = try KeySigner.test()
        #expect(signer.hint == "oFCDfYUHBYLM9zlLCYiEfMMSy4glm4lImfbyOc8XkaU=")
        let payload = Array(Self.vector.utf8)
        let bytes = try signer.rawSignature(over: DSSE.encode(payload, type: DSSE.statementType))
        #expect(
            String(decoding: Base64.encode(bytes), as: UTF8.self)
                == "Mm4+/Cw2ag/G9Bv/wIb8suraEq04zaq8gV9B2lWnbKrQUyNdZA2pYlWM4yadjpIw9QiNcKBAtUfYwfEZcw5PBA==")
        let envelope = SignatureBundle.Envelope(
            payload: payload, payloadType: DSSE.statementType, signatures: [.init(bytes: bytes, keyID: signer.hint)])
        let bundle = SignatureBundle(.envelope(envelope), by: .key(hint: signer.hint))
        #expect(bundle.bytes.count == 846)
        #expect(
            Digest(of: bundle.bytes).hex == "6e7c3aa5f2d7a5a41f4f36067cb78a1c8f0939b11279869d0b4da81a93a08f83")
        let verified = try #require(
            try signer.verifier.verify(
                try SignatureBundle(decoding: bundle.bytes), document: try Digest("sha256:" + Self.digest)))
        #expect(verified.claims == (try .test()))
    }

    @Test("keeps all claims when it is signed and verified")
    func claims() async throws {
        let signer = try KeySigner.test()
        var claims = try SignatureClaims.test(name: "registry:ghcr.io/a/b:é<main>&", kind: .mount)
        claims.previous = Digest(of: "previous".utf8)
        claims.copiedFrom = Digest(of: "source".utf8)
        claims.copiedSigner = signer.hint
        let statement = SignedStatement(document: [1, 2, 3], claims: claims)
        let bundle = try #require(try await signer.sign(statement).first)
        #expect(try signer.verifier.verify(bundle, document: statement.digest)?.claims == claims)
    }

    @Test(
        "is refused with a malformed claim",
        arguments: [
            ["build-cache.name": "a"],
            ["build-cache.name": "a", "build-cache.sequence": "01", "build-cache.signed-at": "2026-01-02T03:04:05Z"],
            ["build-cache.name": "a", "build-cache.sequence": "0", "build-cache.signed-at": "2026-01-02T03:04:05Z"],
            ["build-cache.name": "a", "build-cache.sequence": "-1", "build-cache.signed-at": "2026-01-02T03:04:05Z"],
            [
                "build-cache.name": "a", "build-cache.sequence": "9223372036854775808",
                "build-cache.signed-at": "2026-01-02T03:04:05Z",
            ],
            [
                "build-cache.name": "a", "build-cache.sequence": "1",
                "build-cache.signed-at": "2026-01-02T03:04:05+01:00",
            ],
            ["build-cache.name": "a", "build-cache.sequence": "1", "build-cache.signed-at": "2026-01-02T03:04:05.5Z"],
            ["build-cache.name": "", "build-cache.sequence": "1", "build-cache.signed-at": "2026-01-02T03:04:05Z"],
            [
                "build-cache.name": "a", "build-cache.sequence": "1", "build-cache.signed-at": "2026-01-02T03:04:05Z",
                "build-cache.previous": "sha256:12",
            ],
        ])
    func malformed(_ annotations: [String: String]) {
        let error = #expect(throws: CacheError.self) { try SignatureClaims(annotations: annotations) }
        #expect(error?.code == .untrusted)
    }

    @Test("has no claims if no annotation is one of a build cache")
    func noClaims() throws { #expect(try SignatureClaims(annotations: ["org.example": "x"]) == nil) }
}
