import BuildCacheCore
@testable import BuildCacheSigning

extension FuzzTarget {
    /// The documents of signatures, which are read before anything of a cache is.
    static let signatures = [bundle, signatureFile, trustedRoot]

    /// A bundle, whose claims are read and which is kept with its own bytes.
    private static let bundle = FuzzTarget("bundle", seeds: { path, _ in path.contains("sigstore/") }) { input in
        let bundle = try SignatureBundle(decoding: input.bytes)
        _ = bundle.unverifiedClaims
        let again = try SignatureBundle(decoding: bundle.bytes)
        try check(again.bytes == bundle.bytes, "a bundle that is written and read again has other bytes")
    }

    /// A file of bundles: a line that cannot be read is a malformed line and not an error.
    private static let signatureFile = FuzzTarget("signature-file", seeds: { path, _ in path.contains("sigstore/") }) {
        input in
        let file = SignatureFile(decoding: input.bytes)
        try check(file.lines.count <= SignatureFile.maximumLines + 1, "a file has too many lines")
        for bundle in file.bundles { _ = bundle.unverifiedClaims }
    }

    /// A trusted root with its certificates.
    private static let trustedRoot = FuzzTarget(
        "trusted-root", seeds: { path, _ in path.hasSuffix("sigstore/root.json") }
    ) {
        input in
        _ = try TrustedRoot(decoding: input.bytes)
    }
}
