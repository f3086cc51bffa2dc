import BuildCacheBytes
import BuildCacheCore
import BuildCacheOCI

extension LocalStore: PrunableStore {
    /// Exports are locked out while blobs are removed.
    var renewalAge: Duration { .zero }

    func names() async throws -> [StoredName] {
        guard let index = try await layout.index() else {
            // Blobs without an index belong to an export that has not come to its end, or to an index that was lost.
            return [.unknown("index.json does not exist, so all blobs stay")]
        }
        let tagged = Dictionary(grouping: index.entries) { $0.cacheTag.map { ExactText($0) } }
        var names: [StoredName] = []
        var seen: Set<ExactText> = []
        for (number, entry) in index.entries.enumerated() {
            if let tag = entry.cacheTag.map({ ExactText($0) }) {
                guard seen.insert(tag).inserted, let entries = tagged[tag] else { continue }
                names.append(try await name(tag.text, entries, mayBeCache: true))
            } else {
                // Several entries may have one name, and some have none.
                let name = [entry.imageName ?? "", "entry \(number + 1)"].first { !$0.isEmpty } ?? ""
                names.append(try await self.name("\(name) (\(number + 1))", [entry], mayBeCache: false))
            }
        }
        return names
    }

    /// What the entries of one name lead to; the first is the one that readers take.
    private func name(_ name: String, _ entries: [OCILayoutIndex.Entry], mayBeCache: Bool) async throws -> StoredName {
        var stored = StoredName(name, version: "", modifiedAt: nil, isCache: false, blobs: nil)
        do {
            var (blobs, documents) = ([Digest: Int64](), Set<Digest>())
            stored.version = Self.version(of: entries, written: nil)
            let roots = try entries.compactMap { try $0.root() }
            for root in roots {
                try await layout.collect(root, into: &blobs, documents: &documents, passingDamaged: false)
            }
            (stored.blobs, stored.documentBlobs) = (blobs, documents)
            guard let root = roots.first else {
                stored.problem = "its entry in index.json cannot be used; export to it again"
                return stored
            }
            guard let stat = try await layout.stat(root.digest) else {
                stored.problem = "its manifest \(root.digest) is missing; export to it again"
                return stored
            }
            if roots.count == entries.count {
                // The entry's own time. Entries of other tools have none; their manifest's file tells then, which other tags may share.
                let written = root.annotations[Annotation.created].flatMap { try? Timestamp($0) }
                stored.modifiedAt = written ?? stat.modifiedAt
                // A manifest that is exported again, unchanged, is another version.
                stored.version = Self.version(of: entries, written: stored.modifiedAt)
                if mayBeCache, case .cache = try await layout.manifest(root) { stored.isCache = true }
            }
        } catch let error as CacheError where error.code != .denied && error.code != .unavailable {
            stored.problem = "\(error)"
        }
        return stored
    }

    func blobs() async throws -> StoredBlobs {
        let all = try await Blocking.run { [layout] in try layout.blobs() }
        let used = try await layout.blobsInUse(among: all.map(\.0))
        let blobs = all.filter { !used.contains($0.0) }.map { digest, stat in
            StoredBlob(digest: digest, size: stat.size, modifiedAt: stat.modifiedAt)
        }
        // Their writers are gone, so they wait for no grace period.
        let abandoned = try await Blocking.run { [layout] in try layout.abandonedIngests() }.map { name, size in
            StoredBlob(id: LocalStore.ingest + name, digest: nil, size: size, modifiedAt: .zero)
        }
        let signatures = try await Blocking.run { [layout] in try layout.signatureFiles() }.map { digest, stat in
            StoredBlob(
                id: LocalStore.signature + digest.description, digest: digest, size: stat.size,
                modifiedAt: stat.modifiedAt)
        }
        return .listed(blobs + abandoned + signatures)
    }

    private static let ingest = "ingest/"
    private static let signature = "signatures/"

    /// Text that tells versions of a tag apart: the documents of its entries, and when it was written.
    private static func version(of entries: [OCILayoutIndex.Entry], written: Timestamp?) -> String {
        let documents = entries.map { (try? $0.descriptor().digest.description) ?? "unreadable" }
        return ([documents.joined(separator: " ")] + (written.map { ["\($0)"] } ?? [])).joined(separator: "@")
    }

    func remove(_ name: StoredName) async throws -> Bool {
        let documents = name.version.prefix { $0 != "@" }.split(separator: " ").map { try? Digest($0) }
        guard !documents.isEmpty, try await layout.blobsInUse(among: documents.compactMap { $0 }).isEmpty else {
            return false
        }
        return try await layout.removeTag(name.name, naming: documents)
    }

    func remove(_ blob: StoredBlob) async throws -> Bool {
        guard let digest = blob.digest else {
            let name = String(blob.id.dropFirst(LocalStore.ingest.count))
            return try await Blocking.run { [layout] in try layout.removeIngest(name) }
        }
        let listed = BlobStat(size: blob.size, modifiedAt: blob.modifiedAt)
        guard !blob.id.hasPrefix(LocalStore.signature) else {
            return try await Blocking.run { [layout] in
                try layout.removeSignatureFile(of: digest, unlessOtherThan: listed)
            }
        }
        return try await Blocking.run { [layout] in try layout.remove(digest, unlessOtherThan: listed) }
    }
}

extension StoredName {
    fileprivate static func unknown(_ problem: String) -> StoredName {
        StoredName("index.json", version: "", modifiedAt: nil, isCache: false, blobs: nil, problem: problem)
    }
}
