import BuildCacheBytes
import BuildCacheCore

/// The blobs of several places: each is read from the first that has it, and if it is gone there, from the next.
struct CombinedSource: BlobSource {
    struct Part: Sendable {
        /// What the place has; `nil` if only asking tells.
        var digests: Set<Digest>?
        var source: any BlobSource
    }
    /// The places now: caches that are still being loaded come later.
    let parts: @Sendable () -> [Part]

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        var failure = CacheError(
            .notFound, "none of the imported caches has this blob",
            context: .init(subject: descriptor.digest.description))
        for part in parts() where part.digests?.contains(descriptor.digest) ?? true {
            do {
                return try await part.source.open(descriptor, range: range)
            } catch let error as CacheError {
                // That one place does not have it must not hide that another could not be asked.
                if failure.meansMissing { failure = error }
            }
        }
        throw failure
    }
}
