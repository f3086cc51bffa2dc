import BuildCacheCore
import BuildCacheHTTP
import BuildCacheSpec

/// The names of blobs, as BuildKit has them.
///
/// - Source: `Documentation/Spec/backends.md` §6.1; BuildKit `cache/remotecache/azblob/utils.go`.
struct AzureNames: Sendable {
    var prefix: String
    var blobsPrefix: String
    var manifestsPrefix: String

    init(_ options: AzureBlobOptions) {
        prefix = options.prefix
        blobsPrefix = options.blobsPrefix
        manifestsPrefix = options.manifestsPrefix
    }

    func blob(_ digest: Digest) -> String { Self.join(prefix, blobsPrefix, digest.description) }
    func manifest(_ name: String) -> String { Self.join(prefix, manifestsPrefix, name) }

    func signature(_ document: Digest) -> String { Self.join(prefix, "signatures", document.description) }

    /// The prefix of the names of all signatures; `nil` if layers or configs could have such names.
    var signatureListing: String? {
        let signatures = Self.join(prefix, "signatures", "sha256:")
        let others = [blobListing, manifestListing]
        return others.contains { $0.hasPrefix(signatures) || signatures.hasPrefix($0) } ? nil : signatures
    }

    /// The document that a blob is the signatures of, `nil` if it is none.
    func document(ofSignature name: String) -> Digest? {
        guard let digest = try? Digest(name.suffix(71)), signature(digest) == name else { return nil }
        return digest
    }

    /// What the names of all layers begin with.
    var blobListing: String { Self.join(prefix, blobsPrefix, "sha256:") }

    /// What the names of all configs begin with: what stands before a name.
    var manifestListing: String { String(manifest("x").dropLast()) }

    /// The layer that a blob is, `nil` if it is none.
    func digest(ofBlob name: String) -> Digest? {
        guard let digest = try? Digest(name.suffix(71)), blob(digest) == name else { return nil }
        return digest
    }

    /// The name of the cache that a blob is the config of, `nil` if it is none.
    func name(ofManifest blob: String) -> String? {
        let start = manifestListing
        guard blob.hasPrefix(start), blob.count > start.count, digest(ofBlob: blob) == nil else { return nil }
        return String(blob.dropFirst(start.count))
    }

    /// Joins paths as Go does: empty ones are left out, and what doubles or leads back is resolved.
    ///
    /// - Source: Go `path.Join`, `path.Clean`.
    static func join(_ parts: String...) -> String {
        let path = parts.filter { !$0.isEmpty }.joined(separator: "/")
        guard !path.isEmpty else { return "" }
        let isRooted = path.hasPrefix("/")
        var clean: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == "..", let last = clean.last, last != ".." {
                clean.removeLast()
            } else if part != ".." || !isRooted {
                clean.append(part)
            }
        }
        let joined = clean.joined(separator: "/")
        return isRooted ? "/" + joined : joined.isEmpty ? "." : joined
    }
}

extension String {
    /// The text as one segment of a path, as Go writes it: a slash becomes `%2F`, a colon stays.
    ///
    /// The service takes a slash in either form, but the signature is over the form that is sent.
    ///
    /// - Source: Go `url.PathEscape`.
    var pathSegmentEncoded: String { percentEncoded(keeping: "$&+=:@") }
}
