public import BuildCacheBytes
public import BuildCacheCore

extension BlobSource {
    /// Opens the uncompressed tar of a stored layer, however it is compressed.
    ///
    /// The stored bytes are verified while they are read, and so is the diffID that `layer` claims, if any: until then it is a claim of
    /// the cache's writer. Of an eStargz layer the tar includes its table of contents.
    ///
    /// - Parameters:
    ///   - layer: The layer.
    ///   - limit: The most bytes of the tar, and of memory for its window.
    /// - Throws: `CacheError` `.notFound` if the blob is gone; while reading, `.corrupted` if it is damaged or has another diffID,
    ///   `.limitExceeded` past `limit`. The last chunk comes only after all bytes proved right.
    public func openTar(
        of layer: Descriptor, limit: DecompressionLimit = DecompressionLimit()
    ) async throws -> BlobStream {
        try LayerDecoder(limit, stored: layer.size)
            .decode(try await VerifiedSource(self).open(layer, range: nil), mediaType: layer.mediaType)
            .verified(diffIDOf: layer)
    }

    /// Reads a stored layer to its end and checks that it has the diffID that `layer` claims.
    ///
    /// Returns at once if it claims none, or if its media type is not a layer's: such bytes cannot be unpacked by their diffID either.
    ///
    /// - Throws: `CacheError` as ``openTar(of:limit:)``.
    package func checkDiffID(of layer: Descriptor, limit: DecompressionLimit = DecompressionLimit()) async throws {
        guard layer.diffID != nil, layer.mediaType.layer != nil else { return }
        for try await _ in try await openTar(of: layer, limit: limit) {}
    }
}
