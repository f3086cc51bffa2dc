package import BuildCacheBytes
package import BuildCacheCore
package import BuildCacheGraph

/// The part of an export that all backends share: select, convert what must be converted, store every layer.
///
/// Each layer goes its own way from source to store, so layer k is uploaded while k + 1 is compressed. Documents and names come
/// after, and are the backend's business.
package struct LayerExport: Sendable {
    /// What was selected, its layers as they are stored now.
    ///
    /// Results that could not be had are gone.
    package var graph: LayerGraph
    /// What became of each layer.
    package var transfers: [Digest: PutOutcome] = [:]
    /// The layers that were converted or made, as they are now.
    package var converted: Set<Digest> = []
    /// Stored bytes of what was written, and of what was there.
    private var bytesWritten: Int64 = 0
    private var bytesSaved: Int64 = 0
    /// Why results are missing.
    package var warnings: [String] = []

    /// Whether there is anything to publish: an export without layers must not wipe a good cache.
    ///
    /// Layers whose results are all gone do not count: nothing refers to them.
    package var hasLayers: Bool { graph.hasResults }

    /// What was done so far; no name leads to it yet.
    package var receipt: ExportReceipt {
        var receipt = ExportReceipt(transfers: transfers, converted: converted, warnings: warnings)
        receipt.bytesWritten = bytesWritten
        receipt.bytesSaved = bytesSaved
        return receipt
    }

    /// Selects and stores.
    ///
    /// - Parameters:
    ///   - limit: Layers that are converted and stored at once.
    ///   - put: Stores one layer that has its final form.
    package init(
        _ graph: LayerGraph, from source: LayerSource, mode: CacheMode, compression: CompressionOptions,
        scratch: ScratchStore,
        limit: Int, progress: ProgressSink,
        put: @escaping @Sendable (Descriptor, any BlobSource) async throws -> PutOutcome
    ) async throws {
        var selected = graph.selected(mode)
        if source.pendingLayers == nil {
            selected = selected.removingResults { if case .pending = $0.content { true } else { false } }
        }
        let contents = LayerExport.contents(of: selected)
        // Sizes are what some document says: their sum may be more than a number holds.
        let bytes = contents.reduce(Int64(0)) { $0.saturatingAdding($1.descriptor?.size ?? 0) }
        progress(.planned(layers: contents.count, bytes: bytes))

        let outcomes = try await contents.mapConcurrently(limit: limit) { content in
            do {
                let stored = try await content.stored(from: source, as: compression, in: scratch, progress: progress)
                let blobs = MeasuredSource(LayerReader(stored.source), progress: progress)
                let outcome = try await put(stored.descriptor, blobs)
                progress(.finished(stored.descriptor.digest, outcome))
                return Outcome(content: content, result: .success((stored.descriptor, outcome)))
            } catch let error as MissingLayer {
                return Outcome(content: content, result: .failure(error.cause))
            }
        }

        var missing: Set<Layer.Content> = []
        var blobs: [Digest: Descriptor] = [:]
        var pending: [PendingLayer: Descriptor] = [:]
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
                let warning = "a result is left out because one of its layers cannot be had: \(error)"
                warnings.append(warning)
                progress(.warning(warning))
            }
        }
        self.graph = try selected.removingResults { missing.contains($0.content) }.replacing(
            blobs: blobs, pending: pending)
    }

    /// The different layers of a graph, in its order.
    private static func contents(of graph: LayerGraph) -> [Content] {
        var seen: Set<Layer.Content> = []
        return graph.layerIDs.compactMap { id in
            let layer = graph[id].content
            return seen.insert(layer).inserted ? Content(layer: layer, descriptor: graph.descriptor(of: id)) : nil
        }
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
            from source: LayerSource, as compression: CompressionOptions, in scratch: ScratchStore,
            progress: ProgressSink
        ) async throws -> StoredLayer {
            switch layer {
            case .blob(let digest):
                guard let descriptor else {
                    let context = CacheError.Context(subject: digest.description)
                    throw MissingLayer(cause: CacheError(.notFound, "nothing describes this blob", context: context))
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
                guard let open = source.pendingLayers else {
                    let context = CacheError.Context(subject: pending.name)
                    throw MissingLayer(cause: CacheError(.notFound, "nobody makes this layer", context: context))
                }
                let stored = try await scratch.layer(pending: pending, to: compression) { try await open(pending) }
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
        var stream = try await LayerReader.naming { try await source.open(descriptor, range: range) }
        if range == nil { stream = stream.verified(as: descriptor) }
        var named = BlobStream(length: stream.length) { [stream] in
            var chunks = stream.makeAsyncIterator()
            return { try await LayerReader.naming { try await chunks.next() } }
        }
        named.verified = stream.verified
        return named
    }

    private static func naming<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let error as CacheError where error.meansMissing {
            throw MissingLayer(cause: error)
        }
    }
}
