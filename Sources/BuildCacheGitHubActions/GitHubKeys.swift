import BuildCacheCore

/// The keys under which a cache is stored.
///
/// - Source: `spec/backends.md` §4.1; BuildKit `cache/remotecache/gha/gha.go`.
enum GitHubKeys {
    /// What every request carries so that entries of other tools are not met: sha256 of `|go-actionscache-1.0`.
    static let version = Digest(of: "|go-actionscache-1.0".utf8).hex

    /// Before the digest of every layer.
    static let blobPrefix = "buildkit-blob-1-"

    static func blob(_ digest: Digest) -> String { blobPrefix + digest.description }

    /// The name of an index; its versions are stored as `<name>#1`, `<name>#2` and so on.
    ///
    /// - Parameters:
    ///   - scope: The option `scope`.
    ///   - namespace: GitHub's scope, as `refs/heads/main`.
    static func index(_ scope: String, in namespace: String) -> String {
        "index-\(scope)-1-\(Digest(of: namespace.utf8).hex.prefix(8))"
    }

    /// The number of a version of an index, `nil` if the key is another one's.
    ///
    /// Lookups match prefixes, so what comes back may be a signature or another scope's.
    static func number(of key: String, in index: String) -> Int? {
        guard key.hasPrefix(index + "#") else { return nil }
        let digits = key.dropFirst(index.count + 1)
        return digits.utf8.allSatisfy { (48...57).contains($0) } ? Int(digits) : nil
    }
}
