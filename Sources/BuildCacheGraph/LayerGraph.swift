public import BuildCacheCore

/// What a build tool knows of its builds: which steps there were, what led to them, and which layers came out.
///
/// A **record** is one way to recognise one output of a step: a digest, and per input a set of **links** to the records that input
/// may have been. All inputs must match, and of the links of one input any. A **result** of a record names the top layer of a
/// **chain**: that layer and, through its parents, all below it.
///
/// The graph holds no bytes and does no work in the background; it is a value. A chain of a million records is fine: nothing
/// recurses, and what refers to each other does so by index.
///
/// - Source: `Documentation/Spec/cache-format.md` §1 to §4; BuildKit `cache/remotecache/v1/chains.go`.
public struct LayerGraph: Sendable {
    // Two invariants keep the algorithms short: a layer's parent has a smaller index than the layer, and unless `isOrdered` is
    // false, a link points to a record with a smaller index than its own. So going through indices upwards meets what is
    // referred to before what refers to it.
    var records: [RecordNode] = []
    var inputs: [InputNode] = []
    var links: [LinkNode] = []
    var results: [ResultNode] = []
    var layers: [LayerNode] = []
    var pendingLayers: [PendingLayer] = []
    var pendingNumbers: [PendingLayer: Int32] = [:]
    var selectors = SelectorTable()
    var isOrdered = true
    var recordNumbering = Numbering()
    var layerNumbering = Numbering()

    // Made when something is added, absent in a graph that is only read.
    var recordIndex: RecordIndex?
    var layerIndex: [LayerKey: Int32]?
    // What is there of inputs with many links, by their place in `inputs`, and of records with many results: gathered anew for each
    // record that turns out to be known, it would make merging quadratic.
    var knownLinks: [Int32: Set<LinkKey>] = [:]
    var knownResults: [Int32: [ResultKey: Int32]] = [:]

    /// The descriptor of each stored layer, by the digest of its blob.
    public internal(set) var descriptors: [Digest: Descriptor] = [:]

    /// The records that stand for what was built: one per platform, usually.
    ///
    /// Empty: every record that no other links to.
    ///
    /// Selection starts from them, see ``selected(_:)``; ``setTargets(_:)`` changes them.
    public internal(set) var targets: [RecordID] = []

    /// An empty graph.
    public init() {}
}

/// A record of one graph and its copies.
///
/// Another graph refuses it with `.invalidSpec`.
public struct RecordID: Hashable, Sendable, Comparable {
    let index: Int32
    let stamp: UInt32
    /// Orders records as they were added.
    public static func < (left: RecordID, right: RecordID) -> Bool {
        (left.index, left.stamp) < (right.index, right.stamp)
    }
}

/// A layer of one graph and its copies, together with all layers below it.
///
/// Another graph refuses it with `.invalidSpec`.
public struct LayerID: Hashable, Sendable, Comparable {
    let index: Int32
    let stamp: UInt32
    /// Orders layers as they were added, parents first.
    public static func < (left: LayerID, right: LayerID) -> Bool {
        (left.index, left.stamp) < (right.index, right.stamp)
    }
}

/// One record that an input may have been, and how it was used.
///
/// Several links of one input are alternatives, of which one suffices for a match, so every one of them must stand for content that
/// never changes: a digest, or a record made from one. The name of a mutable thing, such as a tag or a URL, is not a key unless its digest is
/// in it. With `image:latest` as an alternative of two different contents, both would become one record, and the result of one a hit
/// for the other.
public struct Link: Sendable {
    /// The input's record.
    public var record: RecordID
    /// What of the input was used, by the operation's own key; empty for all of it and for content records.
    public var selector: String

    /// Links to `record`.
    public init(_ record: RecordID, selector: String = "") {
        self.record = record
        self.selector = selector
    }
}

extension Link: Hashable {
    /// Whether both name one record and have the same bytes as their selectors.
    public static func == (left: Link, right: Link) -> Bool {
        left.record == right.record && ExactText(left.selector) == ExactText(right.selector)
    }

    /// Hashes the record and the bytes of the selector.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(record)
        hasher.combine(ExactText(selector))
    }
}

/// What came out of a step: a chain of layers, and when.
public struct CacheResult: Hashable, Sendable {
    /// The topmost layer; its parents are part of the result.
    public var layer: LayerID
    /// When the step ended.
    ///
    /// Of several results the newest is the best.
    public var createdAt: Timestamp

    /// Makes a result.
    public init(layer: LayerID, createdAt: Timestamp) {
        self.layer = layer
        self.createdAt = createdAt
    }
}

/// One layer of a graph.
public struct Layer: Hashable, Sendable {
    /// Stored, or known but never written.
    @nonexhaustive
    public enum Content: Hashable, Sendable {
        /// The digest of the layer's blob.
        case blob(Digest)
        /// The layer was never written.
        case pending(PendingLayer)
    }
    /// What the layer is.
    public var content: Content
    /// The layer below, `nil` for the lowest.
    public var parent: LayerID?
}

// MARK: Storage

struct RecordNode {
    var digest: Digest
    var firstInput: Int32 = 0
    var inputCount: Int32 = 0
    var firstResult: Int32 = -1
    var lastResult: Int32 = -1
    /// The row this had in the config it was read from, -1 if it was added or changed since.
    ///
    /// Where BuildKit leaves an order to chance, the row keeps the order that was read, so that an unchanged cache
    /// keeps its digest.
    var importRow: Int32 = -1
    /// The record this one turned out to equal, -1 for none.
    var mergedInto: Int32 = -1
    /// The next record of the ring of those merged into each other; itself when alone.
    var nextAlias: Int32
    /// A record of this machine only, as for a local directory: BuildKit's `random:` digests.
    var isEphemeral = false
}

struct InputNode {
    var firstLink: Int32 = -1
    var lastLink: Int32 = -1
}

struct LinkNode {
    var record: Int32
    var selector: Int32
    var next: Int32 = -1
}

/// What makes two links of one input the same.
struct LinkKey: Hashable {
    var record: Int32
    var selector: Int32
}

struct ResultNode {
    var createdAt: Timestamp
    /// Whether it was read from a cache.
    ///
    /// A build makes no results of a record without inputs, a cache may; and of one record, what a build
    /// made beats what was imported, whatever the clocks say.
    var isImported: Bool
    var layer: Int32
    var next: Int32 = -1

    var key: ResultKey { ResultKey(layer: layer, createdAt: createdAt) }
}

/// What makes two results of one record the same.
struct ResultKey: Hashable {
    var layer: Int32
    var createdAt: Timestamp
}

struct LayerNode {
    /// The blob, all zeros for a pending layer.
    var blob: Digest
    /// Index of the pending layer, -1 for a blob.
    var pending: Int32 = -1
    var parent: Int32
    var importRow: Int32 = -1
}

struct LayerKey: Hashable {
    var blob: Digest
    var pending: Int32
    var parent: Int32
}

extension Digest {
    static let none = Digest(words: (0, 0, 0, 0))
}

/// The selectors of a graph, each once.
///
/// Number 0 is the empty one.
struct SelectorTable {
    private(set) var texts: [String] = [""]
    private var numbers = [ExactText(""): Int32(0)]

    mutating func number(of text: String) -> Int32 {
        let key = ExactText(text)
        if let number = numbers[key] { return number }
        let number = Int32(texts.count)
        texts.append(text)
        numbers[key] = number
        return number
    }

    func known(_ text: String) -> Int32? { numbers[ExactText(text)] }
    subscript(number: Int32) -> String { texts[Int(number)] }
}

// MARK: Reading

extension LayerGraph {
    /// One record, as a value.
    public struct Record: Hashable, Sendable {
        /// What it is recognised by.
        public var digest: Digest
        /// Per input, the links of which one must match.
        ///
        /// Empty for a root.
        public var inputs: [[Link]]
        /// What came out, oldest addition first.
        ///
        /// A record without results still leads to others.
        public var results: [CacheResult]
        /// Whether it is of this machine only and never exported.
        public var isEphemeral: Bool
    }

    /// All records, in the order they were added; those that turned out to equal another are left out.
    public var recordIDs: [RecordID] {
        records.indices.lazy.filter { records[$0].mergedInto < 0 }.map { recordID(Int32($0)) }
    }

    /// The number of records.
    public var recordCount: Int { records.lazy.filter { $0.mergedInto < 0 }.count }

    /// All layers, parents first.
    public var layerIDs: [LayerID] { layers.indices.map { layerID(Int32($0)) } }

    /// Whether there is nothing in it.
    public var isEmpty: Bool { records.isEmpty }

    /// The record of an identifier of this graph.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for an identifier of another graph.
    public subscript(id: RecordID) -> Record {
        get throws(CacheError) { record(canonical(try index(of: id))) }
    }

    /// The layer of an identifier of this graph.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for an identifier of another graph.
    public subscript(id: LayerID) -> Layer {
        get throws(CacheError) { layer(try index(of: id)) }
    }

    /// The layers of a chain, bottom first.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for an identifier of another graph.
    public func chain(_ top: LayerID) throws(CacheError) -> [LayerID] {
        chain(of: try index(of: top)).map { layerID($0) }
    }

    /// The descriptor of a stored layer; `nil` for a pending one and where the cache config came without its manifest.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for an identifier of another graph.
    public func descriptor(of layer: LayerID) throws(CacheError) -> Descriptor? {
        descriptor(of: try index(of: layer))
    }

    /// Names the records that stand for what was built, one per platform, usually; none for every record that no other links to.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for an identifier of another graph.
    public mutating func setTargets(_ targets: [RecordID]) throws(CacheError) {
        for target in targets { _ = try index(of: target) }
        self.targets = targets
    }

    /// Identifiers that were given out so far, those of records that turned out to equal another included.
    package var identifierCount: Int { records.count }

    /// The identifier that a record has since it turned out to equal another; links are told by it.
    package func canonicalID(_ id: RecordID) throws(CacheError) -> RecordID {
        recordID(canonical(try index(of: id)))
    }

    /// Takes those of `all` that describe a layer of this graph.
    ///
    /// Where that is all of them they are shared, not copied: descriptors are most of what a large graph is in memory.
    mutating func takeDescriptors(from all: [Digest: Descriptor]) {
        var needed: Set<Digest> = []
        needed.reserveCapacity(min(all.count, layers.count))
        for layer in layers where layer.pending < 0 && all.index(forKey: layer.blob) != nil {
            needed.insert(layer.blob)
        }
        descriptors = needed.count == all.count ? all : all.filter { needed.contains($0.key) }
    }

    /// Whether any record has a result.
    package var hasResults: Bool { !results.isEmpty }
}

// MARK: Identifiers

extension LayerGraph {
    func recordID(_ index: Int32) -> RecordID {
        RecordID(index: index, stamp: recordNumbering.stamp(of: index))
    }

    func layerID(_ index: Int32) -> LayerID { LayerID(index: index, stamp: layerNumbering.stamp(of: index)) }

    /// The index of a record, or `nil` if the identifier is of another graph.
    func knownIndex(of id: RecordID) -> Int32? {
        records.indices.contains(Int(id.index)) && recordNumbering.stamp(of: id.index) == id.stamp ? id.index : nil
    }

    func index(of id: RecordID) throws(CacheError) -> Int32 {
        guard let index = knownIndex(of: id) else {
            throw CacheError(
                .invalidSpec,
                "the record is not of this graph; use identifiers that this graph, or the session, returned")
        }
        return index
    }

    func index(of id: LayerID) throws(CacheError) -> Int32 {
        guard layers.indices.contains(Int(id.index)), layerNumbering.stamp(of: id.index) == id.stamp else {
            throw CacheError(
                .invalidSpec, "the layer is not of this graph; use identifiers that this graph returned")
        }
        return id.index
    }

    func record(_ index: Int32) -> Record {
        let node = records[Int(index)]
        return Record(
            digest: node.digest,
            inputs: (0..<node.inputCount).map { input in
                linkIndices(of: index, input: input).map {
                    Link(recordID(canonical(links[$0].record)), selector: selectors[links[$0].selector])
                }
            },
            results: resultIndices(of: index).map {
                CacheResult(layer: layerID(results[$0].layer), createdAt: results[$0].createdAt)
            },
            isEphemeral: node.isEphemeral)
    }

    func layer(_ index: Int32) -> Layer {
        let node = layers[Int(index)]
        return Layer(
            content: node.pending < 0 ? .blob(node.blob) : .pending(pendingLayers[Int(node.pending)]),
            parent: node.parent < 0 ? nil : layerID(node.parent))
    }

    func descriptor(of layer: Int32) -> Descriptor? {
        let node = layers[Int(layer)]
        return node.pending < 0 ? descriptors[node.blob] : nil
    }

    /// The layers of a chain, bottom first.
    func chain(of top: Int32) -> [Int32] {
        var chain: [Int32] = []
        var index = top
        while index >= 0 {
            chain.append(index)
            index = layers[Int(index)].parent
        }
        return chain.reversed()
    }
}

// MARK: Walking

extension LayerGraph {
    /// The record that `index` stands for now.
    func canonical(_ index: Int32) -> Int32 {
        let merged = records[Int(index)].mergedInto
        return merged < 0 ? index : merged
    }

    func linkIndices(of record: Int32, input: Int32) -> LinkIndices {
        LinkIndices(links: links, first: inputs[Int(records[Int(record)].firstInput + input)].firstLink)
    }

    func resultIndices(of record: Int32) -> ResultIndices {
        ResultIndices(results: results, first: records[Int(record)].firstResult)
    }

    /// The best result of a record: what a build made before what was imported, then the newest, of equally old ones the first.
    ///
    /// - Parameter isEligible: Whether a result, by its index, counts.
    /// - Returns: -1 if none counts.
    func bestResult(of record: Int32, where isEligible: (Int32) -> Bool = { _ in true }) -> Int32 {
        var best: Int32 = -1
        var next = records[Int(record)].firstResult
        while next >= 0 {
            if isEligible(next), best < 0 || results[Int(next)].beats(results[Int(best)]) { best = next }
            next = results[Int(next)].next
        }
        return best
    }

    /// All record indices so that what is linked to comes before what links to it, merged ones left out.
    func recordsInOrder() -> [Int32] {
        if isOrdered { return records.indices.lazy.filter { records[$0].mergedInto < 0 }.map { Int32($0) } }
        var order: [Int32] = []
        var isVisited = [Bool](repeating: false, count: records.count)
        var stack: [LinkCursor] = []
        for start in records.indices where records[start].mergedInto < 0 && !isVisited[start] {
            isVisited[start] = true
            stack.append(LinkCursor(record: Int32(start)))
            while var cursor = stack.popLast() {
                guard let link = cursor.next(in: self) else {
                    order.append(cursor.record)
                    continue
                }
                stack.append(cursor)
                let source = canonical(links[Int(link)].record)
                if !isVisited[Int(source)] {
                    isVisited[Int(source)] = true
                    stack.append(LinkCursor(record: source))
                }
            }
        }
        return order
    }
}

/// A place among the links of a record, input by input: the explicit stack of a walk holds these.
struct LinkCursor {
    let record: Int32
    private var input: Int32 = -1
    private var link: Int32 = -1

    init(record: Int32) { self.record = record }

    /// The index of the next link, or `nil` after the last.
    mutating func next(in graph: LayerGraph) -> Int32? {
        if link >= 0 { link = graph.links[Int(link)].next }
        let node = graph.records[Int(record)]
        while link < 0, input + 1 < node.inputCount {
            input += 1
            link = graph.inputs[Int(node.firstInput + input)].firstLink
        }
        return link < 0 ? nil : link
    }
}

/// The indices of the links of one input.
struct LinkIndices: Sequence, IteratorProtocol {
    private let links: [LinkNode]
    private var index: Int32

    init(links: [LinkNode], first: Int32) {
        self.links = links
        index = first
    }

    mutating func next() -> Int? {
        guard index >= 0 else { return nil }
        defer { index = links[Int(index)].next }
        return Int(index)
    }
}

/// The indices of the results of one record.
struct ResultIndices: Sequence, IteratorProtocol {
    private let results: [ResultNode]
    private var index: Int32

    init(results: [ResultNode], first: Int32) {
        self.results = results
        index = first
    }

    mutating func next() -> Int? {
        guard index >= 0 else { return nil }
        defer { index = results[Int(index)].next }
        return Int(index)
    }
}

extension ResultNode {
    /// Whether this is the better result of one record.
    fileprivate func beats(_ other: ResultNode) -> Bool {
        isImported != other.isImported ? other.isImported : other.createdAt.isBefore(createdAt)
    }
}

extension Timestamp {
    /// Whether this instant is earlier; zones do not count.
    func isBefore(_ other: Timestamp) -> Bool { (seconds, nanoseconds) < (other.seconds, other.nanoseconds) }
}
