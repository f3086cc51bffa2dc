import BuildCacheCore
import BuildCacheSigning
import Foundation
import TestTools
import Testing

/// Expects a refusal, and gives its reason.
private func refusal(_ body: () async throws -> Void) async -> String {
    let error = await #expect(throws: CacheError.self) { try await body() }
    #expect(error?.code == .untrusted)
    return error?.message ?? ""
}

@Suite("A verification policy")
struct PolicyTests {
    @Test("accepts a signature for the place, of the kind, in time")
    func accepts() async throws {
        let signer = try KeySigner.test()
        var signed = Signed()
        try await signed.sign(try .test(), by: signer)
        let accepted = try await signed.check(try .test([signer]))
        #expect(accepted.map(\.signer) == [signer.hint])
        #expect(try accepted.first?.claims == .test())
    }

    @Test("refuses a document without a signature if one is required, and accepts it if not")
    func missing() async throws {
        let signer = try KeySigner.test()
        #expect(await refusal { _ = try await Signed().check(try .test([signer])) }.contains("no signature"))
        #expect(try await Signed().check(try .test([signer], mode: .ifPresent)).isEmpty)
    }

    @Test("refuses signatures of unknown signers, also where none is required", arguments: [true, false])
    func unknown(_ isRequired: Bool) async throws {
        var signed = Signed()
        try await signed.sign(try .test(), by: try KeySigner.test(TestKeys.p256))
        let policy = try VerificationPolicy.test([try KeySigner.test()], mode: isRequired ? .required : .ifPresent)
        #expect(await refusal { _ = try await signed.check(policy) }.contains("trusted signer"))
    }

    @Test("accepts a mirror's name only where it is allowed")
    func names() async throws {
        let signer = try KeySigner.test()
        var signed = Signed()
        try await signed.sign(try .test(), by: signer)
        #expect(
            await refusal { _ = try await signed.check(try .test([signer]), at: "s3:mirror/main") }.contains(
                "signed for"))
        let policy = try VerificationPolicy.test([signer]) { $0.names = ["s3:ci/main"] }
        #expect(try await signed.check(policy, at: "s3:mirror/main").count == 1)
    }

    @Test("counts different signers against a threshold of two of three")
    func threshold() async throws {
        let signers = [
            try KeySigner.test(), try KeySigner.test(TestKeys.p256), try KeySigner.test(TestKeys.otherEd25519),
        ]
        let policy = try VerificationPolicy.test(signers) { $0.threshold = 2 }
        var signed = Signed()
        try await signed.sign(try .test(), by: signers[0])
        try await signed.sign(try .test(sequence: 8), by: signers[0])
        #expect(await refusal { _ = try await signed.check(policy) }.contains("expected 2"))
        try await signed.sign(try .test(), by: signers[2])
        #expect(try await signed.check(policy).count == 2)
    }

    @Test("accepts a good signature beside a bad one, and no bad one alone")
    func badBesideGood() async throws {
        let (good, bad) = (try KeySigner.test(), try KeySigner.test(TestKeys.p256))
        var signed = Signed()
        try await signed.sign(try .test(name: "s3:ci/other"), by: bad)
        let policy = try VerificationPolicy.test([good, bad])
        _ = await refusal { _ = try await signed.check(policy) }
        try await signed.sign(try .test(), by: good)
        #expect(try await signed.check(policy).map(\.signer) == [good.hint])
    }

    @Test("follows a rotation of keys: both sign, then the old key goes")
    func rotation() async throws {
        let (old, new) = (try KeySigner.test(), try KeySigner.test(TestKeys.p256))
        var signed = Signed()
        try await signed.sign(try .test(), by: old)
        try await signed.sign(try .test(), by: new)
        for signers in [[old], [new], [old, new]] { #expect(!(try await signed.check(try .test(signers)).isEmpty)) }
    }

    @Test("refuses a time in the future, with five minutes of tolerance")
    func future() async throws {
        let signer = try KeySigner.test()
        var signed = Signed()
        try await signed.sign(try .test(signedAt: "2026-01-02T04:05:00Z"), by: signer)
        #expect(try await signed.check(try .test([signer])).count == 1)
        let early = try VerificationPolicy.test([signer], now: "2026-01-02T03:59:59Z")
        #expect(await refusal { _ = try await signed.check(early) }.contains("future"))
    }

    @Test("refuses a signature without claims unless they are waived")
    func claims() async throws {
        let key = try KeySigner.test(TestKeys.p256)
        var signed = Signed()
        let signature = try key.rawSignature(over: signed.document)
        signed.file = SignatureFile([
            SignatureBundle(.message(digest: nil, signature: signature), by: .key(hint: key.hint))
        ])
        #expect(await refusal { _ = try await signed.check(try .test([key])) }.contains("no claims"))
        let waived = try VerificationPolicy.test([key]) { $0.requiresClaims = false }
        #expect(try await signed.check(waived).count == 1)
    }

    @Test("without verifiers, with a threshold of none or a negative age is refused")
    func invalid() throws {
        let key = try KeySigner.test()
        let policies = [
            try VerificationPolicy.test([]), try .test([key]) { $0.threshold = 0 },
            try .test([key]) { $0.maximumAge = .seconds(-1) },
        ]
        for policy in policies { #expect(throws: CacheError.self) { try policy.validate() } }
        try VerificationPolicy.off.validate()
    }
}

/// One test per row of the table of threats, `Documentation/Spec/signing.md` §9, of what can be seen without a store.
@Suite("An attacker")
struct ThreatTests {
    @Test("a PR's job writes main's cache: it has no key")
    func pullRequest() async throws {
        var signed = Signed("poisoned")
        try await signed.sign(try .test(), by: try KeySigner.test(TestKeys.otherEd25519))
        _ = await refusal { _ = try await signed.check(try .test([try KeySigner.test()])) }
    }

    @Test("store or registry taken over, new document: no signature of it exists")
    func newDocument() async throws {
        let signer = try KeySigner.test()
        var signed = Signed()
        try await signed.sign(try .test(), by: signer)
        var forged = Signed("other")
        forged.file = signed.file
        _ = await refusal { _ = try await forged.check(try .test([signer])) }
    }

    @Test("old signed document put back: the memory refuses it", arguments: [false, true])
    func replay(_ onDisk: Bool) async throws {
        let signer = try KeySigner.test()
        let directory = try TemporaryDirectory()
        let path = directory.path + "/new/memory.json"
        var memory = SignatureMemory(path: onDisk ? path : nil)
        func policy() throws -> VerificationPolicy { try .test([signer]) { $0.memory = memory } }
        var (old, new) = (Signed("old"), Signed("new"))
        try await old.sign(try .test(sequence: 7), by: signer)
        try await new.sign(try .test(sequence: 8), by: signer)
        for signed in [old, new] {
            let check = SignatureCheck(try policy(), place: "s3:ci/main")
            try await check.remember(try await signed.check(try policy()))
        }
        if onDisk { memory = SignatureMemory(path: path) }
        #expect(await refusal { _ = try await old.check(try policy()) }.contains("older"))
        #expect(try await new.check(try policy()).count == 1)
        // Another place has a history of its own.
        var elsewhere = Signed("old")
        try await elsewhere.sign(try .test(name: "s3:ci/other", sequence: 1), by: signer)
        #expect(try await elsewhere.check(try policy(), at: "s3:ci/other").count == 1)
    }

    @Test("old signed document put back on a fresh machine: it ends at the maximum age")
    func oldAge() async throws {
        let signer = try KeySigner.test()
        var signed = Signed()
        try await signed.sign(try .test(), by: signer)
        #expect(try await signed.check(try .test([signer], now: "2026-02-01T03:04:05Z")).count == 1)
        let late = try VerificationPolicy.test([signer], now: "2026-02-01T03:04:06Z")
        #expect(await refusal { _ = try await signed.check(late) }.contains("longer ago"))
    }

    @Test("fork: an equal sequence with another document counts if it is not older")
    func fork() async throws {
        let signer = try KeySigner.test()
        let memory = SignatureMemory()
        let policy = try VerificationPolicy.test([signer]) { $0.memory = memory }
        var (first, second) = (Signed("first"), Signed("second"))
        try await first.sign(try .test(), by: signer)
        try await second.sign(try .test(signedAt: "2026-01-02T03:04:04Z"), by: signer)
        try await SignatureCheck(policy, place: "s3:ci/main").remember(try await first.check(policy))
        _ = await refusal { _ = try await second.check(policy) }
        #expect(try await first.check(policy).count == 1)
    }

    @Test("signed document of another name, scope or kind served: the claims refuse it")
    func otherName() async throws {
        let signer = try KeySigner.test()
        for claims in [
            try SignatureClaims.test(name: "s3:ci/pr"), try .test(name: "gha:main@refs/heads/pr"),
            try .test(kind: .mount),
            try .test(kind: .catalogue),
        ] {
            var signed = Signed()
            try await signed.sign(claims, by: signer)
            _ = await refusal { _ = try await signed.check(try .test([signer])) }
        }
        var mount = Signed()
        try await mount.sign(try .test(kind: .mount), by: signer)
        #expect(try await mount.check(try .test([signer]), kind: .mount).count == 1)
    }

    @Test("signature taken away: required refuses")
    func stripped() async throws {
        _ = await refusal { _ = try await Signed().check(try .test([try KeySigner.test()])) }
    }

    @Test("signature of a revoked key, backdated: the key is gone from the set")
    func revoked() async throws {
        let (revoked, current) = (try KeySigner.test(), try KeySigner.test(TestKeys.p256))
        var signed = Signed()
        try await signed.sign(try .test(signedAt: "2025-12-31T00:00:00Z"), by: revoked)
        _ = await refusal { _ = try await signed.check(try .test([current])) }
    }

    @Test("oversized or garbage bundle: the limits refuse it")
    func garbage() async throws {
        let signer = try KeySigner.test()
        var signed = Signed()
        try await signed.sign(try .test(), by: signer)
        let good = signed.file.bytes
        for bytes in [
            [UInt8](repeating: 10, count: 300_000) + good, Array(repeating: good, count: 17).flatMap { $0 },
            Array("garbage".utf8), Array(good.dropLast(2)),
        ] {
            let check = SignatureCheck(try .test([signer]), place: "s3:ci/main")
            _ = await refusal { _ = try await check.accept(signed.digest, signedBy: SignatureFile(decoding: bytes)) }
        }
    }

    @Test("damaged memory of accepted signatures: reading fails instead of forgetting")
    func damagedMemory() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/memory.json"
        let signer = try KeySigner.test()
        var signed = Signed()
        try await signed.sign(try .test(), by: signer)
        let memory = SignatureMemory(path: path)
        try await memory.add(try await signed.check(try .test([signer])), at: "s3:ci/main")
        #expect(try await memory.entries(of: "s3:ci/main")[signer.hint]?.sequence == 7)
        let text = try String(contentsOfFile: path, encoding: .utf8)
        try text.dropLast(5).write(toFile: path, atomically: true, encoding: .utf8)
        let error = await #expect(throws: CacheError.self) { try await memory.entries(of: "s3:ci/main") }
        #expect(error?.code == .corrupted)
    }
}
