public import BuildCacheCore

/// Somewhere blobs can be read from, as often as needed.
///
/// A source is a recipe, not a stream: every call opens the blob afresh, so a retry, a parallel part upload and a resumed
/// download are all just another `open`.
public protocol BlobSource: Sendable {
    /// Opens a blob, or the part of it that `range` names in stored (compressed) bytes; `nil` is the whole.
    ///
    /// - Throws: `CacheError` `.notFound` when the blob is not there, `.corrupted` when what is there cannot be it.
    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream
}

/// Content-addressed storage.
public protocol BlobStore: BlobSource {
    /// Size and age of a stored blob, or `nil` when it is not there.
    func stat(_ digest: Digest) async throws -> BlobStat?

    /// Stores a blob unless it is there.
    ///
    /// Idempotent and atomic: on return the blob is complete, of the right digest and size, and readable by others; until
    /// then, and for ever if the call throws or is cancelled, it is invisible.
    ///
    /// - Throws: `CacheError` `.corrupted` if `source` gives other bytes than `descriptor` names.
    @discardableResult
    func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome
}

/// What a store knows of a blob without reading it.
public struct BlobStat: Hashable, Sendable {
    /// Bytes as stored.
    public var size: Int64
    /// When it was written or last refreshed, if the store tells.
    public var modifiedAt: Timestamp?

    /// Makes a stat.
    public init(size: Int64, modifiedAt: Timestamp? = nil) {
        self.size = size
        self.modifiedAt = modifiedAt
    }
}

/// What became of a blob that was to be stored.
@nonexhaustive
public enum PutOutcome: Hashable, Sendable {
    /// Its bytes were sent.
    case written
    /// It was there; nothing was sent.
    case alreadyPresent
    /// It was there and its age was reset.
    case refreshed
}

/// The two documents of an image, of one platform.
public struct ImageDocuments: Hashable, Sendable {
    /// The image manifest, OCI's or Docker's.
    public var manifest: [UInt8]
    /// The image config that the manifest names.
    public var config: [UInt8]

    /// Makes an image of its documents.
    public init(manifest: [UInt8], config: [UInt8]) {
        self.manifest = manifest
        self.config = config
    }
}

/// The bytes that an export reads: stored blobs, and the images that were built.
///
/// A pending layer brings its own.
public struct LayerSource: Sendable {
    /// The blobs of layers that have a descriptor.
    public var blobs: any BlobSource
    /// The images that were built, one per platform: `type=inline` puts the cache into these, other backends do not look.
    public var images: [ImageDocuments]

    /// Creates a source.
    public init(blobs: any BlobSource, images: [ImageDocuments] = []) {
        self.blobs = blobs
        self.images = images
    }
}
