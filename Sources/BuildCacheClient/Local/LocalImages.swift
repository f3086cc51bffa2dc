public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheOCI
import Synchronization

/// The images in a directory, an OCI image layout; names are its tags.
///
/// Reading changes nothing, so the directory may be read-only. The first ``put(_:from:)`` or ``publish(_:as:)`` makes what is missing of the
/// layout; from then on, until ``close()`` or the last reference, no prune or reset removes anything from it.
public struct LocalImages: ImageStore {
    private let layout: OCILayout
    private let writing = Writing()

    /// Names a directory; nothing is opened or made yet.
    public init(path: String) { self.init(OCILayout(path: path)) }

    /// Works on a layout of the caller's.
    package init(_ layout: OCILayout) { self.layout = layout }

    /// Ends what keeps prunes and resets out.
    public func close() { writing.end() }

    /// See `BlobStore.stat(_:)`.
    public func stat(_ digest: Digest) async throws -> BlobStat? { try await layout.stat(digest) }

    /// See `BlobSource.open(_:range:)`; the bytes are verified.
    public func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await VerifiedSource(layout).open(descriptor, range: range)
    }

    /// See `BlobStore.put(_:from:)`.
    @discardableResult
    public func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await writing.begin(on: layout)
        return try await layout.put(descriptor, from: source)
    }

    /// The manifest or index with a tag or a digest, or `nil`.
    ///
    /// - Throws: `CacheError` `.notFound` if the directory does not exist, and what reading it throws.
    public func resolve(_ name: String) async throws -> Descriptor? {
        guard try await Blocking.run({ try layout.openRoot() != nil }) else {
            throw CacheError(
                .notFound, "the directory does not exist; check the path",
                context: .init(backend: "local", operation: "import", subject: layout.path))
        }
        return try await layout.manifest((try? Digest(name)).map { .digest($0) } ?? .tag(name))
    }

    /// See `ImageStore.document(_:)`.
    public func document(_ descriptor: Descriptor) async throws -> RawDocument {
        let bytes = try await layout.bytes(of: descriptor, limit: Document.defaultLimit)
        return RawDocument(mediaType: descriptor.mediaType, bytes: bytes)
    }

    /// Stores a manifest or an index, and tags it.
    public func publish(_ document: RawDocument, as name: String?) async throws {
        try await writing.begin(on: layout)
        try await layout.put(document)
        if let name { try await layout.setTag(name, to: document.descriptor) }
    }
}

/// The lease of a layout that is written to, taken before the first blob.
private final class Writing: Sendable {
    private let lease = Mutex<Lease?>(nil)

    func begin(on layout: OCILayout) async throws {
        guard lease.withLock({ $0 == nil }) else { return }
        // Two puts at once may both prepare the layout; one lease suffices.
        let prepared = try await layout.prepare()
        lease.withLock { $0 = $0 ?? prepared }
    }

    func end() { lease.withLock { $0 = nil } }
}
