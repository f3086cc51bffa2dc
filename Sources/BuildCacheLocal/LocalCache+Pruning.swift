import BuildCacheBytes
import BuildCacheCore
import BuildCacheOCI
public import BuildCacheTransfer

extension LocalCache: PrunableBackend {
    /// Opens the directory, with all its tags.
    ///
    /// The age of a tag is that of its manifest, which an export renews. To remove something keeps exports and imports out: they
    /// wait, and so does this, up to ten seconds. BuildKit waits for nobody, and does not renew blobs that it finds present: while it
    /// exports to the directory, nothing can be removed.
    ///
    /// See `PrunableBackend.openForPruning(isReadOnly:)`.
    public func openForPruning(isReadOnly: Bool) async throws -> any PrunableStore {
        let lease = try await isReadOnly ? layout.lease() : layout.waitForSweep()
        if !isReadOnly, lease != nil { try await Blocking.run { try layout.removeIngests() } }
        return PrunableLayout(layout: layout, lease: lease)
    }
}

/// A directory as a prune sees it, for as long as nobody removes, or nobody adds, anything.
private struct PrunableLayout: PrunableStore {
    let layout: OCILayout
    /// `nil` where there is no directory.
    let lease: Lease?

    /// Exports are locked out while blobs are removed.
    var renewalAge: Duration { .zero }
    var removesSharedVersions: Bool { false }

    func names() async throws -> [StoredName] {
        guard let index = try await layout.index() else {
            // Blobs without an index are what an export puts that has not come to its end, or what lost its index.
            return lease == nil ? [] : [.unknown("index.json is not there, so all blobs stay")]
        }
        var names: [StoredName] = []
        var tags: Set<String> = []
        for (number, entry) in index.entries.enumerated() {
            if let tag = entry.cacheTag {
                guard tags.insert(tag).inserted else { continue }
                names.append(try await name(tag, index.entries(cacheTag: tag), mayBeCache: true))
            } else {
                // Several entries may have one name, and some have none.
                let name = [entry.imageName ?? "", "entry \(number + 1)"].first { !$0.isEmpty } ?? ""
                names.append(try await self.name("\(name) (\(number + 1))", [entry], mayBeCache: false))
            }
        }
        return names
    }

    /// What some entries of one name keep; that which counts is the first.
    private func name(_ name: String, _ entries: [OCILayoutIndex.Entry], mayBeCache: Bool) async throws -> StoredName {
        var stored = StoredName(name, version: "", modifiedAt: nil, isCache: false, blobs: nil)
        do {
            var blobs: [Digest: Int64] = [:]
            let roots = try entries.compactMap { try $0.root() }
            stored.version = roots.map(\.digest.description).joined(separator: " ")
            for root in roots { try await layout.collect(root, into: &blobs, passingDamaged: false) }
            stored.blobs = blobs
            if let root = roots.first, roots.count == entries.count, let stat = try await layout.stat(root.digest) {
                stored.modifiedAt = stat.modifiedAt
                // What is exported again, unchanged, is another version.
                if let time = stat.modifiedAt { stored.version += " \(time)" }
                if mayBeCache, case .cache = try await layout.manifest(root) { stored.isCache = true }
            }
        } catch let error as CacheError where error.code != .denied && error.code != .unavailable {
            stored.problem = "\(error)"
        }
        return stored
    }

    func blobs() async throws -> StoredBlobs {
        .listed(
            try await Blocking.run { [layout] in try layout.blobs() }.map { digest, stat in
                StoredBlob(digest: digest, size: stat.size, modifiedAt: stat.modifiedAt)
            })
    }

    func remove(_ name: StoredName) async throws -> Bool {
        let documents = name.version.split(separator: " ").compactMap { try? Digest($0) }
        return try await layout.removeTag(name.name, naming: documents)
    }

    func remove(_ blob: StoredBlob) async throws -> Bool {
        guard let digest = blob.digest else { return false }
        let listed = BlobStat(size: blob.size, modifiedAt: blob.modifiedAt)
        return try await Blocking.run { [layout] in try layout.remove(digest, unlessOtherThan: listed) }
    }
}

extension StoredName {
    fileprivate static func unknown(_ problem: String) -> StoredName {
        StoredName("index.json", version: "", modifiedAt: nil, isCache: false, blobs: nil, problem: problem)
    }
}
