public import BuildCacheCore

/// What a prune would do, as data: look at it, show it, then apply it or not.
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
        /// It stays: it is an image or something else that is no cache.
        case notACache
        /// It stays: to remove it would remove this name, too, which stays.
        case sharedWith(String)
        /// It goes: it was written longer ago than the limit.
        case tooOld
        /// It goes: so many newer ones are there.
        case tooMany
        /// It goes: it does not fit in what newer ones leave of the bytes.
        case tooLarge

        /// Whether the name goes.
        public var isRemoval: Bool {
            switch self {
            case .tooOld, .tooMany, .tooLarge: true
            case .kept, .protected, .notACache, .sharedWith: false
            }
        }
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
    /// The blobs that go, by digest.
    public let blobs: [StoredBlob]
    /// What keeps blobs, and who removes them where that is not for us to do; for people.
    public let warnings: [String]

    /// The names that go, oldest first.
    public var removedNames: [StoredName] { names.reversed().filter(\.verdict.isRemoval).map(\.stored) }
    /// Bytes, as stored, of the blobs and documents that go.
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
        let reach = Reach(names.filter { !$0.verdict.isRemoval }.map(\.stored))
        switch blobs {
        case .listed(let blobs):
            self.blobs = blobs.filter { $0.isOlder(than: retention.gracePeriod, at: now) && !reach.holds($0) }
                .sorted { ($0.digest?.description ?? "", $0.id) < ($1.digest?.description ?? "", $1.id) }
            warnings = reach.warnings
        case .managed(let advice):
            self.blobs = []
            warnings = reach.problems + [advice]
        }
    }
}

/// What some names reach together.
struct Reach {
    private var digests: Set<Digest> = []
    /// Why the blobs of some names are unknown.
    private(set) var problems: [String] = []
    /// Whether any blob might be reached.
    private var isUnknown = false
    /// ``problems``, and what comes of them.
    var warnings: [String] {
        problems + (isUnknown ? ["all blobs stay, because nobody knows which of them these names need"] : [])
    }

    init(_ names: [StoredName]) {
        for name in names {
            if let blobs = name.blobs { digests.formUnion(blobs.keys) } else { isUnknown = true }
            if name.blobs == nil || name.problem != nil {
                problems.append("\(name.name.quoted): \(name.problem ?? "its documents cannot be read")")
            }
        }
    }

    /// Whether a name needs a blob, or might.
    func holds(_ blob: StoredBlob) -> Bool { blob.digest.map { isUnknown || digests.contains($0) } ?? false }
}

extension StoredBlob {
    /// Whether it is known to have been written, and renewed last, longer ago than this.
    func isOlder(than age: Duration, at now: Timestamp) -> Bool {
        guard let modifiedAt else { return false }
        return now.elapsed(since: modifiedAt) > age
    }
}

extension Retention {
    /// What happens to each name, newest first.
    func decide(_ found: [StoredName], now: Timestamp, removesSharedVersions: Bool) -> [PrunePlan.Name] {
        let sorted = found.sorted { left, right in
            let (newer, older) = (left.modifiedAt ?? now, right.modifiedAt ?? now)
            return newer == older ? left.name < right.name : newer > older
        }
        var names = sorted.map { PrunePlan.Name(stored: $0, verdict: fixedVerdict(of: $0) ?? .kept) }
        var kept = Sizes()
        for name in names where name.verdict != .kept && name.stored.isCache { kept.add(name.stored) }
        var count = 0
        var isFull = false
        for index in names.indices where names[index].verdict == .kept {
            let name = names[index].stored
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
        if !name.isCache { return .notACache }
        return protection(of: name.name).map { .protected(pattern: $0) }
    }
}

/// How much some names reach together, each blob once.
private struct Sizes {
    private var digests: Set<Digest> = []
    private(set) var bytes: Int64 = 0

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
    /// A line for each name, one for the blobs, and one for each warning.
    public var description: String {
        let lines = names.map { name in
            "\(name.verdict.isRemoval ? "remove" : "keep  ") \(name.stored.name.oneLine): \(name.verdict)"
        }
        let end = "remove \(removedNames.count) of \(names.count) names and \(blobs.count) blobs, \(freedBytes) bytes"
        return (lines + [end] + warnings.map { "note: \($0.oneLine)" }).joined(separator: "\n")
    }
}

extension PrunePlan.Verdict: CustomStringConvertible {
    /// Why, in words.
    public var description: String {
        switch self {
        case .kept: "within all limits"
        case .protected(let pattern): "protected by \(pattern.quoted)"
        case .notACache: "no cache of its own"
        case .sharedWith(let name): "the same document as \(name.quoted), which stays"
        case .tooOld: "too old"
        case .tooMany: "enough newer ones are there"
        case .tooLarge: "newer ones leave too little room"
        }
    }
}
