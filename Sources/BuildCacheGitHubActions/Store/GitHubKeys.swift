import BuildCacheCore

/// The keys under which a cache is stored.
///
/// - Source: `Documentation/Spec/backends.md` §4.1; BuildKit `cache/remotecache/gha/gha.go`.
enum GitHubKeys {
    /// What every request carries so that entries of other tools are not met: sha256 of `|go-actionscache-1.0`.
    static let version = Digest(of: "|go-actionscache-1.0".utf8).hex

    /// The namespace of signatures, in which neither BuildKit nor a lookup of a layer finds anything: sha256 of `|swift-build-cache-1`.
    ///
    /// - Source: `Documentation/Spec/signing.md` §4.
    static let signatureVersion = Digest(of: "|swift-build-cache-1".utf8).hex

    /// Before the digest of every document that is signed.
    static let signaturePrefix = "build-cache-sig-1-"

    /// The signatures of a document; entries never change, so later files of it are versions, as those of an index.
    static func signature(_ document: Digest) -> String { signaturePrefix + document.description }

    /// After the name of an index, and the key of an index's signature, in BuildKit's form.
    static let signatureSuffix = "-sig"

    /// BuildKit's signature of an index.
    static func buildKitSignature(_ document: Digest) -> String { blob(document) + signatureSuffix }

    /// The document that an entry is the signatures of; `nil` if it is another one.
    static func document(ofSignature key: String) -> Digest? {
        key.hasPrefix(signaturePrefix) ? try? Digest(key.dropFirst(signaturePrefix.count).prefix(71)) : nil
    }

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

    /// Before the name of every index.
    static let indexPrefix = "index-"

    /// The layer that an entry is, or the index that it is BuildKit's signature of; `nil` if it is another one.
    static func digest(ofBlob key: String) -> Digest? {
        key.hasPrefix(blobPrefix) ? try? Digest(key.dropFirst(blobPrefix.count).prefix(71)) : nil
    }

    /// The index that an entry is a version of, and its number; `nil` if it is another one's.
    static func index(of key: String) -> (name: String, number: Int)? {
        guard key.hasPrefix(indexPrefix), let hash = key.lastIndex(of: "#"),
            let number = number(of: key, in: String(key[..<hash]))
        else { return nil }
        return (String(key[..<hash]), number)
    }

    /// What an index is called for people, as in `buildkit@refs/heads/main`: its scope, and that of GitHub.
    static func title(ofIndex index: String, in namespace: String) -> String {
        // Behind the scope come eight digits of a hash.
        let scope = String(index.dropFirst(indexPrefix.count).dropLast(11))
        return (self.index(scope, in: namespace) == index ? scope : index) + "@" + namespace
    }

    /// The number of a version of an index, `nil` if the key is another one's.
    ///
    /// Lookups match prefixes, so what comes back may be a signature or another scope's. A number that nobody reaches by counting is no
    /// version of ours either.
    static func number(of key: String, in index: String) -> Int? {
        guard key.hasPrefix(index + "#") else { return nil }
        return Int(decimal: key.dropFirst(index.count + 1), in: 0...999_999_999_999_999)
    }
}
