import BuildCacheCore
import BuildCacheSigning
import Foundation
import Testing

/// The bundles of sigstore-conformance, which are not part of this repository.
///
/// `SIGSTORE_CONFORMANCE` names the folder `test/assets/bundle-verify` of a checkout, and `SIGSTORE_TRUSTED_ROOT` the file of the public good
/// instance's root.
@Suite("A case of sigstore-conformance")
struct ConformanceCaseTests {
    private static let folder = ProcessInfo.processInfo.environment["SIGSTORE_CONFORMANCE"]
    private static let root = ProcessInfo.processInfo.environment["SIGSTORE_TRUSTED_ROOT"]
    private static let cases: [String] =
        (folder.flatMap { try? FileManager.default.contentsOfDirectory(atPath: $0) } ?? [])
        .filter { !$0.contains(".") || $0.hasPrefix("happy-path") }.sorted()

    @Test("is as its name says", .enabled(if: folder != nil && root != nil, "no checkout is named"), arguments: cases)
    func verifies(_ name: String) throws {
        let folder = try #require(Self.folder)
        func read(_ file: String) -> [UInt8]? {
            (try? Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)/\(file)"))).map { Array($0) }
        }
        func text(_ file: String) -> String? {
            read(file).map { String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines) }
        }
        let shared = Array(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/a.txt")))
        let root =
            try read("trusted_root.json") ?? Array(try Data(contentsOf: URL(fileURLWithPath: try #require(Self.root))))
        let document = Digest(of: read("artifact") ?? shared)
        var verified: VerifiedSignature?
        var reason = "no signer is known"
        do throws(CacheError) {
            let bundle = try SignatureBundle(decoding: read("bundle.sigstore.json") ?? [])
            let verifier: any SignatureVerifier =
                if let key = text("key.pub") { try KeyVerifier(pem: [key]) } else {
                    try CertificateVerifier(
                        trustedRoot: root,
                        identities: [
                            [
                                .subjectAlternativeName: text("identity")
                                    ?? "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main",
                                .issuer: text("issuer") ?? "https://token.actions.githubusercontent.com",
                            ]
                        ])
                }
            verified = try verifier.verify(bundle, document: document)
        } catch {
            reason = error.message
        }
        #expect((verified != nil) == !name.hasSuffix("_fail"), "\(reason)")
    }
}
