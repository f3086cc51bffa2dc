public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI

/// A cache in the config of the image that was built: `type=inline`.
///
/// It has no store of its own: an export takes the images of `LayerSource.images` and returns them, changed, in
/// `ExportReceipt.images`, for the caller to push. Only results made of the image's own layers can be in it. It is imported from where the
/// image is, with `type=registry,ref=IMAGE` or `type=local,src=LAYOUT`, and removed with the image.
///
/// - Source: `Documentation/Spec/cache-format.md` §6.3; BuildKit `cache/remotecache/inline/inline.go`.
public struct InlineCache: CacheExporter {
    private let compression: CompressionOptions
    private let scratch: ScratchStore

    /// Prepares an export.
    ///
    /// - Parameters:
    ///   - compression: How the layers of the image are to be; BuildKit leaves that to its image exporter. The default converts nothing.
    ///   - scratch: Where layers are converted.
    public init(compression: CompressionOptions = CompressionOptions(), scratch: ScratchStore) {
        self.compression = compression
        self.scratch = scratch
    }

    /// Four layers are converted at once.
    public var traits: BackendTraits { BackendTraits(name: "inline", transfersInFlight: 4) }

    /// Puts the records into each image of the source; nothing is stored.
    ///
    /// An image that no result is made of stays without a cache, with a problem. Layers are read to convert them, and to prove that they are
    /// layers of the image in another compression. An image with fewer history entries than layers gets the missing ones: a BuildKit that
    /// read its cache would crash.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if the source has no image, `.corrupted` if one of them is not an image, `.limitExceeded` for a
    ///   cache past the limits, and what reading and converting a layer throws.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        guard !source.images.isEmpty else {
            throw CacheError(
                .invalidSpec,
                "an inline cache goes into an image, and none was given; set the images of the layer source",
                context: .init(backend: "inline"))
        }
        var receipt = ExportReceipt()
        for documents in source.images {
            let image: BuiltImage
            do throws(CacheError) { image = try BuiltImage(documents) } catch { throw error.adding(backend: "inline") }
            let diffIDs = try await diffIDs(
                of: graph.layersToCompare(withImage: image.layers), from: source.blobs, &receipt, progress)
            let records = try graph.encodeInlineCache(image: image.layers, diffIDs: diffIDs)
            if records == nil {
                receipt.add(
                    CacheProblem(
                        .nothingToExport, "no result is made of the layers of the image alone, so it carries no cache"),
                    progress)
            }
            let stored = try await convertedLayers(of: image, from: source.blobs, progress: progress)
            let embedded = try image.embedding(records, stored)
            receipt.converted.formUnion(embedded.convertedLayers.map(\.digest))
            receipt.images.append(embedded)
        }
        return receipt
    }

    /// The diffIDs of layers, computed from their bytes; a layer that cannot be read is left out, and the results with it.
    private func diffIDs(
        of layers: [Descriptor], from blobs: any BlobSource, _ receipt: inout ExportReceipt, _ progress: ProgressSink
    ) async throws -> [Digest: DiffID] {
        var diffIDs: [Digest: DiffID] = [:]
        for (layer, diffID) in try await blobs.diffIDs(of: layers, limit: scratch.decompressionLimit) {
            switch diffID {
            case .success(let diffID): diffIDs[layer.digest] = diffID
            case .failure(let error):
                receipt.add(
                    CacheProblem(
                        .omittedResult, "a result is left out because one of its layers cannot be read", because: error),
                    progress)
            }
        }
        return diffIDs
    }

    private func convertedLayers(
        of image: BuiltImage, from blobs: any BlobSource, progress: ProgressSink
    ) async throws -> [StoredLayer] {
        try await image.layers.mapConcurrently(limit: traits.transfersInFlight) { [compression, scratch] layer in
            let stored = try await scratch.layer(from: layer, in: blobs, to: compression)
            if stored.descriptor.digest != layer.digest {
                progress(.converted(from: layer.digest, to: stored.descriptor))
            }
            return stored
        }
    }
}
