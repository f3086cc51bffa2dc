public import BuildCacheCore

/// One small document exactly as it is stored: a manifest, an index, a cache config or an image config.
///
/// The bytes are the document: its digest is over them, so they are written and passed on as they are, never encoded again.
public struct RawDocument: Hashable, Sendable {
    /// What the bytes are.
    ///
    /// A registry wants it as the Content-Type, equal to the document's own `mediaType`.
    public let mediaType: MediaType
    /// The document, as stored.
    public let bytes: [UInt8]
    /// The SHA-256 of ``bytes``.
    public let digest: Digest

    /// Takes `bytes` as they are and computes their digest, once.
    public init(mediaType: MediaType, bytes: [UInt8]) {
        self.mediaType = mediaType
        self.bytes = bytes
        self.digest = Digest(of: bytes)
    }

    /// Media type, digest and size, without annotations: what another document says of this one.
    public var descriptor: Descriptor { Descriptor(mediaType: mediaType, digest: digest, size: Int64(bytes.count)) }

    /// Says that BuildKit will not import this document, or is `nil` if it will.
    package var buildKitLimitWarning: String? {
        guard bytes.count > Document.buildKitDocumentLimit else { return nil }
        return
            "\(mediaType) has \(bytes.count) bytes, and BuildKit imports no more than \(Document.buildKitDocumentLimit)"
    }
}
