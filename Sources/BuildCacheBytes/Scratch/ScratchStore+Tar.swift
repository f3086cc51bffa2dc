public import BuildCacheCore

extension ScratchStore {
    /// A layer of a tar, compressed and stored here, with its descriptor.
    ///
    /// ```swift
    /// let layer = try await scratch.layer { try await .file(at: "out.tar") }
    /// ```
    ///
    /// The descriptor holds the diffID, as an image or a cache needs it. Memory does not grow with the tar.
    ///
    /// - Parameters:
    ///   - createdAt: The time at which the layer was made, for the annotation `buildkit/createdat`. `nil`, the default, leaves it out.
    ///   - compression: The compression, `gzip` by default; `force` has no meaning here.
    ///   - tar: Opens the uncompressed tar.
    /// - Throws: `CacheError` `.invalidSpec` for a level that does not exist, `.storageFull`, `.denied`; what `tar` throws;
    ///   `CancellationError`. Nothing of the layer stays then.
    public func layer(
        createdAt: Timestamp? = nil, compression: CompressionOptions = CompressionOptions(),
        ofTar tar: @escaping @Sendable () async throws -> BlobStream
    ) async throws -> StoredLayer {
        try await layer(pending: PendingLayer(tar: tar), createdAt: createdAt, to: compression)
    }
}
