public import BuildCacheCore

extension LayerGraph {
    /// Writes the records as an image carries them in its config, the layers of results named by their place in the image.
    ///
    /// A result stays if each of its layers is one of the image's: the same blob, or another compression of the same tar. It is
    /// written as the number of its top layer if its chain is how the image begins, else as a list of places, and then without its
    /// time. Records without a result stay too, as they lead to others. As BuildKit, this takes what `mode=min` selects. Pending
    /// layers are never the image's.
    ///
    /// - Parameters:
    ///   - image: The layers of the image, lowest first, with the diffIDs of the image's config.
    ///   - diffIDs: The diffIDs of this graph's layers that were computed from their bytes, for those of ``layersToCompare(withImage:)``. The
    ///     diffID that a descriptor names may be another layer's, and does not count.
    ///   - limits: The limits that the records will be read with.
    /// - Returns: A JSON array of records, or `nil` if no result stays: such an image is better without a cache.
    /// - Throws: `CacheError` `.limitExceeded` past `limits`.
    /// - Source: `Documentation/Spec/cache-format.md` §6.3; BuildKit `cache/remotecache/inline/inline.go`.
    public func encodeInlineCache(
        image: [Descriptor], diffIDs: [Digest: DiffID] = [:], within limits: CacheConfigLimits = CacheConfigLimits()
    ) throws(CacheError) -> [UInt8]? {
        let places = ImagePlaces(image, diffIDs)
        let selected = selected(.min).removingResults { layer in
            guard case .blob(let digest) = layer.content else { return true }
            return places.last(of: digest) == nil
        }
        guard selected.hasResults else { return nil }
        return try selected.cleanedIfNeeded().removingDeadEnds().inlineRecords(places, limits)
    }

    /// The layers that may be one of the image's under another compression: their descriptors name a diffID of the image.
    ///
    /// Read their tars to prove it, and give ``encodeInlineCache(image:diffIDs:within:)`` what they really have.
    ///
    /// - Parameter image: The layers of the image, lowest first, with the diffIDs of the image's config.
    public func layersToCompare(withImage image: [Descriptor]) -> [Descriptor] {
        let blobs = Set(image.map(\.digest))
        let wanted = Set(image.compactMap(\.diffID))
        return selected(.min).descriptors.values.filter { layer in
            !blobs.contains(layer.digest) && layer.diffID.map { wanted.contains($0) } ?? false
        }.sorted { $0.digest < $1.digest }
    }

    /// A copy without records that lead to no result, as those of other platforms of the build.
    private func removingDeadEnds() -> LayerGraph {
        var leadsToResult = records.indices.map { records[$0].firstResult >= 0 }
        // What a record is linked to has a smaller index.
        for record in records.indices.reversed() where leadsToResult[record] {
            for input in 0..<records[record].inputCount {
                for link in linkIndices(of: Int32(record), input: input) {
                    leadsToResult[Int(links[link].record)] = true
                }
            }
        }
        return rebuilt(keeping: leadsToResult, result: { bestResult(of: $0) })
    }

    private func inlineRecords(
        _ places: ImagePlaces, _ limits: CacheConfigLimits
    ) throws(CacheError) -> [UInt8] {
        let (order, row) = recordTable()
        let linkRow = rowsOfLinks(row)
        var writer = JSONWriter(reservingCapacity: order.count * 220)
        writer.beginArray()
        for record in order {
            let result = bestResult(of: record)
            write(record, linkRows: linkRow, into: &writer) { writer in
                if result >= 0 { writeInline(results[Int(result)], places, into: &writer) }
            }
            // A chain that is not how the image begins is written layer by layer, so the text may grow with the square of the graph.
            guard writer.bytes.count <= limits.documentBytes else {
                throw CacheError(
                    .limitExceeded,
                    "the inline cache would have more than \(limits.documentBytes) bytes; export to another backend, or raise the limit"
                )
            }
        }
        writer.endArray()
        return writer.bytes
    }

    private func writeInline(_ result: ResultNode, _ places: ImagePlaces, into writer: inout JSONWriter) {
        let chain = chain(of: result.layer).map { layers[Int($0)].blob }
        let isPrefix = chain.count <= places.count && chain.indices.allSatisfy { places.holds(chain[$0], at: $0) }
        writer.key(isPrefix ? "layers" : "chains")
        writer.beginArray()
        writer.beginObject()
        if isPrefix {
            writer.key("layer")
            writer.integer(chain.count - 1)
        } else {
            writer.key("layers")
            writer.beginArray()
            for layer in chain {
                // Of equal layers BuildKit takes the last.
                if let place = places.last(of: layer) { writer.integer(place) }
            }
            writer.endArray()
        }
        writer.key("createdAt")
        writer.timestamp(isPrefix ? result.createdAt : .zero)
        writer.endObject()
        writer.endArray()
    }
}

/// The places of layers in an image.
private struct ImagePlaces {
    private let blobs: [Digest]
    private let diffIDs: [DiffID?]
    /// The diffIDs of other blobs that were computed from their bytes.
    private let proven: [Digest: DiffID]
    private var lastOfBlob: [Digest: Int] = [:]
    private var lastOfDiffID: [DiffID: Int] = [:]

    init(_ image: [Descriptor], _ proven: [Digest: DiffID]) {
        self.proven = proven
        blobs = image.map(\.digest)
        // A plain tar's digest is its diffID, named or not.
        diffIDs = image.map {
            $0.diffID ?? ($0.mediaType.layer?.compression == .uncompressed ? DiffID($0.digest) : nil)
        }
        for place in image.indices {
            lastOfBlob[blobs[place]] = place
            if let diffID = diffIDs[place] { lastOfDiffID[diffID] = place }
        }
    }

    var count: Int { blobs.count }

    func last(of blob: Digest) -> Int? { lastOfBlob[blob] ?? proven[blob].flatMap { lastOfDiffID[$0] } }

    func holds(_ blob: Digest, at place: Int) -> Bool {
        if blobs[place] == blob { return true }
        guard let diffID = proven[blob] else { return false }
        return diffIDs[place] == diffID
    }
}
