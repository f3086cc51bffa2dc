public import BuildCacheBytes
public import BuildCacheCore

extension BlobSource {
    /// Opens the uncompressed tar of a stored layer, however it is compressed.
    ///
    /// The stored bytes are verified while they are read; of an eStargz layer the tar includes its table of contents.
    ///
    /// - Parameters:
    ///   - layer: The layer.
    ///   - limit: How large the tar may be.
    /// - Throws: `CacheError` `.notFound` if the blob is gone; while reading, `.corrupted` if it is damaged,
    ///   `.limitExceeded` past `limit`. The last chunk comes only after all bytes proved right.
    public func openTar(
        of layer: Descriptor, limit: DecompressionLimit = DecompressionLimit()
    ) async throws -> BlobStream {
        try LayerDecoder(maxUncompressedBytes: limit.maximum(stored: layer.size))
            .decode(try await VerifiedSource(self).open(layer, range: nil), mediaType: layer.mediaType)
    }
}
