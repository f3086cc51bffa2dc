public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph

/// One place a build cache can live.
///
/// Absent is `nil`, broken is an error, and a cancelled call leaves no name behind. Conforming types are immutable values: what
/// changes lives in the store they talk to.
public protocol CacheBackend: Sendable {
    /// Facts about the backend, as data.
    var traits: BackendTraits { get }

    /// Stores what the graph's selection needs, then publishes it under the backend's names.
    ///
    /// A result with a layer that `source` no longer has, or has damaged, is left out with a warning; its record stays. If no layer
    /// is left, nothing is written and a good cache stays as it was. Names are published last: until then, and for ever if the call
    /// throws or is cancelled, readers see the cache that was there before.
    ///
    /// - Throws: `CacheError` of the store; `CancellationError` if cancelled.
    func exportCache(_ graph: LayerGraph, from source: LayerSource, progress: ProgressSink) async throws
        -> ExportReceipt

    /// The cache under the backend's names, or `nil` when there is none yet.
    ///
    /// Reads documents, not layers: those are read through ``ImportedCache/blobs`` when somebody wants them.
    ///
    /// - Throws: `CacheError` `.corrupted` if what is there is no cache, and what the store throws.
    func importCache(progress: ProgressSink) async throws -> ImportedCache?
}

/// Facts about a backend that pick its tests and size its transfers.
public struct BackendTraits: Hashable, Sendable {
    /// How a cache config travels.
    public enum Envelope: Hashable, Sendable {
        /// In a manifest of its own.
        case ociManifest
        /// Alone, with its layers described inside.
        case bareConfig
        /// In the config of an image.
        case imageConfig
    }

    /// The type, as in `type=local`.
    public var name: String
    /// Blobs that are transferred at once.
    public var transfersInFlight: Int
    /// How the cache config travels.
    public var envelope: Envelope

    /// Makes traits.
    public init(name: String, transfersInFlight: Int, envelope: Envelope) {
        self.name = name
        self.transfersInFlight = transfersInFlight
        self.envelope = envelope
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
    public var parts: [Part]
    /// All parts in one graph.
    public var graph: LayerGraph
    /// The layers, verified while they are read.
    public var blobs: any BlobSource
    /// What was left out and why, for people.
    public var warnings: [String]

    /// Unites `parts`.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past 2³¹ records, links or layers.
    public init(parts: [Part], blobs: any BlobSource, warnings: [String] = []) throws(CacheError) {
        self.parts = parts
        self.blobs = blobs
        self.warnings = warnings
        graph = LayerGraph()
        for part in parts { try graph.merge(part.graph) }
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
    /// What was left out and why, for people.
    public var warnings: [String]

    /// Makes a receipt.
    public init(
        published: [String: Descriptor] = [:], transfers: [Digest: PutOutcome] = [:], converted: Set<Digest> = [],
        warnings: [String] = []
    ) {
        self.published = published
        self.transfers = transfers
        self.converted = converted
        self.warnings = warnings
    }
}
