import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheHTTP
import BuildCacheOCI
import BuildCacheClient

/// Lets a tag lead to what several jobs exported at once, in a registry, which has no compare and swap.
///
/// A writer that moves a tag cannot know that another one moved it between its reading and its writing, and that one may have looked and
/// gone. So a writer first **announces** what it has, as a manifest under a tag of its own beside the tag that is meant. Then it reads the
/// announcements and after these the tag, writes the union, and begins again until the tag holds all of it. Only then it marks its
/// announcement as **settled**, by a second tag: it will not write the tag that is meant any more. What a slow writer takes out of the tag
/// it puts back itself, for it reads the announcements again before it settles.
///
/// So an announcement must stay until every writer has settled that may have read the tag before it led there: all that had announced
/// themselves when it settled. Who comes later reads the announcement, or the tag after it was removed, and then the tag leads there for
/// good. Each writer remembers whom it saw, and removes at its end what may go; the last one leaves nothing behind.
///
/// A writer that was killed leaves an announcement that is not settled. It does no harm, as others merge it; after an hour it counts as
/// settled.
struct TagMerge {
    let repository: RegistryRepository
    let tag: String
    let draft: CacheDraft

    private var limits: CacheConfigLimits { draft.limits }

    /// Seconds after which a writer that did not settle is taken for dead.
    private static let patience: Int64 = 3600
    private static let settledMark = ".settled"
    /// The annotation that every announcement has.
    private static let mark: StaticString = "build-cache.merge"
    /// Announcements that are read at once.
    private static let readsInFlight = 8
    /// The most announcements beside one tag.
    private static let announcementLimit = 1000

    /// Publishes the draft.
    func publish() async throws -> Publication {
        if let current = try await current(), try current.holds(draft), try await tags().isEmpty {
            return publication(current.manifest, [current.manifest.digest: .alreadyPresent])
        }
        let own = try CacheDocuments(draft.graph, form: .manifest(.imageManifest), limits: limits)
        let name = prefix + String(repository.client.now().seconds, radix: 36) + "-" + TagMerge.randomText()
        let announcement = try unique(own.root)
        var transfers = [own.config.digest: try await repository.put(own.config)]
        // Other writers merge announcements, so these are signed as the cache under the tag is.
        try await draft.sign(announcement, over: nil)
        try await repository.putManifest(announcement, as: .tag(name))

        var known: [String: Announcement] = [:]
        var listings: [Listing] = []
        var hasWritten = false
        var problems: [CacheProblem] = []
        let manifest = try await SwapLoop(clock: repository.client.transport.clock).run(tag) { () -> Descriptor? in
            // In this order: what is not announced any more is in the tag by then.
            known = try await read(try await tags(), known)
            listings.append(listing(known))
            let current = try await current()
            let others = known.sorted { $0.key < $1.key }.filter { $0.key != name }.compactMap(\.value.graph)
            // Two writers that have different results of one record would else take turns for ever.
            let documents = try draft.documents(over: current?.graph, merging: others, isCurrentNewer: hasWritten)
            guard let documents else {
                guard let current else { return nil }
                transfers[current.manifest.digest] = transfers[current.manifest.digest] ?? .alreadyPresent
                return current.manifest
            }
            problems = documents.problems
            transfers[documents.config.digest] = try await repository.put(documents.config)
            try Task.checkCancellation()
            try await draft.sign(documents, over: current?.document)
            try await repository.putManifest(documents.root, as: .tag(tag))
            transfers[documents.root.digest] = .written
            hasWritten = true
            return nil
        }
        var published = publication(manifest, transfers)
        published.problems = problems
        do {
            try await repository.putManifest(announcement, as: .tag(name + TagMerge.settledMark))
            for _ in 0..<2 {
                known = try await read(try await tags(), known)
                listings.append(listing(known))
            }
            try await remove(TagMerge.removable(listings), known, with: own.root)
        } catch let error as CacheError {
            // The cache is stored, and the next export tries again.
            let refused = [.unsupported, .denied].contains(error.code)
            published.problems.append(
                CacheProblem(
                    .notice,
                    "the tag \(name), which told parallel jobs of this one, stays: "
                        + (refused
                            ? "the registry removes no manifests; allow deletion, or export with WritePolicy.replace"
                            : "\(error)"),
                    subject: name, code: error.code))
        }
        return published
    }

    private func publication(_ manifest: Descriptor, _ transfers: [Digest: PutOutcome]) -> Publication {
        Publication(name: tag, root: manifest, transfers: transfers)
    }

    /// The cache under the tag.
    private struct Current {
        var document: NamedDocument
        var manifest: Descriptor
        /// `nil` if it is damaged.
        var graph: LayerGraph?

        /// Whether it holds all of a draft, so that there is nothing to say and nothing to write, unless another writer is under way.
        ///
        /// Such a writer may have read the tag before it led there, and take out of it what it holds.
        func holds(_ draft: CacheDraft) throws -> Bool {
            try graph.map { try draft.graph.merged(over: $0) == nil } ?? false
        }
    }

    private func current() async throws -> Current? {
        guard let found = try await manifest(tag) else { return nil }
        return Current(
            document: NamedDocument(name: tag, content: .document(found)), manifest: found.descriptor,
            graph: try await graph(of: found))
    }

    // MARK: Announcements

    /// What the tags of announcements begin with; no two tags have the same.
    private var prefix: String { "\(tag.prefix(60)).merge-\(Digest(of: tag.utf8).hex.prefix(8))-" }

    private static func randomText() -> String { String(UInt64.random(in: .min ... .max), radix: 36) }

    /// A manifest that says the same and has a digest of its own: an announcement is removed by its digest.
    private func unique(_ manifest: RawDocument) throws(CacheError) -> RawDocument {
        guard case .cache(let cache) = try Document(decoding: manifest.bytes) else { return manifest }
        let notes = ["\(TagMerge.mark)": TagMerge.randomText()]
        return ImageManifest(config: cache.config, layers: cache.layers, annotations: notes).encode()
    }

    /// Whether a manifest was made by ``unique(_:)``.
    private static func isUnique(_ manifest: RawDocument) -> Bool {
        let found = try? JSONReader.read(manifest.bytes, as: "manifest") { reader throws(CacheError) in
            var isMarked = false
            guard try reader.beginObject() else { return false }
            while let key = try reader.nextKey() {
                guard case "annotations" = key else {
                    try reader.skipValue()
                    continue
                }
                guard try reader.beginObject() else { continue }
                while let key = try reader.nextKey() {
                    if case mark = key { isMarked = true }
                    try reader.skipValue()
                }
            }
            return isMarked
        }
        return found ?? false
    }

    /// The tags of all announcements, with those that mark them as settled.
    private func tags() async throws -> [String] { try await repository.tags().filter { $0.hasPrefix(prefix) } }

    /// The tag of the announcement that a tag is, or is the mark of.
    private static func announcement(_ tag: String) -> String {
        tag.hasSuffix(settledMark) ? String(tag.dropLast(settledMark.count)) : tag
    }

    /// What stands under the tag of an announcement.
    private struct Announcement {
        /// `nil` for a tag without its manifest, which Docker's registry may leave when several writers remove others at the same time.
        var digest: Digest?
        /// Whether the manifest was made by ``unique(_:)``, so that no other tags lead to it.
        var isUnique = false
        var graph: LayerGraph?
        var isSettled = false
    }

    /// The announcements among some tags.
    ///
    /// - Parameter known: What was read before: an announcement never changes.
    private func read(_ tags: [String], _ known: [String: Announcement]) async throws -> [String: Announcement] {
        let now = repository.client.now()
        let groups = Dictionary(grouping: tags, by: TagMerge.announcement)
        guard groups.count <= TagMerge.announcementLimit else {
            throw CacheError(
                .limitExceeded,
                "more than \(TagMerge.announcementLimit) jobs have announced themselves by tags like \(prefix)…; remove those that have ended",
                context: .init(subject: tag))
        }
        let found = try await groups.mapConcurrently(limit: TagMerge.readsInFlight) { name, tags in
            var one = known[name] ?? Announcement()
            for tag in tags where one.digest == nil {
                guard let manifest = try await manifest(tag) else { continue }
                one.digest = manifest.digest
                one.isUnique = TagMerge.isUnique(manifest)
                one.graph = try await graph(of: manifest)
            }
            one.isSettled =
                one.digest == nil || tags.contains { $0.hasSuffix(TagMerge.settledMark) }
                || !TagMerge.mayBeUnderWay(name, at: now)
            return (name, one)
        }
        return Dictionary(found) { first, _ in first }
    }

    /// Who had announced itself at some moment.
    struct Listing: Equatable {
        var settled: Set<String>
        var underWay: Set<String>
    }

    private func listing(_ announcements: [String: Announcement]) -> Listing {
        Listing(
            settled: Set(announcements.filter(\.value.isSettled).keys),
            underWay: Set(announcements.filter { !$0.value.isSettled }.keys))
    }

    /// The announcements that nobody needs who is under way.
    ///
    /// - Parameter listings: What one writer saw, in this order. Who had announced itself when an announcement settled is in the listing
    ///   after the one that first showed it settled, for a list is no picture of one moment.
    static func removable(_ listings: [Listing]) -> Set<String> {
        guard let last = listings.last else { return [] }
        for (earlier, later) in zip(listings, listings.dropFirst()).reversed()
        where later.underWay.isDisjoint(with: last.underWay) {
            return earlier.settled
        }
        return []
    }

    /// Whether a tag is the announcement of a writer that may still write: nobody else is to remove it.
    static func mayBeUnderWay(_ tag: String, at now: Timestamp) -> Bool {
        // The last one: the tag that is meant may have such a text, too.
        guard let mark = tag.ranges(of: ".merge-").last, !tag.hasSuffix(settledMark) else { return false }
        // Behind the mark: what stands for the tag that is meant, when it was made, and a random text.
        let parts = tag[mark.upperBound...].split(separator: "-")
        guard parts.count == 3, let made = Int64(digits: parts[1], radix: 36, in: 0...Int64.max) else { return false }
        // A name may be of any writer's making: one from far in the future holds up nothing.
        let (age, isTooLarge) = now.seconds.subtractingReportingOverflow(made)
        return !isTooLarge && (-patience...patience).contains(age)
    }

    /// Removes announcements that nobody needs, if the tag holds what they say.
    ///
    /// - Parameter manifest: One whose blobs are stored.
    private func remove(
        _ names: Set<String>, _ known: [String: Announcement], with manifest: RawDocument
    ) async throws {
        guard !names.isEmpty, let current = try await self.manifest(tag), let there = try await graph(of: current)
        else { return }
        var removed: Set<String> = []
        for (name, one) in known where names.contains(name) {
            if let graph = one.graph, try there.adding(graph) != nil { continue }
            // A delete by digest takes all tags of a manifest along, and the tag of an announcement may lead to any manifest, even to
            // that of the tag that is meant.
            guard one.digest == nil || one.isUnique else { continue }
            if let digest = one.digest {
                try await repository.deleteManifest(digest)
                if draft.isSigned { try await repository.removeFallback(of: digest) }
            }
            removed.insert(name)
        }
        for tag in try await tags() where removed.contains(TagMerge.announcement(tag)) {
            // A tag without a manifest goes with one that it is given.
            guard try await self.manifest(tag) == nil else { continue }
            let last = try unique(manifest)
            try await repository.putManifest(last, as: .tag(tag))
            try await repository.deleteManifest(last.digest)
        }
    }

    // MARK: Documents

    private func manifest(_ tag: String) async throws -> RawDocument? {
        try await repository.manifest(.tag(tag), limit: limits.documentBytes, at: repository.origin)
    }

    private func graph(of manifest: RawDocument) async throws -> LayerGraph? {
        try await draft.graph(of: NamedDocument(name: tag, content: .document(manifest)), in: repository)
    }
}
