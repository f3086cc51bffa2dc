public import BuildCacheCore

// Beside what it converts, a scratch store keeps blobs that were fetched.
extension ScratchStore: BlobStore {
    /// The size of a blob, `nil` if it is not here.
    public func stat(_ digest: Digest) async throws -> BlobStat? {
        await Workers.files.run {
            (try? OpenFile(reading: blobs.path(of: digest))).map { BlobStat(size: $0.size) }
        }
    }

    /// Opens a blob, as ``BlobSource/open(_:range:)``; a whole blob is verified while it is read.
    public func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await VerifiedSource(blobs).open(descriptor, range: range)
    }

    /// Stores a blob unless it is here, as ``BlobStore/put(_:from:)``.
    ///
    /// A blob that an earlier process left is hashed once: a damaged one is replaced.
    @discardableResult
    public func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        if await holds(StreamDigest.Value(digest: descriptor.digest, size: descriptor.size)) { return .alreadyPresent }
        let stream = try await source.open(descriptor, range: nil).verified(as: descriptor)
        try await writeAtomically(in: blobs.directory, permissions: 0o600, synchronized: isLasting) { file in
            for try await chunk in stream { try await file.write(chunk) }
            return (blobs.path(of: descriptor.digest), ())
        }
        sound.insert(descriptor.digest)
        return .written
    }
}
