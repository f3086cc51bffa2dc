public import BuildCacheCore
import BuildCacheJSON

extension LayerGraph {
    /// Writes the records as an image carries them in its config, the layers of results named by their place in the image.
    ///
    /// A result stays if each of its layers is one of the image's: the same blob, or another compression of the same tar. It is
    /// written as the number of its top layer if its chain is how the image begins, else as a list of places, and then without its
    /// time. Records without a result stay too, as they lead to others. As BuildKit, this takes what `mode=min` selects. Pending
    /// layers are no blobs and so not the image's: replace them first, see ``replacing(blobs:pending:)``.
    ///
    /// - Parameter image: The layers of the image, lowest first; their `Descriptor.diffID` is used where it is known.
    /// - Returns: A JSON array of records, or `nil` if no result stays: such an image is better without a cache.
    /// - Source: `spec/cache-format.md` §6.3; BuildKit `cache/remotecache/inline/inline.go`.
    public func encodeInlineCache(image: [Descriptor]) -> [UInt8]? {
        let places = ImagePlaces(image)
        let selected = selected(.min).removingResults { layer in
            guard case .blob(let digest) = layer.content else { return true }
            return places.last(of: digest, diffID: descriptors[digest]?.diffID) == nil
        }
        guard selected.hasResults else { return nil }
        return selected.cleanedIfNeeded().removingDeadEnds().inlineRecords(places)
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

    private func inlineRecords(_ places: ImagePlaces) -> [UInt8] {
        let (order, row) = recordTable()
        let linkRow = rowsOfLinks(row)
        var writer = JSONWriter(reservingCapacity: order.count * 220)
        writer.beginArray()
        for record in order {
            let result = bestResult(of: record)
            write(record, linkRows: linkRow, into: &writer) { writer in
                if result >= 0 { writeInline(results[Int(result)], places, into: &writer) }
            }
        }
        writer.endArray()
        return writer.bytes
    }

    private func writeInline(_ result: ResultNode, _ places: ImagePlaces, into writer: inout JSONWriter) {
        let chain = chain(LayerID(index: result.layer)).map { layer in
            let blob = layers[Int(layer.index)].blob
            return (blob: blob, diffID: descriptors[blob]?.diffID)
        }
        let isPrefix =
            chain.count <= places.count
            && chain.indices.allSatisfy { places.holds(chain[$0].blob, diffID: chain[$0].diffID, at: $0) }
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
                if let place = places.last(of: layer.blob, diffID: layer.diffID) { writer.integer(place) }
            }
            writer.endArray()
        }
        writer.key("createdAt")
        writer.timestamp(isPrefix ? result.createdAt : .zero)
        writer.endObject()
        writer.endArray()
    }
}

/// Which layer stands where in an image.
private struct ImagePlaces {
    private let blobs: [Digest]
    private let diffIDs: [DiffID?]
    private var lastOfBlob: [Digest: Int] = [:]
    private var lastOfDiffID: [DiffID: Int] = [:]

    init(_ image: [Descriptor]) {
        blobs = image.map(\.digest)
        // A plain tar's digest is its diffID, whether or not somebody says so.
        diffIDs = image.map {
            $0.diffID ?? ($0.mediaType.layer?.compression == .uncompressed ? DiffID($0.digest) : nil)
        }
        for place in image.indices {
            lastOfBlob[blobs[place]] = place
            if let diffID = diffIDs[place] { lastOfDiffID[diffID] = place }
        }
    }

    var count: Int { blobs.count }

    func last(of blob: Digest, diffID: DiffID?) -> Int? { lastOfBlob[blob] ?? diffID.flatMap { lastOfDiffID[$0] } }

    func holds(_ blob: Digest, diffID: DiffID?, at place: Int) -> Bool {
        blobs[place] == blob || (diffID != nil && diffIDs[place] == diffID)
    }
}
