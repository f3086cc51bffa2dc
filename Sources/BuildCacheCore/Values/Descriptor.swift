/// What a blob is, what it is called and how long it is: enough to fetch and to verify it.
///
/// - Source: OCI image-spec, descriptor.md; field order as BuildKit writes it, `Documentation/Spec/cache-format.md` §5.
public struct Descriptor: Hashable, Sendable {
    /// The most bytes that a document may say a blob has: 2⁵⁰.
    ///
    /// Larger sizes are refused where they are read, so that sums and products of sizes stay far below the largest number.
    public static let maximumSize: Int64 = 1 << 50

    /// What the bytes are.
    public var mediaType: MediaType
    /// The digest of the bytes as stored, compressed if they are.
    public var digest: Digest
    /// The number of bytes as stored, 0 or more.
    public var size: Int64
    /// Other places to fetch the blob from.
    ///
    /// Kept as read; never followed.
    public var urls: [String]
    /// Free notes by key; see ``Annotation`` for the ones that mean something here.
    public var annotations: [String: String]
    /// The platform, in an index.
    public var platform: Platform?
    /// What the artifact is, in an index.
    public var artifactType: String?

    /// Makes a descriptor.
    public init(
        mediaType: MediaType, digest: Digest, size: Int64, urls: [String] = [], annotations: [String: String] = [:],
        platform: Platform? = nil, artifactType: String? = nil
    ) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
        self.urls = urls
        self.annotations = annotations
        self.platform = platform
        self.artifactType = artifactType
    }

    /// The digest of the uncompressed tar, from ``Annotation/uncompressed``; `nil` when absent or not a digest.
    ///
    /// In a cache it is a claim of the cache's writer until the layer was read: opening the tar checks it.
    public var diffID: DiffID? {
        annotations[Annotation.uncompressed].flatMap { try? DiffID($0) }
    }

    /// When the layer was made, from ``Annotation/createdAt``; `nil` when absent, as after a forced conversion.
    public var createdAt: Timestamp? {
        annotations[Annotation.createdAt].flatMap { try? Timestamp($0) }
    }
}

/// Keys of annotations that BuildKit's caches carry.
///
/// - Source: `Documentation/Spec/cache-format.md` §5.1.
public enum Annotation {
    /// The diffID of a layer.
    public static let uncompressed = "containerd.io/uncompressed"
    /// When a layer was made.
    public static let createdAt = "buildkit/createdat"
    /// What made a layer, for people.
    public static let description = "buildkit/description"
    /// Digest of an eStargz layer's table of contents.
    public static let estargzTOCDigest = "containerd.io/snapshot/stargz/toc.digest"
    /// Length of an eStargz layer's uncompressed stream, in decimal.
    public static let estargzUncompressedSize = "io.containers.estargz.uncompressed-size"
    /// A tag, in an OCI layout's index.
    public static let referenceName = "org.opencontainers.image.ref.name"
    /// When an entry of an OCI layout's index was written last.
    public static let created = "org.opencontainers.image.created"
    /// A full image name, in an OCI layout's index; wins over ``referenceName``.
    public static let imageName = "io.containerd.image.name"
}

/// An operating system and a processor, as in `linux/arm64/v8`.
///
/// - Source: OCI image-spec, image-index.md "platform".
public struct Platform: Hashable, Sendable, CustomStringConvertible {
    /// As in `linux`.
    public var os: String
    /// As in `amd64`.
    public var architecture: String
    /// As in `v8`.
    public var variant: String?
    /// As in `10.0.17763.1999`, Windows only.
    public var osVersion: String?
    /// As in `win32k`.
    public var osFeatures: [String]

    /// Makes a platform.
    public init(
        os: String, architecture: String, variant: String? = nil, osVersion: String? = nil, osFeatures: [String] = []
    ) {
        self.os = os
        self.architecture = architecture
        self.variant = variant
        self.osVersion = osVersion
        self.osFeatures = osFeatures
    }

    /// `os/architecture`, and `/variant` if there is one.
    public var description: String { [os, architecture, variant].compactMap { $0 }.joined(separator: "/") }
}
