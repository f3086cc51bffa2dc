public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
public import BuildCacheSigning

/// A place that build caches are written to.
///
/// Conforming types are immutable values: all that changes lives in the store they talk to.
public protocol CacheExporter: Sendable {
    /// Facts about the backend, as data.
    var traits: BackendTraits { get }

    /// Stores what the graph's selection needs, then publishes it under the backend's names.
    ///
    /// A result with a layer that `source` no longer has, or has damaged, is left out with a problem; its record stays. Without any result
    /// nothing is written and a good cache stays as it was; if the build had results and all of them were left out, that is an error. Names
    /// are published last: until then, and for ever if the call throws or is cancelled, readers see the cache that was there before.
    ///
    /// - Throws: `CacheError` of the store; `.occupied` if a name leads to an image or to anything else that is not a cache, unless
    ///   `ExportOptions.replacesOtherContent` is set; `CancellationError` if cancelled.
    func exportCache(_ graph: LayerGraph, from source: LayerSource, progress: ProgressSink) async throws
        -> ExportReceipt
}

/// A place that build caches are read from.
///
/// Conforming types are immutable values: all that changes lives in the store they talk to.
public protocol CacheImporter: Sendable {
    /// Facts about the backend, as data.
    var traits: BackendTraits { get }

    /// The cache under the backend's names, or `nil` when there is none yet.
    ///
    /// Reads documents, not layers: those are read through ``ImportedCache/blobs`` on demand. Changes nothing in the store.
    ///
    /// - Throws: `CacheError` `.corrupted` if the name leads to anything but a cache, and what the store throws.
    func importCache(progress: ProgressSink) async throws -> ImportedCache?

    /// Checks the cache that an import would read: its documents, and each of its layers once.
    ///
    /// Changes nothing in the store, and notes nothing for a later export. Several layers are checked at once, as many as
    /// ``BackendTraits/transfersInFlight``; memory does not grow with their size. Cancelled, it stops within one chunk.
    ///
    /// - Parameters:
    ///   - depth: The extent.
    ///   - progress: Layers as they are read and verified, and pauses.
    /// - Throws: Errors of the store; the error of a layer whose store does not answer, unless it is one of the first sixteen, which count as
    ///   unreadable; `CancellationError`.
    func verify(_ depth: VerificationReport.Depth, progress: ProgressSink) async throws -> VerificationReport
}

/// A place that build caches are written to and read from.
public protocol CacheBackend: CacheExporter, CacheImporter {
    /// Facts about the backend, as data.
    var traits: BackendTraits { get }
}

/// Facts about a backend that pick its tests and size its transfers.
public struct BackendTraits: Hashable, Sendable {
    /// The type, as in `type=local`.
    public var name: String
    /// Blobs that are transferred at once.
    public var transfersInFlight: Int

    /// Creates traits.
    public init(name: String, transfersInFlight: Int) {
        self.name = name
        self.transfersInFlight = transfersInFlight
    }
}

/// A cache as it was found: its graph, and its layers on demand.
public struct ImportedCache: Sendable {
    /// One of the caches that were found under the name: an image index may hold one per platform.
    public struct Part: Sendable {
        /// The manifest that the part was read from; `nil` where a store has none.
        public var manifest: Descriptor?
        /// Records, links and layers.
        public var graph: LayerGraph

        /// Makes a part.
        public init(manifest: Descriptor?, graph: LayerGraph) {
            self.manifest = manifest
            self.graph = graph
        }
    }

    /// What was found, in the order of the index.
    ///
    /// An image without a cache inside gives none.
    public private(set) var parts: [Part]
    /// All parts in one graph.
    public private(set) var graph: LayerGraph
    /// The layers, verified while they are read.
    public var blobs: any BlobSource
    /// What was left out and why.
    public var problems: [CacheProblem]
    /// The signatures by which the documents were accepted; none without a verification policy.
    public internal(set) var signatures: [VerifiedSignature] = []
    /// Ends what keeps the layers from being removed.
    package var onClose: (@Sendable () -> Void)?

    /// Merges `parts`.
    ///
    /// - Throws: As `LayerGraph.merge(_:onlyMissingResults:)`.
    public init(parts: [Part], blobs: any BlobSource, problems: [CacheProblem] = []) throws {
        self.parts = parts
        self.blobs = blobs
        self.problems = problems
        var graph = LayerGraph()
        for part in parts { try graph.merge(part.graph) }
        self.graph = graph
    }

    /// Leaves results out of ``graph`` and of each part.
    mutating func removeResults(where isMissing: (Layer) -> Bool) {
        for part in parts.indices { parts[part].graph = parts[part].graph.removingResults(where: isMissing) }
        graph = graph.removingResults(where: isMissing)
    }

    /// Lets the store remove the layers again, where an imported cache keeps it from doing so; they may be read on as long as they stay.
    ///
    /// ``CacheImporter/withImport(progress:_:)`` and a session do this themselves. A cache that is never closed ends with the last reference
    /// to its ``blobs``.
    public func close() { onClose?() }
}

extension CacheImporter {
    /// Imports the cache for as long as `body` runs, see ``importCache(progress:)``.
    ///
    /// - Parameters:
    ///   - progress: Told of problems.
    ///   - body: Gets the cache, `nil` when there is none yet. Its layers stay in the store until `body` ends.
    /// - Returns: The value of `body`.
    /// - Throws: What ``importCache(progress:)`` and `body` throw.
    public func withImport<Value>(
        progress: ProgressSink = .discarded, _ body: (ImportedCache?) async throws -> Value
    ) async throws -> Value {
        let cache = try await importCache(progress: progress)
        defer { cache?.close() }
        return try await body(cache)
    }
}

/// What an export did.
public struct ExportReceipt: Sendable {
    /// The manifest by each name that now leads to it.
    ///
    /// Empty: no layer was left to export, and nothing was written.
    public var published: [String: Descriptor]
    /// What became of each blob.
    public var transfers: [Digest: PutOutcome]
    /// Stored bytes of the layers that were written.
    public var bytesWritten: Int64 = 0
    /// Stored bytes of the layers that were there already.
    public var bytesSaved: Int64 = 0
    /// Layers whose bytes were converted or made for this export, by the digest they have now.
    public var converted: Set<Digest>
    /// The images with the cache inside, one for each of the source: of `type=inline` only.
    public var images: [EmbeddedImage] = []
    /// What was left out and why.
    public var problems: [CacheProblem]

    /// Creates a receipt.
    public init(
        published: [String: Descriptor] = [:], transfers: [Digest: PutOutcome] = [:], converted: Set<Digest> = [],
        problems: [CacheProblem] = []
    ) {
        self.published = published
        self.transfers = transfers
        self.converted = converted
        self.problems = problems
    }

    /// Notes a problem, and reports it.
    package mutating func add(_ problem: CacheProblem, _ progress: ProgressSink) {
        problems.append(problem)
        progress(.problem(problem))
    }
}
