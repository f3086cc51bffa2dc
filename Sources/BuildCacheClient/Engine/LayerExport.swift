package import BuildCacheBytes
package import BuildCacheCore
package import BuildCacheGraph

/// The layers of an export: converted where they must be, and stored.
///
/// Each layer goes its own way from source to store, so layer k is uploaded while k + 1 is compressed. Documents and names come after.
package struct LayerExport: Sendable {
    /// The selected graph, its layers as they are stored now.
    ///
    /// Results with a layer that could not be read or made are gone.
    package var graph: LayerGraph
    /// The outcome for each layer.
    package var transfers: [Digest: PutOutcome] = [:]
    /// The layers that were converted or made, as they are now.
    package var converted: Set<Digest> = []
    /// Stored bytes of layers that were written, and of those that were there.
    private var bytesWritten: Int64 = 0
    private var bytesSaved: Int64 = 0
    /// Why results are missing.
    package private(set) var problems: [CacheProblem] = []

    /// Whether there is anything to publish: an export without layers must not wipe a good cache.
    ///
    /// Layers whose results are all gone do not count: nothing refers to them.
    package var hasLayers: Bool { graph.hasResults }

    /// The receipt so far; no name leads to the cache yet.
    package var receipt: ExportReceipt {
        var receipt = ExportReceipt(transfers: transfers, converted: converted, problems: problems)
        receipt.bytesWritten = bytesWritten
        receipt.bytesSaved = bytesSaved
        return receipt
    }

    /// Stores the layers of a selection.
    ///
    /// Every layer gets its diffID: BuildKit never uses a result with a layer that has none.
    ///
    /// - Parameters:
    ///   - selected: The records and layers to export.
    ///   - times: The creation times of pending layers.
    ///   - requiresDiffIDs: Whether a layer whose diffID cannot be computed costs the results with it, as where the config describes the
    ///     layers itself and so must name it.
    ///   - limit: Layers that are converted and stored at once.
    ///   - put: Stores one layer that has its final form.
    /// - Throws: The error of the first problem if the selection has results and none of them could be exported; errors of the store;
    ///   `CancellationError`.
    package init(
        _ selected: LayerGraph, pendingTimes times: [PendingLayer: Timestamp], from source: LayerSource,
        compression: CompressionOptions, scratch: ScratchStore, requiresDiffIDs: Bool, limit: Int,
        progress: ProgressSink,
        put: @escaping @Sendable (Descriptor, any BlobSource) async throws -> PutOutcome
    ) async throws {
        let contents = try LayerExport.contents(of: selected)
        // Sizes are what some document says: their sum may be more than a number holds.
        let bytes = contents.reduce(Int64(0)) { $0.saturatingAdding($1.descriptor?.size ?? 0) }
        progress(.planned(layers: contents.count, bytes: bytes))

        let outcomes = try await contents.mapConcurrently(limit: limit) { content in
            do {
                let stored = try await content.stored(
                    from: source, madeAt: times, as: compression, in: scratch, progress: progress)
                let blobs = MeasuredSource(LayerReader(stored.source), progress: progress)
                let outcome = try await put(stored.descriptor, blobs)
                progress(.finished(stored.descriptor.digest, outcome))
                return Outcome(content: content, result: .success((stored.descriptor, outcome)))
            } catch let error as MissingLayer {
                return Outcome(content: content, result: .failure(error.cause))
            }
        }

        self.graph = selected
        var missing: Set<Layer.Content> = []
        var blobs: [Digest: Descriptor] = [:]
        var pending: [PendingLayer: Descriptor] = [:]
        var failures: [CacheError] = []
        for outcome in outcomes {
            switch outcome.result {
            case .success(let (descriptor, put)):
                transfers[descriptor.digest] = put
                if put == .written {
                    bytesWritten = bytesWritten.saturatingAdding(descriptor.size)
                } else {
                    bytesSaved = bytesSaved.saturatingAdding(descriptor.size)
                }
                switch outcome.content.layer {
                case .blob(let digest): blobs[digest] = descriptor
                case .pending(let layer): pending[layer] = descriptor
                }
                if outcome.content.layer != .blob(descriptor.digest) { converted.insert(descriptor.digest) }
            case .failure(let error):
                missing.insert(outcome.content.layer)
                failures.append(error)
                add(
                    CacheProblem(
                        .omittedResult, "a result is left out because one of its layers cannot be read or made",
                        because: error), progress)
            }
        }
        self.graph = try selected.removingResults { missing.contains($0.content) }.replacing(
            blobs: blobs, pending: pending)
        failures += try await addDiffIDs(
            from: source.blobs, isRequired: requiresDiffIDs, scratch.decompressionLimit, progress)

        if hasLayers { return }
        guard let failure = failures.first else {
            add(
                CacheProblem(
                    .nothingToExport, "the build has no results, so nothing is written and the cache stays as it was"),
                progress)
            return
        }
        var error = failure
        error.message =
            "nothing could be exported, and the cache stays as it was: none of the build's results has all its layers; \(failure.message)"
        throw error
    }

    private mutating func add(_ problem: CacheProblem, _ progress: ProgressSink) {
        problems.append(problem)
        progress(.problem(problem))
    }

    /// Computes the diffID of every layer whose descriptor does not name it, as one of an image's manifest.
    ///
    /// - Returns: Why results were left out.
    private mutating func addDiffIDs(
        from blobs: any BlobSource, isRequired: Bool, _ limit: DecompressionLimit, _ progress: ProgressSink
    ) async throws -> [CacheError] {
        // A layer that could not be stored is still described, but no result needs it.
        let unknown = graph.descriptors.values.filter { $0.diffID == nil && transfers[$0.digest] != nil }
        guard !unknown.isEmpty, hasLayers else { return [] }
        var described: [Digest: Descriptor] = [:]
        var failures: [CacheError] = []
        for (layer, diffID) in try await blobs.diffIDs(of: Array(unknown), limit: limit) {
            switch diffID {
            case .success(let diffID):
                described[layer.digest] = layer
                described[layer.digest]?.annotations[Annotation.uncompressed] = diffID.description
            case .failure(let error): failures.append(error)
            }
        }
        for failure in failures {
            add(
                isRequired
                    ? CacheProblem(
                        .omittedResult, "a result is left out because the diffID of one of its layers is unknown",
                        because: failure)
                    : CacheProblem(
                        .notice, "BuildKit will not use a result because the diffID of one of its layers is unknown",
                        because: failure), progress)
        }
        let lost = isRequired ? Set(unknown.map(\.digest)).subtracting(described.keys) : []
        graph = try graph.removingResults { layer in
            if case .blob(let digest) = layer.content { lost.contains(digest) } else { false }
        }.replacing(blobs: described)
        return isRequired ? failures : []
    }

    /// The different layers of a graph, in its order.
    private static func contents(of graph: LayerGraph) throws(CacheError) -> [Content] {
        var seen: Set<Layer.Content> = []
        var contents: [Content] = []
        for id in graph.layerIDs {
            let layer = try graph[id].content
            guard seen.insert(layer).inserted else { continue }
            contents.append(Content(layer: layer, descriptor: try graph.descriptor(of: id)))
        }
        return contents
    }

    private struct Outcome: Sendable {
        var content: Content
        var result: Result<(Descriptor, PutOutcome), CacheError>
    }

    /// One layer of the selection, and how it gets its final form.
    private struct Content: Sendable {
        var layer: Layer.Content
        var descriptor: Descriptor?

        func stored(
            from source: LayerSource, madeAt times: [PendingLayer: Timestamp], as compression: CompressionOptions,
            in scratch: ScratchStore, progress: ProgressSink
        ) async throws -> StoredLayer {
            switch layer {
            case .blob(let digest):
                guard let descriptor else {
                    let context = CacheError.Context(subject: digest.description)
                    throw MissingLayer(cause: CacheError(.notFound, "no descriptor names this blob", context: context))
                }
                let stored: StoredLayer
                do {
                    stored = try await scratch.layer(from: descriptor, in: source.blobs, to: compression)
                } catch let error as CacheError where error.meansMissing {
                    throw MissingLayer(cause: error)
                }
                if stored.descriptor.digest != digest { progress(.converted(from: digest, to: stored.descriptor)) }
                return stored
            case .pending(let pending):
                let stored = try await scratch.layer(pending: pending, createdAt: times[pending], to: compression) {
                    do {
                        return try await pending.openTar().mappingErrors {
                            MissingLayer.naming($0.blamingSource, pending.name)
                        }
                    } catch {
                        throw MissingLayer.naming(error.blamingSource, pending.name)
                    }
                }
                progress(.converted(from: nil, to: stored.descriptor))
                return stored
            }
        }
    }
}

/// A layer that its source does not have, or not whole.
///
/// A type of its own, because a store that says "not found" or "corrupted" means something else.
private struct MissingLayer: Error {
    var cause: CacheError

    /// The error that a read of a layer ends with: this one for every fault that means that the layer cannot be had.
    static func naming(_ error: any Error, _ subject: String? = nil) -> any Error {
        guard let known = error as? CacheError, known.meansMissing else { return error }
        return MissingLayer(cause: known.adding(subject: subject))
    }

    static func naming<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch { throw naming(error) }
    }
}

extension Error {
    /// The same error, which says that the source of an export is to blame.
    var blamingSource: any Error { (self as? CacheError)?.adding(side: .source) ?? self }
}

extension CacheError {
    /// Whether a source that fails so has lost the blob: an export goes on without it.
    package var meansMissing: Bool { code == .notFound || code == .corrupted || code == .limitExceeded }
}

/// Tells what its source lacks or gets wrong from whatever else goes wrong on the way; whole blobs are verified.
private struct LayerReader: BlobSource {
    private let source: any BlobSource

    init(_ source: any BlobSource) { self.source = source }

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        var stream = try await MissingLayer.naming { try await source.open(descriptor, range: range) }
        if range == nil { stream = stream.verified(as: descriptor) }
        return stream.mappingErrors { MissingLayer.naming($0) }
    }
}
