public import BuildCacheCore

/// A manifest, index or config as stored: its bytes are what its digest is about, so they are never written anew.
public struct RawDocument: Hashable, Sendable {
    /// What the bytes are.
    public var mediaType: MediaType
    /// The bytes.
    public var bytes: [UInt8]

    /// Takes `bytes` as they are.
    public init(mediaType: MediaType, bytes: [UInt8]) {
        self.mediaType = mediaType
        self.bytes = bytes
    }

    /// The descriptor of the document, without annotations.
    public var descriptor: Descriptor {
        Descriptor(mediaType: mediaType, digest: Digest(of: bytes), size: Int64(bytes.count))
    }

    /// The most bytes that BuildKit reads of a manifest or cache config from a registry or directory.
    ///
    /// It writes larger ones all the same, and can never import them again.
    ///
    /// - Source: `spec/cache-format.md` §6.1.
    public static let buildKitReadLimit = 1 << 20
}
