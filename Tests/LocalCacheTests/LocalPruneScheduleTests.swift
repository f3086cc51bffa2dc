import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheClient
import BuildCacheTesting
import Foundation
import TestTools
import Testing

/// Exports, imports that are held, prunes and time, in the order that a seed has.
@Suite("Between exports and imports a prune of a directory", .timeLimit(.minutes(10)))
struct LocalPruneScheduleTests {
    @Test("deletes no blob that a tag or an import reaches, and in the end all that is old and that none reaches")
    func schedules() async throws {
        let samples = try (1...4).map { try GraphSample.chain(of: $0) } + [.diamond("a"), .diamond("b")]
        var counts = LocalSchedule.Counts()
        try await ScratchStore.withTemporary { scratch in
            for seed in 1...500 {
                var schedule = try LocalSchedule(seed: UInt64(seed), samples: samples, scratch: scratch)
                try await schedule.run()
                #expect(schedule.problems == [], "seed \(seed)")
                counts.add(schedule.counts)
            }
        }
        #expect(counts.removedNames > 200 && counts.removedBlobs > 300)
        #expect(counts.keptNames > 20 && counts.heldReads > 500)
    }
}

private struct LocalSchedule {
    struct Counts {
        var removedNames = 0, removedBlobs = 0, keptNames = 0, heldReads = 0

        mutating func add(_ other: Counts) {
            removedNames += other.removedNames
            removedBlobs += other.removedBlobs
            keptNames += other.keptNames
            heldReads += other.heldReads
        }
    }

    private static let hour: Int64 = 3600
    private let samples: [GraphSample]
    private let scratch: ScratchStore
    private let folder: Scratch
    private let files = PosixFileSystem(syncs: false)
    private var random: SeededGenerator
    private var held: [ImportedCache] = []
    /// A prune that was planned and not done yet.
    private var plan: PrunePlan?
    private(set) var problems: [String] = []
    private(set) var counts = Counts()

    init(seed: UInt64, samples: [GraphSample], scratch: ScratchStore) throws {
        self.samples = samples
        self.scratch = scratch
        folder = try Scratch()
        random = SeededGenerator(seed: seed)
    }

    private func cache(_ tag: String) -> LocalCache { folder.cache(tag, scratch, files) }

    mutating func run() async throws {
        try await cache("a").export(samples[0])
        for _ in 0..<16 {
            let tag = ["a", "b", "c"][Int.random(in: 0..<3, using: &random)]
            switch Int.random(in: 0..<8, using: &random) {
            case 0, 1, 2:
                try await cache(tag).export(samples[Int.random(in: 0..<samples.count, using: &random)])
            case 3:
                if let cache = try await cache(tag).importCache(progress: .discarded) { held.append(cache) }
            case 4: closeHeld()
            case 5: try folder.ageBlobs(by: Int64.random(in: 1...60, using: &random) * Self.hour)
            case 6: plan = try await cache(tag).planPrune(retention())
            default:
                try await prune()
                try await look()
            }
        }
        closeHeld()
        try folder.ageBlobs(by: Int64.random(in: 0...96, using: &random) * Self.hour)
        try await pruneAlone()
        try await look()
    }

    private mutating func retention() -> Retention {
        Retention(
            maximumAge: [nil, .seconds(24 * Self.hour)][Int.random(in: 0..<2, using: &random)],
            maximumCount: [nil, 0, 1, 2][Int.random(in: 0..<4, using: &random)],
            protectedNames: Bool.random(using: &random) ? ["a"] : [], gracePeriod: .seconds(48 * Self.hour))
    }

    /// Does what was planned, maybe long ago, or what would be planned now.
    private mutating func prune() async throws {
        let cache = cache("a")
        let next: PrunePlan
        if let plan { next = plan } else { next = try await cache.planPrune(retention()) }
        plan = nil
        let report = try await cache.prune(next)
        counts.removedNames += report.removedNames.count
        counts.removedBlobs += report.removedBlobs.count
        if !held.isEmpty { counts.keptNames += report.changedNames.count }
    }

    private mutating func closeHeld() {
        for cache in held { cache.close() }
        held = []
    }

    /// Looks whether all that tags and imports reach is there.
    private mutating func look() async throws {
        let store = try await cache("a").openForPruning(isReadOnly: true)
        defer { store.close() }
        for name in try await store.names() {
            let missing = Set((name.blobs ?? [:]).keys.map(\.hex)).subtracting(folder.blobs)
            if !missing.isEmpty { problems.append("\(name.name) has lost \(missing.count) blobs") }
        }
        for cache in held {
            for layer in cache.graph.descriptors.values {
                for try await _ in try await cache.blobs.open(layer, range: nil) {}
                counts.heldReads += 1
            }
        }
    }

    private mutating func pruneAlone() async throws {
        let cache = cache("a")
        try await cache.prune(try await cache.planPrune(Retention(gracePeriod: .seconds(48 * Self.hour))))
        let store = try await cache.openForPruning(isReadOnly: true)
        defer { store.close() }
        let names = try await store.names()
        guard !names.contains(where: { $0.blobs == nil }), case .listed(let blobs) = try await store.blobs() else {
            return
        }
        let reached = Set(names.flatMap { ($0.blobs ?? [:]).keys })
        let now = Timestamp.now().seconds
        let left = blobs.filter { blob in
            guard let digest = blob.digest, let modifiedAt = blob.modifiedAt else { return true }
            // A minute, because the clock goes on while the test runs.
            return !reached.contains(digest) && now - modifiedAt.seconds > 48 * Self.hour + 60
        }
        if !left.isEmpty { problems.append("\(left.count) blobs are left that nobody needs") }
    }
}
