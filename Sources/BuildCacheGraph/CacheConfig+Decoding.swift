public import BuildCacheCore

/// Where a reader of a cache config learns what its layers are.
@nonexhaustive
public enum CacheConfigLayers: Sendable {
    /// From the manifest around it, by digest; of two descriptors of one digest the last counts.
    case described([Descriptor])
    /// From the config itself: the form of s3, gha and azblob.
    case annotated
    /// From the layers of the image it is embedded in, by position: inline caches, which have no layer table.
    case image([Descriptor])
    /// Not at all: only digests are known afterwards.
    case undescribed
}

/// Limits for decoding a cache config.
public struct CacheConfigLimits: Hashable, Sendable {
    /// Bytes of JSON.
    ///
    /// Default 64 MiB; BuildKit itself reads 1 MiB from registries and directories.
    public var maximumBytes: Int64
    /// Entries of each table: layers, records, links, results.
    ///
    /// Default 4 194 304; never more than 2³¹ - 2, however large this is.
    public var maximumEntries: Int

    /// Creates limits.
    public init(maximumBytes: Int64 = 64 << 20, maximumEntries: Int = 1 << 22) {
        self.maximumBytes = maximumBytes
        self.maximumEntries = maximumEntries
    }

    /// ``maximumBytes`` as the size of a document in memory.
    package var documentBytes: Int { Int(clamping: maximumBytes) }
}

extension LayerGraph {
    /// Reads a cache config.
    ///
    /// A result whose layers are not described, or have no digest that could be one, is left out and its record kept: it is a miss,
    /// not a fault. A layer whose size is outside 0...2⁵⁰ counts as not described. A record with a `random:` digest is ephemeral. Unknown keys are ignored and keys may differ in case, as for BuildKit.
    ///
    /// - Throws: `CacheError` `.corrupted` for what is no such JSON, for an index out of range, an input without links, and records or
    ///   layers that loop: then nothing of the config can be trusted. `.limitExceeded` past `limits`.
    /// - Source: `Documentation/Spec/cache-format.md` §1.1 and §3; BuildKit `cache/remotecache/v1/parse.go`.
    public init(
        decodingConfig bytes: [UInt8], layers: CacheConfigLayers, limits: CacheConfigLimits = CacheConfigLimits()
    ) throws(CacheError) {
        guard bytes.count <= limits.documentBytes else {
            throw CacheError(
                .limitExceeded,
                "the cache config has \(bytes.count) bytes, more than the limit of \(limits.maximumBytes); raise the limit to read it"
            )
        }
        let result = bytes.withUnsafeBytes { buffer in
            Result { () throws(CacheError) in
                var decoder = CacheConfigDecoder(layers: layers, limits: limits)
                try decoder.read(buffer)
                return try decoder.makeGraph()
            }
        }
        self = try result.get()
    }
}

/// Reads the tables row by row, then turns them into a graph.
private struct CacheConfigDecoder {
    private let source: CacheConfigLayers
    private let limits: CacheConfigLimits

    private var rowBlob: [Digest] = []
    private var rowParent: [Int32] = []
    private var descriptors: [Digest: Descriptor] = [:]

    // The records in the order of the file; links and results still count in rows of the file.
    private var graph = LayerGraph()
    private var chains: [(record: Int32, layers: [Int32], createdAt: Timestamp)] = []
    private var chainRows = 0

    init(layers: CacheConfigLayers, limits: CacheConfigLimits) {
        source = layers
        self.limits = limits
        switch layers {
        case .described(let known):
            descriptors.reserveCapacity(known.count)
            for descriptor in known { descriptors[descriptor.digest] = descriptor }
        case .image(let image):
            for (position, descriptor) in image.enumerated() {
                rowBlob.append(descriptor.digest)
                rowParent.append(Int32(position) - 1)
                descriptors[descriptor.digest] = descriptor
            }
        case .annotated, .undescribed: break
        }
    }

    // MARK: Reading rows

    mutating func read(_ bytes: UnsafeRawBufferPointer) throws(CacheError) {
        var reader = JSONReader(bytes, document: "the cache config")
        if case .image = source {
            try readRecords(&reader)
        } else if try reader.beginObject() {
            while let key = try reader.nextKey() {
                switch key {
                case "layers": try readLayers(&reader)
                case "records": try readRecords(&reader)
                default: try reader.skipValue()
                }
            }
        }
        try reader.finish()
    }

    private mutating func readLayers(_ reader: inout JSONReader) throws(CacheError) {
        rowBlob = []
        rowParent = []
        guard try reader.beginArray() else { return }
        while try reader.nextElement() {
            try checkRoom(rowBlob.count, "layers", reader)
            var blob = Digest.none
            var parent: Int64 = 0  // missing means row 0, not none
            var descriptor: Descriptor?
            if try reader.beginObject() {
                while let key = try reader.nextKey() {
                    switch key {
                    case "blob": blob = try reader.string { Digest(utf8: $0) } ?? .none
                    case "parent": parent = try reader.integer()
                    case "annotations" where isAnnotated: descriptor = try readAnnotations(&reader)
                    default: try reader.skipValue()
                    }
                }
            }
            rowBlob.append(blob)
            rowParent.append(row(parent))
            if var descriptor, blob != .none {
                descriptor.digest = blob
                descriptors[blob] = descriptor
            }
        }
    }

    /// A number of a row as the tables keep it: out of Int32 is out of range all the same, and is reported where the row is needed.
    private func row(_ number: Int64) -> Int32 { Int32(clamping: number) }

    private var isAnnotated: Bool { if case .annotated = source { true } else { false } }

    /// The descriptor that the annotations of a layer describe, its digest still to be filled in; `nil` if they lack a diffID.
    private func readAnnotations(_ reader: inout JSONReader) throws(CacheError) -> Descriptor? {
        var descriptor = Descriptor(mediaType: .layer(.gzip), digest: .none, size: 0)
        var diffID: Digest?
        guard try reader.beginObject() else { return nil }
        while let key = try reader.nextKey() {
            switch key {
            case "mediaType": descriptor.mediaType = MediaType(try reader.string() ?? "")
            case "diffID": diffID = try reader.string { Digest(utf8: $0) }
            case "size": descriptor.size = try reader.integer()
            case "createdAt":
                let createdAt = try readTime(&reader)
                if createdAt != .zero { descriptor.annotations[Annotation.createdAt] = createdAt.description }
            default: try reader.skipValue()
            }
        }
        guard let diffID, (0...Descriptor.maximumSize).contains(descriptor.size) else { return nil }
        descriptor.annotations[Annotation.uncompressed] = diffID.description
        return descriptor
    }

    private mutating func readRecords(_ reader: inout JSONReader) throws(CacheError) {
        graph = LayerGraph()
        chains = []
        guard try reader.beginArray() else { return }
        while try reader.nextElement() {
            try checkRoom(graph.records.count, "records", reader)
            let index = Int32(graph.records.count)
            graph.records.append(RecordNode(digest: .none, importRow: index, nextAlias: index))
            var hasDigest = false
            if try reader.beginObject() {
                while let key = try reader.nextKey() {
                    switch key {
                    case "digest": hasDigest = try readDigest(of: index, &reader)
                    case "inputs": try readInputs(of: index, &reader)
                    case "layers": try readResults(of: index, &reader)
                    case "chains": try readChains(of: index, &reader)
                    default: try reader.skipValue()
                    }
                }
            }
            guard hasDigest else { throw reader.invalid("record \(index) has no digest") }
        }
    }

    private mutating func readDigest(of record: Int32, _ reader: inout JSONReader) throws(CacheError) -> Bool {
        let (digest, text) = try reader.string { utf8 in
            let digest = Digest(utf8: utf8)
            return (digest, digest == nil ? String(decoding: utf8, as: UTF8.self) : "")
        }
        if let digest {
            graph.records[Int(record)].digest = digest
        } else if text.utf8.starts(with: "random:".utf8) {
            graph.records[Int(record)].isEphemeral = true
        } else {
            throw reader.invalid("the digest of record \(record) is \(text.quoted): expected sha256: and 64 hex digits")
        }
        return true
    }

    private mutating func readInputs(of record: Int32, _ reader: inout JSONReader) throws(CacheError) {
        graph.records[Int(record)].firstInput = Int32(graph.inputs.count)
        graph.records[Int(record)].inputCount = 0
        guard try reader.beginArray() else { return }
        while try reader.nextElement() {
            let first = Int32(graph.links.count)
            if try reader.beginArray() {
                while try reader.nextElement() {
                    try checkRoom(graph.links.count, "links", reader)
                    graph.links.append(try readLink(&reader))
                }
            }
            let count = Int32(graph.links.count) - first
            guard count > 0 else {
                throw reader.invalid("input \(graph.records[Int(record)].inputCount) of record \(record) has no links")
            }
            graph.links[graph.links.count - 1].next = -1
            graph.inputs.append(InputNode(firstLink: first, lastLink: first + count - 1))
            graph.records[Int(record)].inputCount += 1
        }
    }

    private mutating func readLink(_ reader: inout JSONReader) throws(CacheError) -> LinkNode {
        var link = LinkNode(record: 0, selector: 0, next: Int32(graph.links.count + 1))
        guard try reader.beginObject() else { return link }
        while let key = try reader.nextKey() {
            switch key {
            case "selector": link.selector = graph.selectors.number(of: try reader.string() ?? "")
            case "link": link.record = row(try reader.integer())
            default: try reader.skipValue()
            }
        }
        return link
    }

    private mutating func readResults(of record: Int32, _ reader: inout JSONReader) throws(CacheError) {
        graph.records[Int(record)].firstResult = -1
        graph.records[Int(record)].lastResult = -1
        guard try reader.beginArray() else { return }
        while try reader.nextElement() {
            try checkRoom(graph.results.count, "results", reader)
            var row: Int64 = 0
            var createdAt = Timestamp.zero
            if try reader.beginObject() {
                while let key = try reader.nextKey() {
                    switch key {
                    case "layer": row = try reader.integer()
                    case "createdAt": createdAt = try readTime(&reader)
                    default: try reader.skipValue()
                    }
                }
            }
            graph.appendResult(
                ResultKey(layer: self.row(row), createdAt: createdAt), isImported: true, to: record)
        }
    }

    private mutating func readChains(of record: Int32, _ reader: inout JSONReader) throws(CacheError) {
        while chains.last?.record == record { chains.removeLast() }
        guard try reader.beginArray() else { return }
        while try reader.nextElement() {
            try checkRoom(chains.count, "chains", reader)
            var rows: [Int32] = []
            var createdAt = Timestamp.zero
            if try reader.beginObject() {
                while let key = try reader.nextKey() {
                    switch key {
                    case "layers":
                        rows = []
                        guard try reader.beginArray() else { continue }
                        while try reader.nextElement() {
                            try checkRoom(chainRows, "layers of chains", reader)
                            chainRows += 1
                            rows.append(row(try reader.integer()))
                        }
                    case "createdAt": createdAt = try readTime(&reader)
                    default: try reader.skipValue()
                    }
                }
            }
            chains.append((record, rows, createdAt))
        }
    }

    private func readTime(_ reader: inout JSONReader) throws(CacheError) -> Timestamp {
        let (time, text) = try reader.string { utf8 in
            let time = utf8.isEmpty ? .zero : Timestamp(utf8: utf8)
            return (time, time == nil ? String(decoding: utf8, as: UTF8.self) : "")
        }
        if let time { return time }
        do { return try Timestamp(text) } catch { throw reader.invalid(error.message) }
    }

    private func checkRoom(_ count: Int, _ what: StaticString, _ reader: JSONReader) throws(CacheError) {
        // Rows are counted in 32 bits, and the highest number stands for all that are out of range.
        let limit = min(limits.maximumEntries, Int(Int32.max) - 1)
        guard count < limit else {
            throw CacheError(
                .limitExceeded, "the cache config has more than \(limit) \(what); raise the limit to read it")
        }
    }
}

// MARK: From rows to a graph

extension CacheConfigDecoder {
    /// Checks what refers to what, and numbers records and layers so that they come after what they refer to.
    mutating func makeGraph() throws(CacheError) -> LayerGraph {
        let order = try recordOrder()
        var newIndex = [Int32](repeating: -1, count: order.count)
        for (new, old) in order.enumerated() { newIndex[Int(old)] = Int32(new) }
        // The links of a key that stood twice are still in the table, but nothing reaches them.
        for index in graph.links.indices where graph.records.indices.contains(Int(graph.links[index].record)) {
            graph.links[index].record = newIndex[Int(graph.links[index].record)]
        }
        var records: [RecordNode] = []
        records.reserveCapacity(order.count)
        for (new, old) in order.enumerated() {
            var node = graph.records[Int(old)]
            node.nextAlias = Int32(new)
            records.append(node)
        }
        graph.records = records
        try placeResults()
        try placeChains(newIndex)
        graph.takeDescriptors(from: descriptors)
        return graph
    }

    /// The rows of the records, each after those it links to.
    private func recordOrder() throws(CacheError) -> [Int32] {
        enum State { case new, open, done }
        var state = [State](repeating: .new, count: graph.records.count)
        var order: [Int32] = []
        order.reserveCapacity(graph.records.count)
        var stack: [LinkCursor] = []
        for start in graph.records.indices where state[start] == .new {
            state[start] = .open
            stack.append(LinkCursor(record: Int32(start)))
            while var cursor = stack.popLast() {
                guard let link = cursor.next(in: graph) else {
                    state[Int(cursor.record)] = .done
                    order.append(cursor.record)
                    continue
                }
                stack.append(cursor)
                let source = Int(graph.links[Int(link)].record)
                guard state.indices.contains(source) else {
                    throw CacheError(
                        .corrupted,
                        "the cache config links record \(cursor.record) to record \(source), but has only \(state.count) records"
                    )
                }
                switch state[source] {
                case .done: break
                case .open:
                    throw CacheError(.corrupted, "the cache config has a loop: record \(source) leads back to itself")
                case .new:
                    state[source] = .open
                    stack.append(LinkCursor(record: Int32(source)))
                }
            }
        }
        return order
    }

    /// Turns the rows in results into layers; results that cannot be had disappear.
    private mutating func placeResults() throws(CacheError) {
        var table = LayerRows(rowBlob: rowBlob, rowParent: rowParent)
        let read = graph.results
        let isDescribed = isDescribed
        graph.results = []
        graph.results.reserveCapacity(read.count)
        for record in graph.records.indices {
            var next = graph.records[record].firstResult
            graph.records[record].firstResult = -1
            graph.records[record].lastResult = -1
            while next >= 0 {
                let result = read[Int(next)]
                if let layer = try table.layer(result.layer, adding: &graph, where: isDescribed) {
                    graph.appendResult(
                        ResultKey(layer: layer, createdAt: result.createdAt), isImported: true, to: Int32(record))
                }
                next = result.next
            }
        }
    }

    private mutating func placeChains(_ newIndex: [Int32]) throws(CacheError) {
        for chain in chains {
            var top: Int32 = -1
            // No image has a layer twice, so a longer chain is none of its own.
            var isComplete = chain.layers.count <= rowBlob.count
            for row in chain.layers {
                guard rowBlob.indices.contains(Int(row)) else {
                    throw CacheError(
                        .corrupted, "the cache config has a chain with layer \(row), but only \(rowBlob.count) layers")
                }
                let blob = rowBlob[Int(row)]
                isComplete = isComplete && isDescribed(blob)
                guard isComplete else { continue }
                top = try graph.internLayer(blob: blob, pending: -1, on: top)
            }
            if top >= 0, isComplete {
                graph.appendResult(
                    ResultKey(layer: top, createdAt: chain.createdAt), isImported: true,
                    to: newIndex[Int(chain.record)])
            }
        }
        graph.layerIndex = nil
    }

    /// Whether a blob can be fetched: its size and type are known, or nobody asked for them.
    private var isDescribed: (Digest) -> Bool {
        if case .undescribed = source { return { $0 != .none } }
        return { [descriptors] in descriptors.index(forKey: $0) != nil }
    }
}

/// Makes layers out of rows on demand, parents first.
private struct LayerRows {
    private enum State: Hashable { case new, open, missing, layer(Int32) }
    let rowBlob: [Digest]
    let rowParent: [Int32]
    private var state: [State]

    init(rowBlob: [Digest], rowParent: [Int32]) {
        self.rowBlob = rowBlob
        self.rowParent = rowParent
        state = Array(repeating: .new, count: rowBlob.count)
    }

    /// The layer of a row, added together with its parents if need be; `nil` when one of their blobs cannot be had.
    mutating func layer(
        _ row: Int32, adding graph: inout LayerGraph, where isDescribed: (Digest) -> Bool
    ) throws(CacheError) -> Int32? {
        var open: [Int32] = []
        var next = row
        var parent: State = .layer(-1)
        // Down to a row that is done, or to the lowest. -1 ends a chain, but is not a layer itself.
        repeat {
            guard rowBlob.indices.contains(Int(next)) else {
                throw CacheError(
                    .corrupted, "the cache config refers to layer \(next), but has only \(rowBlob.count) layers")
            }
            if state[Int(next)] == .open {
                throw CacheError(.corrupted, "the cache config has a loop: layer \(next) is its own parent")
            }
            guard state[Int(next)] == .new else {
                parent = state[Int(next)]
                break
            }
            state[Int(next)] = .open
            open.append(next)
            next = rowParent[Int(next)]
        } while next != -1
        // And up again.
        for row in open.reversed() {
            let blob = rowBlob[Int(row)]
            if case .layer(let index) = parent, isDescribed(blob) {
                state[Int(row)] = .layer(Int32(graph.layers.count))
                graph.layers.append(LayerNode(blob: blob, parent: index, importRow: row))
            } else {
                state[Int(row)] = .missing
            }
            parent = state[Int(row)]
        }
        guard case .layer(let index) = parent, index >= 0 else { return nil }
        return index
    }
}
