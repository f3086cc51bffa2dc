public import ArgumentParser
public import BuildCacheClient
import Foundation

/// The options of programs that sign or verify.
public struct SigningOptions: ParsableArguments {
    /// The file of a private key to sign with.
    @Option(help: "A private key in PEM, P-256 or Ed25519, to sign with; its passphrase is in SIGN_KEY_PASSPHRASE.")
    public var signKey: String?
    /// The files of public keys that are trusted.
    @Option(help: "A public key in PEM whose signatures are trusted; several may be given.")
    public var verifyKey: [String] = []
    /// Whether a cache without signatures is refused.
    @Flag(help: "Refuse a cache without a trusted signature, instead of one with bad signatures only.")
    public var requireSignature = false
    /// The greatest age of a signature in days.
    @Option(help: "Refuse signatures that are older than this many days.")
    public var verifyAgeDays: Int64 = 30

    /// Creates options without keys.
    public init() {}

    /// Checks that the options make sense together.
    public func validate() throws {
        guard !requireSignature || !verifyKey.isEmpty else {
            throw ValidationError("--require-signature needs a --verify-key")
        }
        guard (0...100_000).contains(verifyAgeDays) else {
            throw ValidationError("--verify-age-days is a number from 0 to 100000")
        }
    }

    /// The signer; `nil` without a key.
    public func signing() throws -> SigningPolicy? {
        guard let signKey else { return nil }
        let pem = try String(contentsOfFile: signKey, encoding: .utf8)
        let passphrase = ProcessInfo.processInfo.environment["SIGN_KEY_PASSPHRASE"]
        let signer = try KeySigner(pem: Secret(pem), passphrase: passphrase.map { Secret($0) })
        return SigningPolicy(signers: [signer])
    }

    /// The rules; without a key nothing is verified.
    public func verification() throws -> VerificationPolicy {
        guard !verifyKey.isEmpty else { return .off }
        let keys = try verifyKey.map { try String(contentsOfFile: $0, encoding: .utf8) }
        var policy = try VerificationPolicy.requiring(keys: keys)
        if !requireSignature { policy.mode = .ifPresent }
        policy.maximumAge = .seconds(verifyAgeDays * 86_400)
        return policy
    }
}
