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
