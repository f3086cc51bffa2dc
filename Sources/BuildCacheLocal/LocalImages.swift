public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheOCI
public import BuildCacheTransfer

/// The images in a directory, an OCI image layout; names are its tags.
///
/// Nothing in the directory is removed by an export with `reset` while this is alive.
public struct LocalImages: ImageStore {
    private let layout: OCILayout
    private let lease: Lease

    /// Opens a directory, and makes it if it is not there.
    ///
    /// - Throws: `CacheError` `.denied`, `.busy`, `.unavailable`.
    public init(path: String) async throws { try await self.init(OCILayout(path: path)) }

    /// Works on a layout of the caller's.
    package init(_ layout: OCILayout) async throws {
        self.layout = layout
        lease = try await layout.prepare()
    }

    /// See `BlobStore.stat(_:)`.
    public func stat(_ digest: Digest) async throws -> BlobStat? { try await layout.stat(digest) }

    /// See `BlobSource.open(_:range:)`; the bytes are verified.
    public func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await VerifiedSource(layout).open(descriptor, range: range)
    }

    /// See `BlobStore.put(_:from:)`.
    @discardableResult
    public func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await layout.put(descriptor, from: source)
    }

    /// The manifest or index with a tag or a digest, or `nil`.
    public func resolve(_ name: String) async throws -> Descriptor? {
        try await layout.manifest((try? Digest(name)).map { .digest($0) } ?? .tag(name))
    }

    /// See `ImageStore.document(_:)`.
    public func document(_ descriptor: Descriptor) async throws -> RawDocument {
        let bytes = try await layout.document(descriptor, limit: Document.defaultLimit)
        return RawDocument(mediaType: descriptor.mediaType, bytes: bytes)
    }

    /// Stores a manifest or an index, and tags it.
    public func publish(_ document: RawDocument, as name: String?) async throws {
        try await layout.put(document)
        if let name { try await layout.setTag(name, to: document.descriptor) }
    }
}
