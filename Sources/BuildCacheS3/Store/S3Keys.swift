package import BuildCacheCore
package import BuildCacheSpec

/// The names of objects: prefixes are put together as they are, without slashes of our own.
///
/// - Source: `Documentation/Spec/backends.md` §5.1; BuildKit `cache/remotecache/s3/s3.go: blobKey, manifestKey`.
package struct S3Keys: Hashable, Sendable {
    private let blobs: String
    private let manifests: String
    private let signatures: String

    package init(_ options: S3Options) {
        blobs = options.prefix + options.blobsPrefix
        manifests = options.prefix + options.manifestsPrefix
        signatures = options.prefix + "signatures/"
    }

    /// The object of a layer; its name has a colon in it.
    package func blob(_ digest: Digest) -> String { blobs + digest.description }

    /// The object of a cache config.
    package func manifest(_ name: String) -> String { manifests + name }

    /// The object of a document's signatures.
    func signature(_ document: Digest) -> String { signatures + document.description }

    /// The prefix of the names of all signatures; `nil` if layers or configs could have such names.
    var signatureListing: String? {
        let others = [blobs, manifests]
        return others.contains { $0.hasPrefix(signatures) || signatures.hasPrefix($0) } ? nil : signatures
    }

    /// The document that an object is the signatures of, `nil` if it is none.
    func document(ofSignature key: String) -> Digest? {
        guard key.hasPrefix(signatures) else { return nil }
        return try? Digest(key.dropFirst(signatures.count))
    }

    /// What the names of all layers begin with.
    package var blobListing: String { blobs + "sha256:" }

    /// What the names of all cache configs begin with.
    var manifestListing: String { manifests }

    /// The name of the cache that an object is the config of, `nil` if it is none.
    func name(ofManifest key: String) -> String? {
        guard key.hasPrefix(manifests), key.count > manifests.count, digest(ofBlob: key) == nil else { return nil }
        return String(key.dropFirst(manifests.count))
    }

    /// The layer that an object is, `nil` if it is none.
    package func digest(ofBlob key: String) -> Digest? {
        guard key.hasPrefix(blobs), let digest = try? Digest(key.dropFirst(blobs.count)) else { return nil }
        return digest
    }
}
