import BuildCacheCore

/// The rules of a prune: which names it keeps, by age, number, size and pattern, and for how long an unused blob stays.
///
/// A name is removed if any of the limits says so, unless a pattern protects it. Without limits all names stay, and only blobs that no name
/// reaches are removed.
public struct Retention: Hashable, Sendable {
    /// Names last written longer ago than this are removed.
    ///
    /// `nil`, the default, means no limit.
    public var maximumAge: Duration?
    /// The number of newest names that stay, not counting protected names, and names that cannot be read.
    ///
    /// `nil`, the default, means no limit.
    public var maximumCount: Int?
    /// Bytes, as stored, that all names that stay may reach together, each blob counted once.
    ///
    /// `nil`, the default, means no limit. Newest names first, up to the first that does not fit: that one and all older ones are removed. Protected names stay in any case and
    /// count.
    public var maximumBytes: Int64?
    /// Names that stay whatever the limits say: `*` is any text, `?` any character, everything else itself.
    public var protectedNames: [String]
    /// Whether names whose documents cannot be read are removed, unless a pattern protects them.
    ///
    /// Default `false`: such a name stays, and keeps every blob, because the blobs it needs are unknown. A name that is only hidden from the
    /// credentials in use, ``StoredName/isHidden``, is not among them.
    public var removesUnreadable: Bool
    /// A blob that was written or refreshed within this time stays, reachable or not.
    ///
    /// It must be longer than the longest export and the time up to which exports rely on a blob without refreshing it together; see
    /// ``PrunableStore/renewalAge``. Default two days.
    public var gracePeriod: Duration

    /// Creates rules; without arguments, they remove unused blobs only.
    public init(
        maximumAge: Duration? = nil, maximumCount: Int? = nil, maximumBytes: Int64? = nil,
        protectedNames: [String] = [], removesUnreadable: Bool = false, gracePeriod: Duration = .seconds(2 * 86_400)
    ) {
        self.maximumAge = maximumAge
        self.maximumCount = maximumCount
        self.maximumBytes = maximumBytes
        self.protectedNames = protectedNames
        self.removesUnreadable = removesUnreadable
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
