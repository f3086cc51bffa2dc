public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheOCI

/// Where images are: blobs, and manifests or indexes under names.
public protocol ImageStore: BlobStore {
    /// The manifest or index that a name stands for, or `nil` when there is none.
    func resolve(_ name: String) async throws -> Descriptor?

    /// Reads a manifest or an index, verified.
    ///
    /// - Throws: `CacheError` `.notFound`, `.corrupted` for other bytes than the descriptor names, `.limitExceeded` past
    ///   64 MiB.
    func document(_ descriptor: Descriptor) async throws -> RawDocument

    /// Stores a manifest or an index whose blobs are there, and lets `name` stand for it; `nil` leaves it without a name.
    ///
    /// Atomic: the name stands for the old document or the new.
    func publish(_ document: RawDocument, as name: String?) async throws
}
