import BuildCacheBytes
import BuildCacheCore
import BuildCacheOCI
import BuildCacheClient

/// A repository as the store of a cache.
struct RegistryStore: CacheStore {
    let repository: RegistryRepository
    let ref: Reference
    let layout: ManifestLayout
    let limits: CacheConfigLimits
    let use: StoreUse

    /// Existence checks at once: they are small and mostly waiting.
    private static let checksInFlight = 16

    var form: CacheForm { .manifest(layout) }
    var cacheNames: [String] { [ref.description] }
    var problems: [CacheProblem] { repository.problems.map { CacheProblem(.notice, $0) } }

    // MARK: Layers

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await repository.open(descriptor, range: range)
    }

    var layers: any BlobSource { VerifiedSource(repository) }

    func stat(_ digest: Digest) async throws -> BlobStat? { try await repository.stat(digest) }

    func put(_ layer: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await repository.put(layer, from: source)
    }

    func put(
        _ layer: Descriptor, from source: any BlobSource, presence: LayerPresence?
    ) async throws -> PutOutcome {
        try await repository.put(layer, from: source, isMissing: presence != nil)
    }

    /// Of the registry itself for an export, and of the servers that are read from for an import.
    func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
        let states = try await layers.mapConcurrently(limit: RegistryStore.checksInFlight) {
            layer -> (Digest, LayerPresence) in
            let isThere =
                use == .import
                ? try await repository.holds(layer) : try await repository.holds(layer, at: repository.origin)
            return (layer.digest, isThere ? .current : .absent)
        }
        return Dictionary(states) { first, _ in first }
    }

    // MARK: Documents

    func document(named name: String, limit: Int) async throws -> NamedDocument? {
        let found: RawDocument?
        if use == .import {
            found = try await repository.manifest(ManifestName(ref), limit: limit)
        } else {
            // A digest leads to one manifest for ever. A mirror may be behind.
            guard ref.digest == nil else { return nil }
            found = try await repository.manifest(ManifestName(ref), limit: limit, at: repository.origin)
        }
        return found.map { NamedDocument(name: name, content: .document($0), version: $0.digest.description) }
    }

    func publish(_ draft: CacheDraft, as name: String) async throws -> Publication {
        guard !draft.merges || ref.digest != nil else {
            return try await TagMerge(repository: repository, tag: ref.tag ?? "latest", draft: draft).publish()
        }
        let documents = try draft.documents()
        let manifest = documents.root
        let name = manifestName(of: manifest)
        var done = Publication(name: name.description, root: manifest.descriptor, problems: documents.problems)
        done.transfers[documents.config.digest] = try await repository.put(documents.config)
        if case .digest = name {
            done.problems.append(
                CacheProblem(
                    .notice,
                    "\(ref) names another digest, so the manifest is stored as \(manifest.digest) and no tag is moved",
                    subject: manifest.digest.description))
        }
        // Writing a manifest that is there would look like a change to those who watch the tag.
        if try await repository.digest(of: name, limit: limits.documentBytes) == manifest.digest {
            done.transfers[manifest.digest] = .alreadyPresent
        } else {
            try Task.checkCancellation()
            if draft.isSigned {
                // The signature's subject is there before the signature, and the tag moves last.
                try await repository.putManifest(manifest, as: .digest(manifest.digest))
                try await draft.sign(documents, over: nil)
            }
            try await repository.putManifest(manifest, as: name)
            done.transfers[manifest.digest] = .written
        }
        return done
    }

    /// The tag to move; a digest where the reference has another one than the manifest.
    private func manifestName(of manifest: RawDocument) -> ManifestName {
        if let digest = ref.digest, digest != manifest.digest { return .digest(manifest.digest) }
        return ref.tag.map { .tag($0) } ?? .digest(manifest.digest)
    }
}
