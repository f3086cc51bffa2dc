public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph

extension CacheSession.ResultLayer {
    /// A layer of a tree, packed when an export asks for it.
    ///
    /// The tree is read now to fix its digest. One that has changed when it is packed is noticed, and the result left out: its tar would be
    /// that of another step.
    ///
    /// - Parameters:
    ///   - packer: The packer of the tree.
    ///   - name: A label for messages and progress.
    /// - Throws: `CacheError` as `LayerPacker.diffID()`.
    public static func packing(_ packer: LayerPacker, name: String = "layer") async throws -> CacheSession.ResultLayer {
        _ = try await packer.diffID()
        return .pending(PendingLayer(name: name, packing: packer))
    }

    /// A layer of everything in a directory; otherwise as ``packing(_:name:)``.
    public static func directory(
        _ path: String, options: LayerPacker.Options = LayerPacker.Options()
    ) async throws -> CacheSession.ResultLayer {
        try await packing(LayerPacker(.directory(path), options: options), name: path)
    }
}

extension CacheSession {
    /// Notes the result of a step that has run: a tree on top of other layers.
    ///
    /// - Parameters:
    ///   - packer: The packer of the tree, which must stay as it is until it was exported.
    ///   - base: The layers that the step started from, the lowest first.
    ///   - createdAt: The time at which the step ended; also the time of the new layer.
    ///   - record: The step.
    /// - Returns: The layers of the result, to build other steps on.
    /// - Throws: As ``addResult(_:createdAt:to:)`` and `LayerPacker.diffID()`.
    @discardableResult
    public func addResult(
        packing packer: LayerPacker, on base: [ResultLayer] = [], createdAt: Timestamp = .now(), to record: RecordID
    ) async throws -> [ResultLayer] {
        let layers = base + [try await .packing(packer)]
        try addResult(layers, createdAt: createdAt, to: record)
        return layers
    }

    /// Makes a directory of the layers of a hit; it appears when all of them are in it, or not at all.
    ///
    /// - Parameters:
    ///   - hit: The hit, fetched or not.
    ///   - directory: The directory to make. The directory above must exist.
    ///   - replacing: Whether a directory of this name is replaced, in one step. Otherwise it is an error.
    ///   - unpacker: The choices of how to unpack.
    /// - Returns: Counts, and the parts that were left out.
    /// - Throws: `CacheError` as `LayerUnpacker.unpack(_:from:to:replacing:progress:)`.
    @discardableResult
    public func unpack(
        _ hit: CacheHit, to directory: String, replacing: Bool = false, with unpacker: LayerUnpacker = LayerUnpacker()
    ) async throws -> UnpackReport {
        try await unpacker.unpack(hit.layers, from: blobs, to: directory, replacing: replacing)
    }

    /// Makes a directory of the layers of a step, cached or not; otherwise as for a hit.
    @discardableResult
    public func unpack(
        _ step: CachedStep, to directory: String, replacing: Bool = false,
        with unpacker: LayerUnpacker = LayerUnpacker()
    ) async throws -> UnpackReport {
        let stored = step.layers.compactMap { layer -> Descriptor? in
            if case .stored(let descriptor) = layer { descriptor } else { nil }
        }
        // Descriptors also have the diffIDs to compare.
        if stored.count == step.layers.count {
            return try await unpacker.unpack(stored, from: blobs, to: directory, replacing: replacing)
        }
        let layers = step.layers.map { layer in
            BlobStream(opening: { [blobs] in
                switch layer {
                case .stored(let descriptor): try await VerifiedSource(blobs).open(descriptor, range: nil)
                case .pending(let pending): try await pending.openTar()
                }
            })
        }
        return try await unpacker.unpack(layers, to: directory, replacing: replacing)
    }
}

extension BlobStream {
    /// A stream that is opened when its first chunk is asked for.
    fileprivate init(opening open: @escaping @Sendable () async throws -> BlobStream) {
        self.init(length: nil) {
            var chunks: BlobStream.AsyncIterator?
            return {
                var iterator = if let chunks { chunks } else { try await open().makeAsyncIterator() }
                defer { chunks = iterator }
                return try await iterator.next()
            }
        }
    }
}
