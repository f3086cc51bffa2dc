import BuildCacheBytes
public import BuildCacheCore
import BuildCacheOCI

extension ImageStore {
    /// Reads an image, or the one of an index that is for a platform.
    ///
    /// - Parameters:
    ///   - name: A tag or digest of the store.
    ///   - platform: The platform of the image. `nil`, the default, takes from an index the image for ``Platform/current``, and an image
    ///     that is not in an index as it is.
    /// - Throws: `CacheError` `.notFound` if the name does not exist or has no image for the platform, `.corrupted` if it leads to a cache
    ///   or its documents are damaged, `.limitExceeded` for an index of more than a thousand entries; what the store throws.
    public func image(_ name: String, platform: Platform? = nil) async throws -> Image {
        let context = CacheError.Context(subject: name)
        guard let root = try await resolve(name) else {
            throw CacheError(.notFound, "no image has this name; check the tag or digest", context: context)
        }
        let wanted = platform ?? .current
        var waiting = [root]
        var seen: Set<Digest> = []
        var others: [String] = []
        while !waiting.isEmpty {
            let entry = waiting.removeFirst()
            guard seen.insert(entry.digest).inserted else { continue }
            guard seen.count <= 1000 else {
                throw CacheError(.limitExceeded, "the index leads to more than 1000 manifests", context: context)
            }
            let document = try await document(entry)
            switch try Document(decoding: document.bytes) {
            case .image(let manifest):
                guard let config = manifest.config else { continue }
                let documents = ImageDocuments(
                    manifest: document.bytes, config: try await bytes(of: config, limit: Document.defaultLimit))
                // An entry that is here names a platform that fits, or none. Configs often lack the variant.
                if entry == root ? platform == nil : entry.platform != nil {
                    return try Image(documents, blobs: self)
                }
                let found = try ImageConfig(decoding: documents.config).platform
                if wanted.rank(of: found) != nil { return try Image(documents, blobs: self) }
                others.append("\(found)")
            case .index(let index):
                let (fitting, unfit) = wanted.candidates(among: index.manifests)
                waiting += fitting
                others += unfit.map(\.description)
            case .cache:
                guard entry == root else { continue }
                throw CacheError(.corrupted, "the name leads to a cache, not to an image", context: context)
            }
        }
        throw CacheError(
            .notFound,
            "the image is not available for \(wanted)"
                + (others.isEmpty ? "" : ": expected one of \(Set(others).sorted().joined(separator: ", "))"),
            context: context)
    }

    /// Stores what is missing of an image, then lets a name lead to it.
    ///
    /// Foreign layers with other places to fetch them from are not stored. If it throws or is cancelled, the name leads to what it did
    /// before; layers that were stored stay.
    ///
    /// - Parameters:
    ///   - image: The image.
    ///   - name: The tag; `nil` stores it by its digest alone.
    ///   - progress: Layers as they are stored, and the name.
    /// - Returns: The manifest that the name leads to.
    /// - Throws: Errors of the store and of the source of the layers; `CancellationError`.
    @discardableResult
    public func publish(
        _ image: Image, as name: String?, progress: ProgressSink = .discarded
    ) async throws -> Descriptor {
        var seen: Set<Digest> = []
        let layers = image.manifest.layers.filter {
            ($0.mediaType.layer?.isForeign != true || $0.urls.isEmpty) && seen.insert($0.digest).inserted
        }
        progress(.planned(layers: layers.count, bytes: layers.map(\.size).saturatingSum()))
        let source = MeasuredSource(image.blobs, progress: progress)
        _ = try await layers.mapConcurrently(limit: 4) { layer in
            let outcome = try await put(layer, from: source)
            progress(.finished(layer.digest, outcome))
        }
        try await put(image.configDocument)
        try Task.checkCancellation()
        try await publish(image.manifestDocument, as: name)
        if let name { progress(.published(name: name, image.descriptor.digest)) }
        return image.descriptor
    }
}
