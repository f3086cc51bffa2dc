import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheHTTP
import BuildCacheOCI
import BuildCacheTransfer

/// Lets a tag lead to what several jobs exported at once, in a registry, which has no compare and swap.
///
/// A writer that moves a tag cannot know that another one moved it between its reading and its writing, and that one may have looked and
/// gone. So a writer first **announces** what it has, as a manifest under a tag of its own beside the tag that is meant. Then it reads the
/// announcements and after these the tag, writes the union, and begins again until the tag holds all of it. Only then it marks its
/// announcement as **settled**, by a second tag: it will not write the tag that is meant any more. What a slow writer takes out of the tag
/// it puts back itself, for it reads the announcements again before it settles, and these stay as long as anybody may be that slow: they
/// are removed by a writer that finds all of them settled. Whoever announces later reads the tag later and finds everything there.
///
/// A writer that was killed leaves an announcement that is not settled. It does no harm, as others merge it; after an hour it counts as
/// settled.
struct TagMerge {
    let repository: RegistryRepository
    let tag: String
    let layout: ManifestLayout
    let limits: CacheConfigLimits

    /// What became of the documents.
    struct Published {
        var manifest: Descriptor
        var transfers: [Digest: PutOutcome] = [:]
        var warnings: [String] = []
    }

    /// Seconds after which a writer that did not settle is taken for dead.
    private static let patience: Int64 = 3600
    private static let settledMark = ".settled"
    /// Announcements that are read at once.
    private static let readsInFlight = 8

    /// Publishes a graph whose layers are stored.
    func publish(_ graph: LayerGraph) async throws -> Published {
        let own = try CacheDocuments(graph, layout: .imageManifest, limits: limits)
        let name = prefix + String(repository.client.now().seconds, radix: 36) + "-" + TagMerge.randomText()
        let announcement = try unique(own.manifest)
        var transfers = [own.config.digest: try await put(own.config)]
        try await repository.putManifest(announcement, as: .tag(name))

        var known: [String: LayerGraph] = [:]
        var hasWritten = false
        var warnings: [String] = []
        var published = try await SwapLoop(clock: repository.client.transport.clock).run(tag) { () -> Published? in
            // In this order: what is not announced any more is in the tag by then.
            known = try await announcedGraphs(announcements(try await tags()).keys.filter { $0 != name }, known)
            let current = try await manifest(tag)
            var wanted = graph
            for (_, other) in known.sorted(by: { $0.key < $1.key }) {
                try wanted.merge(other, onlyMissingResults: true)
            }
            if let current, let there = try await self.graph(of: current) {
                let merged = try wanted.merged(over: there)
                // Two writers that have different results of one record would else take turns for ever.
                if try merged == nil || (hasWritten && wanted.isContained(in: there)) {
                    transfers[current.digest] = transfers[current.digest] ?? .alreadyPresent
                    return Published(manifest: current.descriptor)
                }
                wanted = merged ?? wanted
            }
            let documents = try CacheDocuments(wanted, layout: layout, limits: limits)
            warnings = documents.warnings
            transfers[documents.config.digest] = try await put(documents.config)
            try Task.checkCancellation()
            try await repository.putManifest(documents.manifest, as: .tag(tag))
            transfers[documents.manifest.digest] = .written
            hasWritten = true
            return nil
        }
        try await repository.putManifest(announcement, as: .tag(name + TagMerge.settledMark))
        published.transfers = transfers
        published.warnings = warnings
        if try await !removeSettled(announcement) {
            published.warnings.append(
                "the registry removes no manifests, so the tag \(name), which told parallel jobs of this one, stays; "
                    + "allow deletion, or export with WritePolicy.replace")
        }
        return published
    }

    // MARK: Announcements

    /// What the tags of announcements begin with; no two tags have the same.
    private var prefix: String { "\(tag.prefix(60)).merge-\(Digest(of: tag.utf8).hex.prefix(8))-" }

    private static func randomText() -> String { String(UInt64.random(in: .min ... .max), radix: 36) }

    /// A manifest that says the same and has a digest of its own: an announcement is removed by its digest.
    private func unique(_ manifest: RawDocument) throws(CacheError) -> RawDocument {
        guard case .cache(let cache) = try Document(decoding: manifest.bytes) else { return manifest }
        let notes = ["build-cache.merge": TagMerge.randomText()]
        return ImageManifest(config: cache.config, layers: cache.layers, annotations: notes).encode()
    }

    /// The tags of all announcements, with those that mark them as settled.
    private func tags() async throws -> [String] { try await repository.tags().filter { $0.hasPrefix(prefix) } }

    /// The announcements, and whether who made them has settled.
    private func announcements(_ tags: [String]) -> [String: Bool] {
        let settled = Set(tags.filter { $0.hasSuffix(TagMerge.settledMark) })
        let now = repository.client.now()
        var announcements: [String: Bool] = [:]
        for name in tags where !settled.contains(name) {
            announcements[name] =
                settled.contains(name + TagMerge.settledMark) || !TagMerge.mayBeUnderWay(name, at: now)
        }
        return announcements
    }

    /// Whether a tag is the announcement of a writer that may still write: nobody else is to remove it.
    static func mayBeUnderWay(_ tag: String, at now: Timestamp) -> Bool {
        guard let mark = tag.firstRange(of: ".merge-"), !tag.hasSuffix(settledMark) else { return false }
        // Behind the mark: what stands for the tag that is meant, when it was made, and a random text.
        let parts = tag[mark.upperBound...].split(separator: "-")
        guard parts.count == 3, let made = Int64(parts[1], radix: 36) else { return false }
        return now.seconds - made <= patience
    }

    /// What was announced under these names; one that goes meanwhile is in the tag already.
    private func announcedGraphs(
        _ names: some Sequence<String>, _ known: [String: LayerGraph]
    ) async throws -> [String: LayerGraph] {
        let found = try await names.mapConcurrently(limit: TagMerge.readsInFlight) { name -> (String, LayerGraph)? in
            // An announcement never changes.
            if let graph = known[name] { return (name, graph) }
            guard let manifest = try await manifest(name) else { return nil }
            return try await graph(of: manifest).map { (name, $0) }
        }
        return Dictionary(found.compactMap { $0 }) { first, _ in first }
    }

    /// Removes all announcements if nobody who made one can write the tag any more, and the tag holds what they say.
    ///
    /// - Parameter own: The announcement of this writer.
    /// - Returns: False if the registry does not allow that.
    private func removeSettled(_ own: RawDocument) async throws -> Bool {
        let tags = try await tags()
        let all = announcements(tags)
        guard all.values.allSatisfy({ $0 }) else { return true }
        let graphs = try await announcedGraphs(all.keys, [:])
        guard let current = try await manifest(tag), let there = try await graph(of: current) else { return true }
        for graph in graphs.values where try !graph.isContained(in: there) { return true }
        let found = try await tags.mapConcurrently(limit: TagMerge.readsInFlight) { tag in
            if let digest = try await manifest(tag)?.digest { return digest }
            // Docker's registry may leave a tag without its manifest when two writers remove the same: it goes with ours.
            try await repository.putManifest(own, as: .tag(tag))
            return own.digest
        }
        for digest in Set(found) {
            do { try await repository.deleteManifest(digest) } catch let error as CacheError
                where [.unsupported, .denied].contains(error.code)
            {
                return false
            }
        }
        return true
    }

    // MARK: Documents

    private func manifest(_ tag: String) async throws -> RawDocument? {
        try await repository.manifest(.tag(tag), limit: limits.maximumBytes, at: repository.origin)
    }

    private func graph(of manifest: RawDocument) async throws -> LayerGraph? {
        try await LayerGraph.known(
            manifest.descriptor, in: RootedSource(root: manifest, rest: repository), limits: limits)
    }

    private func put(_ document: RawDocument) async throws -> PutOutcome {
        try await repository.put(document.descriptor, from: DocumentSource(document))
    }
}
