import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheOCI
public import BuildCacheClient

/// The images of a repository; names are its tags.
extension RegistryRepository: ImageStore {
    /// The manifest or index under a tag or a digest, or `nil`.
    ///
    /// - Throws: As ``manifest(_:limit:)``.
    public func resolve(_ name: String) async throws -> Descriptor? {
        try await manifest((try? Digest(name)).map { .digest($0) } ?? .tag(name))?.descriptor
    }

    /// See `ImageStore.document(_:)`.
    public func document(_ descriptor: Descriptor) async throws -> RawDocument {
        let bytes = try await self.bytes(of: descriptor, limit: Document.defaultLimit)
        return RawDocument(mediaType: descriptor.mediaType, bytes: bytes)
    }

    /// Stores a manifest or an index under its digest, or under a tag.
    ///
    /// - Throws: As ``putManifest(_:as:)``.
    public func publish(_ document: RawDocument, as name: String?) async throws {
        try await putManifest(document, as: name.map { .tag($0) } ?? .digest(document.digest))
    }
}
