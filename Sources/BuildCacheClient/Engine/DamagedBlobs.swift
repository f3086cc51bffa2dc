package import BuildCacheBytes
package import BuildCacheCore
import Synchronization

/// The blobs of remote stores that proved damaged when this process read them.
///
/// Reading changes nothing in a store. An export of this process takes a blob that is noted here for missing, and so replaces it.
package final class DamagedBlobs: Sendable {
    /// The most blobs to remember.
    ///
    /// Beyond that, the damage of some is found anew when they are read.
    private static let maximumCount = 10_000
    private let keys = Mutex<Set<String>>([])

    package init() {}

    /// Notes a blob by its place in the store.
    package func note(_ key: String) {
        keys.withLock { keys in
            if keys.count >= DamagedBlobs.maximumCount { keys.removeAll() }
            keys.insert(key)
        }
    }

    package func contains(_ key: String) -> Bool { keys.withLock { $0.contains(key) } }

    /// Forgets a blob that was replaced.
    package func forget(_ key: String) { keys.withLock { _ = $0.remove(key) } }
}

/// A source whose blobs are verified while they are read, and noted when they prove damaged.
package struct DamageNotingSource: BlobSource {
    private let base: VerifiedSource
    private let note: @Sendable (Digest) async -> Void

    /// - Parameter note: Called with the digest of a damaged blob.
    package init(_ base: any BlobSource, note: @escaping @Sendable (Digest) async -> Void) {
        self.base = VerifiedSource(base)
        self.note = note
    }

    package func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let stream = try await base.open(descriptor, range: range)
        return range == nil ? stream.noticingDamage { [note] in await note(descriptor.digest) } : stream
    }
}
