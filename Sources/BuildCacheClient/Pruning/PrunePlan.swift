public import BuildCacheCore

/// The effect of a prune, as data: inspect it, show it, then apply it or not.
///
/// ``description`` says it in lines for people. Made by ``PrunableBackend/planPrune(_:now:)``, which changes nothing.
public struct PrunePlan: Hashable, Sendable {
    /// What happens to a name, and why.
    @nonexhaustive
    public enum Verdict: Hashable, Sendable {
        /// It stays: it is within all limits.
        case kept
        /// It stays: this pattern says so.
        case protected(pattern: String)
        /// It stays: it is an image, or anything else that is not a cache.
        case notACache
        /// It stays: its removal would remove this name, too, which stays.
        case sharedWith(String)
        /// It is removed: it was last written longer ago than the limit.
        case tooOld
        /// It is removed: enough newer names exist.
        case tooMany
        /// It is removed: it does not fit in the bytes that newer names leave.
        case tooLarge
        /// It is removed: its documents cannot be read, and ``Retention/removesUnreadable`` is set.
        case unreadable

        /// Whether the name is removed.
        public var isRemoval: Bool {
            switch self {
            case .tooOld, .tooMany, .tooLarge, .unreadable: true
            case .kept, .protected, .notACache, .sharedWith: false
            }
        }
    }

    /// Bytes of a store, as stored, each blob counted once.
    public struct Bytes: Hashable, Sendable {
        /// All names and blobs, before the prune.
        public var now: Int64
        /// All names and blobs that stay.
        public var after: Int64
        /// Those of ``after`` that no name reaches: they are removed once the grace period is over.
        public var waitingForGrace: Int64
    }

    /// A name, and what happens to it.
    public struct Name: Hashable, Sendable {
        /// As it was found.
        public var stored: StoredName
        /// What happens to it.
        public var verdict: Verdict
    }

    /// The type of the backend, as in `type=local`.
    public let backend: String
    /// What decided.
    public let retention: Retention
    /// The moment that ages are counted to.
    public let plannedAt: Timestamp
    /// All names, newest first.
    public let names: [Name]
    /// The blobs that are removed, by digest.
    public let blobs: [StoredBlob]
    /// The bytes that are there now, that stay, and that wait for the grace period.
    public let bytes: Bytes
    /// Why blobs stay, and how to remove them where this library does not.
    public let problems: [CacheProblem]

    /// The names that are removed, oldest first.
    public var removedNames: [StoredName] { names.reversed().filter(\.verdict.isRemoval).map(\.stored) }
    /// Whether there is nothing to remove.
    public var isEmpty: Bool { blobs.isEmpty && !names.contains { $0.verdict.isRemoval } }
    /// Bytes, as stored, of the blobs and documents that are removed.
    public var freedBytes: Int64 {
        blobs.map(\.size).saturatingSum().saturatingAdding(removedNames.map(\.documentBytes).saturatingSum())
    }

    /// Decides, from what was found in a store.
    init(
        backend: String, _ retention: Retention, now: Timestamp, names found: [StoredName], blobs: StoredBlobs,
        removesSharedVersions: Bool
    ) {
        self.backend = backend
        self.retention = retention
        plannedAt = now
        names = retention.decide(found, now: now, removesSharedVersions: removesSharedVersions)
        let staying = names.filter { !$0.verdict.isRemoval }.map(\.stored)
        let reach = Reach(staying)
        let documents = names.map(\.stored.documentBytes).saturatingSum()
        switch blobs {
        case .listed(let listed):
            let unreached = listed.filter { !reach.holds($0) }
            self.blobs = unreached.filter { $0.isOlder(than: retention.gracePeriod, at: now) }
                .sorted { ($0.digest?.description ?? "", $0.id) < ($1.digest?.description ?? "", $1.id) }
            problems = reach.allProblems
            let (all, removed) = (listed.map(\.size).saturatingSum(), self.blobs.map(\.size).saturatingSum())
            let keptDocuments = staying.map(\.documentBytes).saturatingSum()
            bytes = Bytes(
                now: all.saturatingAdding(documents), after: max(0, all - removed).saturatingAdding(keptDocuments),
                waitingForGrace: max(0, unreached.map(\.size).saturatingSum() - removed))
        case .managed(let advice):
            self.blobs = []
            problems = reach.problems + [CacheProblem(.keptBlobs, advice)]
            bytes = Bytes(
                now: Sizes(of: names.map(\.stored)).bytes, after: Sizes(of: staying).bytes, waitingForGrace: 0)
        }
    }
}

/// The blobs that some names reach together.
struct Reach {
    private var digests: Set<Digest> = []
    /// Why the blobs of some names are unknown.
    private(set) var problems: [CacheProblem] = []
    /// Whether any blob might be reached.
    private var isUnknown = false
    /// ``problems``, and their consequence.
    var allProblems: [CacheProblem] {
        guard isUnknown else { return problems }
        return problems + [
            CacheProblem(
                .keptBlobs,
                "all blobs stay, because the blobs that these names need are unknown; "
                    + "export to them again, or remove them with removesUnreadable")
        ]
    }

    init(_ names: [StoredName]) {
        for name in names {
            if let blobs = name.blobs { digests.formUnion(blobs.keys) } else { isUnknown = true }
            if let document = name.documentDigest { digests.insert(document) }
            if name.blobs == nil || name.problem != nil {
                problems.append(
                    CacheProblem(
                        .unreadableCache, "\(name.name.quoted): \(name.problem ?? "its documents cannot be read")",
                        subject: name.name))
            }
        }
    }

    /// Whether a name needs a blob, or might.
    func holds(_ blob: StoredBlob) -> Bool { blob.digest.map { isUnknown || digests.contains($0) } ?? false }
}

extension StoredBlob {
    /// Whether it is known to have been written, and refreshed last, longer ago than this.
    func isOlder(than age: Duration, at now: Timestamp) -> Bool {
        guard let modifiedAt else { return false }
        return now.elapsed(since: modifiedAt) > age
    }
}

extension Retention {
    /// What happens to each name, newest first.
    func decide(_ found: [StoredName], now: Timestamp, removesSharedVersions: Bool) -> [PrunePlan.Name] {
        var names = found.newestFirst(at: now).map {
            PrunePlan.Name(stored: $0, verdict: fixedVerdict(of: $0) ?? .kept)
        }
        var kept = Sizes()
        for name in names where name.verdict != .kept && name.stored.isCache { kept.add(name.stored) }
        var count = 0
        var isFull = false
        for index in names.indices where names[index].verdict == .kept {
            let name = names[index].stored
            // A name that cannot be read is not a cache that a build could use, so it takes no place of one.
            if name.isUnreadable { continue }
            if let maximumAge, let modifiedAt = name.modifiedAt, now.elapsed(since: modifiedAt) > maximumAge {
                names[index].verdict = .tooOld
            } else if let maximumCount, count >= maximumCount {
                names[index].verdict = .tooMany
            } else {
                var larger = kept
                if maximumBytes != nil { larger.add(name) }
                isFull = isFull || larger.bytes > maximumBytes ?? .max
                if isFull {
                    names[index].verdict = .tooLarge
                } else {
                    kept = larger
                    count += 1
                }
            }
        }
        guard removesSharedVersions else { return names }
        let versions = Dictionary(
            names.filter { !$0.verdict.isRemoval }.map { ($0.stored.version, $0.stored.name) }
        ) { first, _ in first }
        for index in names.indices where names[index].verdict.isRemoval {
            if let other = versions[names[index].stored.version] { names[index].verdict = .sharedWith(other) }
        }
        return names
    }

    /// What happens to a name whatever the limits are; `nil` if they decide.
    private func fixedVerdict(of name: StoredName) -> PrunePlan.Verdict? {
        if let pattern = protection(of: name.name) { return .protected(pattern: pattern) }
        if name.isUnreadable, removesUnreadable { return .unreadable }
        return name.isCache ? nil : .notACache
    }
}

extension StoredName {
    /// Whether no reader can use the name, as far as is known.
    fileprivate var isUnreadable: Bool { blobs == nil && !isHidden }
}

/// The bytes that some names reach together, each blob once.
private struct Sizes {
    private var digests: Set<Digest> = []
    private(set) var bytes: Int64 = 0

    init(of names: [StoredName] = []) {
        for name in names { add(name) }
    }

    mutating func add(_ name: StoredName) {
        bytes = bytes.saturatingAdding(name.documentBytes)
        for (digest, size) in name.blobs ?? [:] where digests.insert(digest).inserted {
            bytes = bytes.saturatingAdding(size)
        }
    }
}

extension Int64 {
    /// The sum, or the largest number: sizes are what some document says.
    package func saturatingAdding(_ other: Int64) -> Int64 {
        let (sum, isTooLarge) = addingReportingOverflow(Swift.max(0, other))
        return isTooLarge ? .max : sum
    }
}

extension Sequence<Int64> {
    func saturatingSum() -> Int64 { reduce(0) { $0.saturatingAdding($1) } }
}

extension PrunePlan: CustomStringConvertible {
    /// A line for each name, one for the blobs, one for the bytes, and one for each problem.
    public var description: String {
        let lines = names.map { name in
            "\(name.verdict.isRemoval ? "remove" : "keep  ") \(name.stored.name.oneLine): \(name.verdict)"
        }
        let end = [
            "remove \(removedNames.count) of \(names.count) names and \(blobs.count) blobs, \(freedBytes) bytes",
            "\(bytes.now) bytes now, \(bytes.after) bytes after, \(bytes.waitingForGrace) of them unused and waiting for the grace period",
        ]
        return (lines + end + problems.map { "note: \($0)" }).joined(separator: "\n")
    }
}

extension PrunePlan.Verdict: CustomStringConvertible {
    /// Why, in words.
    public var description: String {
        switch self {
        case .kept: "within all limits"
        case .protected(let pattern): "protected by \(pattern.quoted)"
        case .notACache: "not a cache"
        case .sharedWith(let name): "the same document as \(name.quoted), which stays"
        case .tooOld: "too old"
        case .tooMany: "enough newer names exist"
        case .tooLarge: "newer names leave too little room"
        case .unreadable: "its documents cannot be read"
        }
    }
}
