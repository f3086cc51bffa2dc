public import BuildCacheCore

/// A cache config as bytes, and the layers it names.
public struct EncodedCacheConfig: Sendable {
    /// How layers are described.
    @nonexhaustive
    public enum Form: Hashable, Sendable {
        /// By digest alone: the manifest around the config lists the descriptors. Registry and local.
        case plain
        /// With media type, diffID, size and time inside the config, for stores without a manifest. s3, gha and azblob.
        case annotated
    }

    /// The JSON, byte for byte as BuildKit writes it.
    public let bytes: [UInt8]
    /// The digests of the layer table, in its order, duplicates included: a manifest lists exactly these.
    public let layers: [Digest]

    /// The SHA-256 of ``bytes``.
    public var digest: Digest { Digest(of: bytes) }
    /// The descriptor under which a manifest refers to the config.
    public var descriptor: Descriptor { Descriptor(mediaType: .cacheConfig, digest: digest, size: Int64(bytes.count)) }
}

extension LayerGraph {
    /// Writes the graph as a cache config.
    ///
    /// Of each record the newest result is written. Records, links and layers are ordered as BuildKit orders them; where BuildKit
    /// leaves the order to chance, the order that was read stays, and what was added is ordered by all that it is. So the same graph
    /// gives the same bytes, whatever the order it was put together in.
    ///
    /// - Parameters:
    ///   - form: Whether it describes its layers itself.
    ///   - limits: The limits of its readers.
    /// - Throws: `CacheError` `.invalidSpec` if a layer is still pending; in the annotated form `.corrupted` if a layer has no
    ///   descriptor or no diffID, which other readers could not import; `.limitExceeded` past `limits`.
    /// - Source: `Documentation/Spec/cache-format.md` §1, §2.2 and §5.2.
    public func encodeConfig(
        _ form: EncodedCacheConfig.Form = .plain, within limits: CacheConfigLimits? = nil
    ) throws(CacheError) -> EncodedCacheConfig {
        let config = try cleanedIfNeeded().encodeCleanConfig(form)
        if let limits, config.bytes.count > limits.documentBytes {
            throw CacheError(
                .limitExceeded,
                "the cache config would have \(config.bytes.count) bytes, more than the limit of \(limits.documentBytes) for "
                    + "reading it; export less, as with mode=min, or raise the limit")
        }
        return config
    }

    /// The graph as it is written: without aliases and ephemeral records.
    func cleanedIfNeeded() -> LayerGraph {
        let needsCleaning = records.contains { $0.mergedInto >= 0 || $0.isEphemeral } || !isOrdered
        return needsCleaning ? cleaned() : self
    }

    /// A copy that holds what a config of this graph holds: of each record the best result, the layers of these, and no ephemeral records.
    package func asWritten() -> LayerGraph { cleaned() }

    /// A copy without aliases and ephemeral records, all results that stay being the best ones.
    private func cleaned() -> LayerGraph {
        var isTaken = [Bool](repeating: false, count: records.count)
        for record in recordsInOrder() {
            let node = records[Int(record)]
            isTaken[Int(record)] =
                !node.isEphemeral
                && (0..<node.inputCount).allSatisfy { input in
                    linkIndices(of: record, input: input).contains { isTaken[Int(canonical(links[$0].record))] }
                }
        }
        return rebuilt(keeping: isTaken, result: { bestResult(of: $0) })
    }

    private func encodeCleanConfig(_ form: EncodedCacheConfig.Form) throws(CacheError) -> EncodedCacheConfig {
        let best = records.indices.map { bestResult(of: Int32($0)) }
        let (layerOrder, layerRow) = layerTable(of: best)
        let (recordOrder, recordRow) = recordTable()

        // Gathered first, in loops that do not wait for memory: looked up one by one between the writing of other things, these are
        // most of the time at a million records.
        let linkRow = rowsOfLinks(recordRow)
        var rowResult = [(layer: Int32, createdAt: Timestamp)](repeating: (-1, .zero), count: recordOrder.count)
        for (record, result) in best.enumerated() where result >= 0 {
            let result = results[Int(result)]
            rowResult[Int(recordRow[record])] = (layerRow[Int(result.layer)], result.createdAt)
        }

        var writer = JSONWriter(reservingCapacity: layerOrder.count * 110 + recordOrder.count * 220 + 64)
        writer.beginObject()
        if !layerOrder.isEmpty {
            writer.key("layers")
            writer.beginArray()
            for layer in layerOrder { try write(layers[Int(layer)], rows: layerRow, form, into: &writer) }
            writer.endArray()
        }
        if !recordOrder.isEmpty {
            writer.key("records")
            writer.beginArray()
            for (record, result) in zip(recordOrder, rowResult) {
                write(record, linkRows: linkRow, into: &writer) { writer in
                    guard result.layer >= 0 else { return }
                    writer.key("layers")
                    writer.beginArray()
                    writer.beginObject()
                    writer.key("layer")
                    writer.integer(result.layer)
                    writer.key("createdAt")
                    writer.timestamp(result.createdAt)
                    writer.endObject()
                    writer.endArray()
                }
            }
            writer.endArray()
        }
        writer.endObject()
        return EncodedCacheConfig(bytes: writer.bytes, layers: layerOrder.map { layers[Int($0)].blob })
    }

    // MARK: Order

    /// The layers under these results in the order they are written, and the row of each.
    private func layerTable(of best: [Int32]) -> (order: [Int32], row: [Int32]) {
        var row = [Int32](repeating: -1, count: layers.count)
        var order: [Int32] = []
        for result in best where result >= 0 {
            var layer = results[Int(result)].layer
            while layer >= 0, row[Int(layer)] < 0 {
                row[Int(layer)] = 0
                order.append(layer)
                layer = layers[Int(layer)].parent
            }
        }
        let isTotal = sort(&order, by: { layers[Int($0)].blob }, layerPrecedes)
        // Equal blobs on different parents are rare, and only they need to be told apart by their chains.
        if !isTotal {
            let identities = layerIdentities()
            order.sort { left, right in
                layerPrecedes(left, right)
                    || (!layerPrecedes(right, left) && identities[Int(left)] < identities[Int(right)])
            }
        }
        for (number, layer) in order.enumerated() { row[Int(layer)] = Int32(number) }
        return (order, row)
    }

    /// Sorts indices; `precedes` orders by digest first.
    ///
    /// The first eight bytes of a digest tell nearly all apart. Kept beside the index they spare a walk through all of memory, which at
    /// a million records is most of the time.
    ///
    /// - Returns: Whether `precedes` tells all of them apart.
    private func sort(
        _ order: inout [Int32], by digest: (Int32) -> Digest, _ precedes: (Int32, Int32) -> Bool
    ) -> Bool {
        var keys = order.map { (start: digest($0).words.0, index: $0) }
        keys.sort { left, right in
            left.start != right.start ? left.start < right.start : precedes(left.index, right.index)
        }
        order = keys.map(\.index)
        return zip(keys, keys.dropFirst()).allSatisfy { left, right in
            left.start != right.start || precedes(left.index, right.index)
        }
    }

    private func layerPrecedes(_ left: Int32, _ right: Int32) -> Bool {
        let (left, right) = (layers[Int(left)], layers[Int(right)])
        if left.blob != right.blob { return left.blob < right.blob }
        return sortableRow(left.importRow) < sortableRow(right.importRow)
    }

    /// The records in the order they are written, and the row of each.
    func recordTable() -> (order: [Int32], row: [Int32]) {
        var order = records.indices.map { Int32($0) }
        let isTotal = sort(&order, by: { records[Int($0)].digest }, recordPrecedes)
        if !isTotal {
            let identities = recordIdentities()
            order.sort { left, right in
                if recordPrecedes(left, right) { return true }
                if recordPrecedes(right, left) { return false }
                return structurePrecedes(left, right, identities)
            }
        }
        var row = [Int32](repeating: -1, count: records.count)
        for (number, record) in order.enumerated() { row[Int(record)] = Int32(number) }
        return (order, row)
    }

    /// The row of the record that each link refers to.
    func rowsOfLinks(_ recordRow: [Int32]) -> [Int32] {
        // What a duplicate key of a config left behind refers to nothing, and nothing refers to it.
        links.map { recordRow.indices.contains(Int($0.record)) ? recordRow[Int($0.record)] : -1 }
    }

    private func recordPrecedes(_ left: Int32, _ right: Int32) -> Bool {
        let (left, right) = (records[Int(left)], records[Int(right)])
        if left.digest != right.digest { return left.digest < right.digest }
        return sortableRow(left.importRow) < sortableRow(right.importRow)
    }

    /// BuildKit's order of records with one digest: number of inputs; per input number of links, then selector and digest of each.
    private func structurePrecedes(_ left: Int32, _ right: Int32, _ identities: [Digest]) -> Bool {
        let (leftNode, rightNode) = (records[Int(left)], records[Int(right)])
        if leftNode.inputCount != rightNode.inputCount { return leftNode.inputCount < rightNode.inputCount }
        for input in 0..<leftNode.inputCount {
            let leftLinks = sortedByDigest(left, input: input)
            let rightLinks = sortedByDigest(right, input: input)
            if leftLinks.count != rightLinks.count { return leftLinks.count < rightLinks.count }
            for (leftLink, rightLink) in zip(leftLinks, rightLinks) where leftLink != rightLink {
                return leftLink < rightLink
            }
        }
        return identities[Int(left)] < identities[Int(right)]
    }

    private func sortedByDigest(_ record: Int32, input: Int32) -> [(selector: ExactText, digest: Digest)] {
        linkIndices(of: record, input: input)
            .map { (ExactText(selectors[links[$0].selector]), records[Int(links[$0].record)].digest) }
            .sorted { ($0.1, $0.0) < ($1.1, $1.0) }
    }

    private func sortableRow(_ row: Int32) -> Int32 { row < 0 ? .max : row }

    // MARK: Rows

    private func write(
        _ layer: LayerNode, rows: [Int32], _ form: EncodedCacheConfig.Form, into writer: inout JSONWriter
    ) throws(CacheError) {
        guard layer.pending < 0 else {
            throw CacheError(
                .invalidSpec,
                "layer \(pendingLayers[Int(layer.pending)].name) is still pending; make it or leave it out before encoding"
            )
        }
        writer.beginObject()
        writer.key("blob")
        writer.digest(layer.blob)
        let parent = layer.parent < 0 ? -1 : rows[Int(layer.parent)]
        if parent != 0 {
            writer.key("parent")
            writer.integer(parent)
        }
        if form == .annotated {
            guard let descriptor = descriptors[layer.blob], let diffID = descriptor.diffID else {
                throw CacheError(
                    .corrupted,
                    "the diffID of layer \(layer.blob) is not known, and without it the layer cannot be imported; "
                        + "export with force-compression=true to compute it")
            }
            writer.key("annotations")
            writer.beginObject()
            writer.key("mediaType")
            writer.string(descriptor.mediaType.asLayer(docker: false).text)
            writer.key("diffID")
            writer.digest(diffID.digest)
            if descriptor.size != 0 {
                writer.key("size")
                writer.integer(descriptor.size)
            }
            writer.key("createdAt")
            writer.timestamp((descriptor.createdAt ?? .zero).utc)
            writer.endObject()
        }
        writer.endObject()
    }

    /// One record; `writeResults` writes what stands before its digest.
    func write(
        _ record: Int32, linkRows: [Int32], into writer: inout JSONWriter, writeResults: (inout JSONWriter) -> Void
    ) {
        let node = records[Int(record)]
        writer.beginObject()
        writeResults(&writer)
        writer.key("digest")
        writer.digest(node.digest)
        if node.inputCount > 0 {
            writer.key("inputs")
            writer.beginArray()
            for input in 0..<node.inputCount {
                writer.beginArray()
                for link in orderedLinks(of: node, input: input, rows: linkRows) {
                    writer.beginObject()
                    if links[Int(link)].selector != 0 {
                        writer.key("selector")
                        writer.string(selectors[links[Int(link)].selector])
                    }
                    writer.key("link")
                    writer.integer(linkRows[Int(link)])
                    writer.endObject()
                }
                writer.endArray()
            }
            writer.endArray()
        }
        writer.endObject()
    }

    /// The links of one input by row; of several to one row, as they were read or by selector.
    private func orderedLinks(of node: RecordNode, input: Int32, rows: [Int32]) -> [Int32] {
        let place = inputs[Int(node.firstInput + input)]
        if place.firstLink == place.lastLink { return [place.firstLink] }
        var indices = LinkIndices(links: links, first: place.firstLink).map { Int32($0) }
        indices.sort { left, right in
            let (leftLink, rightLink) = (links[Int(left)], links[Int(right)])
            if rows[Int(left)] != rows[Int(right)] { return rows[Int(left)] < rows[Int(right)] }
            // Links have the order of their indices, as they are only ever appended.
            if node.importRow >= 0 { return left < right }
            return ExactText(selectors[leftLink.selector]) < ExactText(selectors[rightLink.selector])
        }
        return indices
    }
}
