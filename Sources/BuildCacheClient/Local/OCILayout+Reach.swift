import BuildCacheBytes
import BuildCacheCore
import BuildCacheOCI

extension OCILayout {
    /// Adds a blob and all that it leads to, with sizes: a manifest its config and layers, an index its manifests.
    ///
    /// - Parameters:
    ///   - root: The blob to begin with.
    ///   - needed: Gets the blobs.
    ///   - documents: Gets those that are manifests, indexes and configs.
    ///   - passingDamaged: Whether a manifest that proves damaged leads nowhere: the next export writes it and what it leads to anew. Else it is an
    ///     error.
    /// - Throws: `CacheError` `.corrupted`, `.limitExceeded`, `.denied`, `.unavailable`.
    func collect(
        _ root: Descriptor, into needed: inout [Digest: Int64], documents: inout Set<Digest>, passingDamaged: Bool
    ) async throws {
        var waiting = [root]
        var seen: Set<Digest> = []
        while let descriptor = waiting.popLast() {
            guard seen.insert(descriptor.digest).inserted else { continue }
            needed[descriptor.digest] = descriptor.size
            documents.insert(descriptor.digest)
            guard descriptor.mayBeManifest, let stat = try await stat(descriptor.digest) else { continue }
            guard stat.size <= Int64(Document.defaultLimit) else {
                throw CacheError(
                    .limitExceeded, "\(descriptor.digest) is too large to find out what it leads to",
                    context: .init(backend: "local"))
            }
            var stored = descriptor
            stored.size = stat.size
            // What is no manifest leads nowhere; the blob itself stays. But one that cannot be read now may lead anywhere.
            switch try await manifest(stored, passingDamaged: passingDamaged) {
            case nil: continue
            case .index(let index): waiting += index.manifests
            case .cache(let manifest):
                for blob in manifest.layers + [manifest.config] { needed[blob.digest] = blob.size }
                documents.insert(manifest.config.digest)
            case .image(let manifest):
                for blob in manifest.layers + (manifest.config.map { [$0] } ?? []) { needed[blob.digest] = blob.size }
                if let config = manifest.config { documents.insert(config.digest) }
            }
        }
    }

    /// The manifest that a blob is, or `nil` if it is none.
    func manifest(_ descriptor: Descriptor, passingDamaged: Bool = false) async throws -> Document? {
        let bytes: [UInt8]
        do {
            bytes = try await self.bytes(of: descriptor, limit: Document.defaultLimit)
        } catch let error as CacheError where error.code == .corrupted && passingDamaged {
            return nil
        }
        do throws(CacheError) {
            var unusable = UnusableEntries()
            let document = try Document(decoding: bytes, leavingOut: &unusable)
            // The others of a list lead to what they lead to. But where one makes sense to other programs, that is unknown.
            if let error = unusable.first(.unsupported) { throw error }
            return document
        } catch {
            guard error.code == .corrupted else { throw error }
            return nil
        }
    }
}

extension OCILayoutIndex.Entry {
    /// What the entry keeps; `nil` if it makes no sense and so keeps nothing.
    ///
    /// - Throws: `CacheError` `.unsupported` if it makes sense to others: what that keeps is unknown here.
    func root() throws(CacheError) -> Descriptor? {
        do {
            return try descriptor()
        } catch {
            guard error.code == .corrupted else { throw error }
            return nil
        }
    }
}

extension Descriptor {
    /// Whether the blob may lead to others: layers and configs do not.
    fileprivate var mayBeManifest: Bool { mediaType.layer == nil && mediaType != .cacheConfig }
}
