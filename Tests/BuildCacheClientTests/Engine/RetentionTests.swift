import BuildCacheCore
import Testing

@testable import BuildCacheClient

@Suite("A retention")
struct RetentionTests {
    private static let now = Timestamp(seconds: 1_800_000_000) ?? .zero

    /// A name that was written so many days ago and reaches blobs of these sizes: equal numbers are one blob.
    private static func name(
        _ name: String, days: Double?, _ blobs: [Int64] = [10], version: String? = nil, isCache: Bool = true
    ) -> StoredName {
        let sizes = blobs.map { (Digest(of: "\($0)".utf8), $0) }
        return StoredName(
            name, version: version ?? name,
            modifiedAt: days.flatMap { Timestamp(seconds: now.seconds - Int64($0 * 86_400)) }, isCache: isCache,
            blobs: Dictionary(sizes) { first, _ in first })
    }

    private static func verdicts(
        _ retention: Retention, _ names: [StoredName], shared: Bool = false
    ) -> [String: PrunePlan.Verdict] {
        let decided = retention.decide(names, now: now, removesSharedVersions: shared)
        return Dictionary(decided.map { ($0.stored.name, $0.verdict) }) { first, _ in first }
    }

    @Test("keeps all names if it has no limits")
    func noLimits() {
        let names = [Self.name("a", days: 10_000), Self.name("b", days: nil)]
        #expect(Self.verdicts(Retention(), names) == ["a": .kept, "b": .kept])
    }

    @Test("keeps names up to its age, and those of which no age is known")
    func age() {
        let names = [
            Self.name("at", days: 7), Self.name("over", days: 7.1), Self.name("unknown", days: nil),
            Self.name("future", days: -1),
        ]
        #expect(
            Self.verdicts(Retention(maximumAge: .seconds(7 * 86_400)), names)
                == ["at": .kept, "over": .tooOld, "unknown": .kept, "future": .kept])
    }

    @Test("keeps the newest names up to its count, of equally old ones those that come first in the alphabet")
    func count() {
        let names = [
            Self.name("d", days: 3), Self.name("c", days: 2), Self.name("b", days: 2), Self.name("a", days: 1),
        ]
        #expect(
            Self.verdicts(Retention(maximumCount: 2), names)
                == ["a": .kept, "b": .kept, "c": .tooMany, "d": .tooMany])
        #expect(Self.verdicts(Retention(maximumCount: 0), names).values.allSatisfy { $0 == .tooMany })
    }

    @Test("counts a blob of several names once, and all that is older than what does not fit goes")
    func bytes() {
        let names = [
            Self.name("a", days: 1, [100, 20]), Self.name("b", days: 2, [100, 30]), Self.name("c", days: 3, [51]),
            Self.name("d", days: 4, [1]),
        ]
        #expect(
            Self.verdicts(Retention(maximumBytes: 150), names)
                == ["a": .kept, "b": .kept, "c": .tooLarge, "d": .tooLarge])
        #expect(Self.verdicts(Retention(maximumBytes: 202), names).values.allSatisfy { $0 == .kept })
    }

    @Test("takes sizes that are too large for a number for very large")
    func overflow() {
        let names = [Self.name("a", days: 1, [.max, .max - 1])]
        #expect(Self.verdicts(Retention(maximumBytes: .max), names) == ["a": .kept])
        #expect(Self.verdicts(Retention(maximumBytes: .max - 1), names) == ["a": .tooLarge])
    }

    @Test("keeps what a pattern protects, whose bytes count and whose place does not")
    func protection() {
        let names = [
            Self.name("main", days: 100, [100]), Self.name("feature", days: 1, [50]), Self.name("other", days: 2, [50]),
        ]
        let limits = Retention(
            maximumAge: .seconds(86_400 * 10), maximumCount: 1, maximumBytes: 150, protectedNames: ["m*n"])
        #expect(
            Self.verdicts(limits, names)
                == ["main": .protected(pattern: "m*n"), "feature": .kept, "other": .tooMany])
        #expect(
            Self.verdicts(Retention(maximumBytes: 149, protectedNames: ["main"]), names)["feature"] == .tooLarge)
    }

    @Test("never lets go of what is no cache")
    func images() {
        let names = [Self.name("image", days: 100, isCache: false), Self.name("cache", days: 100)]
        #expect(
            Self.verdicts(Retention(maximumAge: .zero, maximumCount: 0, maximumBytes: 0), names)
                == ["image": .notACache, "cache": .tooOld])
    }

    @Test("keeps the other names of a document where they could only go together")
    func shared() {
        let names = [
            Self.name("old", days: 100, version: "same"), Self.name("new", days: 1, version: "same"),
            Self.name("alone", days: 100),
        ]
        let limits = Retention(maximumCount: 1)
        #expect(
            Self.verdicts(limits, names, shared: true)
                == ["old": .sharedWith("new"), "new": .kept, "alone": .tooMany])
        #expect(Self.verdicts(limits, names)["old"] == .tooMany)
    }

    @Test(
        "matches names with its patterns",
        arguments: [
            ("main", "main", true), ("main", "mai", false), ("*", "", true), ("release-*", "release-1.2", true),
            ("release-*", "prerelease-1", false), ("v?.?", "v1.2", true), ("v?.?", "v1.22", false),
            ("*/main", "app/main", true), ("a*b*c", "aXbXbc", true), ("a*b*c", "aXbXb", false), ("**", "x", true),
            ("", "", true), ("", "x", false), ("[a]", "a", false), ("ä?", "äö", true),
        ])
    func patterns(pattern: String, name: String, matches: Bool) {
        #expect(NamePattern(pattern).matches(name) == matches)
    }

    @Test("takes no more than name times pattern to find that a pattern does not match")
    func hostilePattern() {
        let pattern = String(repeating: "*a", count: 200) + "b"
        #expect(!NamePattern(pattern).matches(String(repeating: "a", count: 2000)))
    }

    @Test("is refused with negative limits, and with a grace period that exports do not respect")
    func validation() throws {
        let wrong = [
            Retention(maximumAge: .seconds(-1)), Retention(maximumCount: -1), Retention(maximumBytes: -1),
            Retention(gracePeriod: .seconds(-1)), Retention(gracePeriod: .seconds(10)),
        ]
        for retention in wrong {
            let error = #expect(throws: CacheError.self) { try retention.validate(renewalAge: .seconds(10)) }
            #expect(error?.code == .invalidSpec)
        }
        try Retention(gracePeriod: .seconds(11)).validate(renewalAge: .seconds(10))
        try Retention(gracePeriod: .zero).validate(renewalAge: .zero)
    }
}
