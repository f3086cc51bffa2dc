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

    /// Computes the diffIDs of layers from their bytes.
    ///
    /// - Parameters:
    ///   - layers: The layers; the diffIDs that their descriptors name do not count.
    ///   - limit: How large a tar may be.
    /// - Returns: One for each layer, or why it cannot be read.
    /// - Throws: What the source throws, unless it means that the layer is lost; `CancellationError`.
    package func diffIDs(
        of layers: [Descriptor], limit: DecompressionLimit
    ) async throws -> [(layer: Descriptor, diffID: Result<DiffID, CacheError>)] {
        // Decompression keeps a core busy, and hashing another.
        try await layers.mapConcurrently(limit: 2) { layer in
            do {
                var unclaimed = layer
                unclaimed.annotations[Annotation.uncompressed] = nil
                let passed = StreamDigest()
                for try await chunk in try await openTar(of: unclaimed, limit: limit) { await passed.update(chunk) }
                return (layer, .success(DiffID(passed.finish().digest)))
            } catch let error as CacheError where error.meansMissing || error.code == .unsupported {
                return (layer, .failure(error.adding(subject: layer.digest.description)))
            }
        }
    }
}
