public import BuildCacheCore

// Beside what it converts, a scratch store keeps blobs that somebody fetched.
extension ScratchStore: BlobStore {
    /// The size of a blob, `nil` if it is not here.
    public func stat(_ digest: Digest) async throws -> BlobStat? {
        await Workers.files.run {
            (try? OpenFile(reading: blobs.path(of: digest))).map { BlobStat(size: $0.size) }
        }
    }

    /// Opens a blob, as ``BlobSource/open(_:range:)``; its bytes were verified when they were stored.
    public func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await blobs.open(descriptor, range: range)
    }

    /// Stores a blob unless one of its size is here, as ``BlobStore/put(_:from:)``.
    @discardableResult
    public func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        if try await stat(descriptor.digest)?.size == descriptor.size { return .alreadyPresent }
        let stream = try await source.open(descriptor, range: nil).verified(as: descriptor)
        try await writeAtomically(in: blobs.directory, synchronized: isLasting) { file in
            for try await chunk in stream { try await file.write(chunk) }
            return (blobs.path(of: descriptor.digest), ())
        }
        return .written
    }
}
