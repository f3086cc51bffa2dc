import BuildCacheCore

/// What a prune keeps: names by age, number, size and pattern, and blobs that somebody may be about to use.
///
/// A name goes if any of the limits says so, unless a pattern protects it. Without limits all names stay, and only blobs that no name
/// reaches go.
public struct Retention: Hashable, Sendable {
    /// Names that were written longer ago go; `nil` is no limit.
    public var maximumAge: Duration?
    /// So many of the newest names stay; `nil` is no limit.
    ///
    /// Protected names come on top.
    public var maximumCount: Int?
    /// Bytes, as stored, that all names that stay may reach together, each blob counted once; `nil` is no limit.
    ///
    /// Newest names first, up to the first that does not fit: that one and all older ones go. Protected names stay in any case and
    /// count.
    public var maximumBytes: Int64?
    /// Names that stay whatever the limits say: `*` is any text, `?` any character, everything else itself.
    public var protectedNames: [String]
    /// A blob that was written or renewed within this time stays, reachable or not.
    ///
    /// It must be longer than the longest export and the time up to which exports rely on a blob without renewing it together; see
    /// ``PrunableStore/renewalAge``. Default two days.
    public var gracePeriod: Duration

    /// Keeps what is within all limits that are given.
    public init(
        maximumAge: Duration? = nil, maximumCount: Int? = nil, maximumBytes: Int64? = nil,
        protectedNames: [String] = [], gracePeriod: Duration = .seconds(2 * 86_400)
    ) {
        self.maximumAge = maximumAge
        self.maximumCount = maximumCount
        self.maximumBytes = maximumBytes
        self.protectedNames = protectedNames
        self.gracePeriod = gracePeriod
    }

    /// The first pattern that protects a name, `nil` if none does.
    func protection(of name: String) -> String? { protectedNames.first { NamePattern($0).matches(name) } }

    /// Looks whether the limits make sense for a store.
    func validate(renewalAge: Duration) throws(CacheError) {
        guard maximumAge ?? .zero >= .zero, maximumCount ?? 0 >= 0, maximumBytes ?? 0 >= 0, gracePeriod >= .zero else {
            throw CacheError(.invalidSpec, "a limit of a retention is negative; leave it out for no limit")
        }
        guard gracePeriod > renewalAge || renewalAge == .zero else {
            throw CacheError(
                .invalidSpec,
                "the grace period of \(gracePeriod) is not longer than \(renewalAge), up to which age exports to this store rely on "
                    + "a blob without renewing it; make it longer by the time that the longest export takes")
        }
    }
}

/// A pattern for whole names: `*` is any text, `?` any character.
struct NamePattern {
    private let pattern: [Character]

    init(_ pattern: String) { self.pattern = Array(pattern) }

    /// Takes time in proportion to name times pattern at most: who names caches does not choose how long this takes.
    func matches(_ name: String) -> Bool {
        let name = Array(name)
        var (place, index) = (0, 0)
        // Where the last star is, and up to where it stands for something.
        var star: (place: Int, index: Int)?
        while index < name.count {
            if place < pattern.count, pattern[place] == "*" {
                star = (place, index)
                place += 1
            } else if place < pattern.count, pattern[place] == "?" || pattern[place] == name[index] {
                place += 1
                index += 1
            } else if let last = star {
                star = (last.place, last.index + 1)
                (place, index) = (last.place + 1, last.index + 1)
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == "*" }
    }
}
