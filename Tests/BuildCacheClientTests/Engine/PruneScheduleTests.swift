import BuildCacheBytes
import BuildCacheCore
import BuildCacheTesting
import BuildCacheClient
import Synchronization
import TestTools
import Testing

/// Exports, imports and prunes of one store, interleaved call by call as a seed has it, on a clock of its own.
@Suite("Beside exports and imports a prune", .timeLimit(.minutes(10)))
struct PruneScheduleTests {
    @Test("deletes no blob that a name reaches, and in the end all that is old and that none reaches")
    func schedules() async throws {
        let samples = try Schedule.samples()
        var counts = Schedule.Counts()
        try await ScratchStore.withTemporary { scratch in
            for seed in 1...500 {
                let schedule = Schedule(seed: UInt64(seed), samples: samples, scratch: scratch)
                try await schedule.run()
                #expect(schedule.problems == [], "seed \(seed)")
                counts.add(schedule.counts)
            }
        }
        // Schedules in which nothing happens would prove nothing.
        #expect(counts.removedBlobs > 500 && counts.removedNames > 500)
        #expect(counts.renewedBlobs > 500 && counts.changed > 100)
        #expect(counts.imports > 500)
    }

    @Test("would delete some, were it not for exports that renew what they rely on")
    func control() async throws {
        let samples = try Schedule.samples()
        var broken = 0
        try await ScratchStore.withTemporary { scratch in
            for seed in 1...100 {
                let schedule = Schedule(seed: UInt64(seed), samples: samples, scratch: scratch, renews: false)
                try await schedule.run()
                if !schedule.problems.isEmpty { broken += 1 }
            }
        }
        #expect(broken > 0)
    }
}

/// One run of some exporters and one who prunes, in turns.
private final class Schedule: Sendable {
    struct Counts: Sendable {
        var removedNames = 0, removedBlobs = 0, renewedBlobs = 0, changed = 0, imports = 0

        mutating func add(_ other: Counts) {
            removedNames += other.removedNames
            removedBlobs += other.removedBlobs
            renewedBlobs += other.renewedBlobs
            changed += other.changed
            imports += other.imports
        }
    }

    private static let hour: Int64 = 3600
    private static let exporters = 3
    /// What exports and prunes must agree on: the longest export takes less than this and the renewal age leave of the grace period.
    private static let longestExport = 24 * hour

    private let seed: UInt64
    private let samples: [SampleCache]
    private let scratch: ScratchStore
    private let renews: Bool
    private let time = ManualTime()
    private let store: MemoryStore
    private let turns = Turns(exporters + 1)
    private let state = Mutex((problems: [String](), counts: Counts(), exportsSince: [Int: Int64]()))

    var problems: [String] { state.withLock { $0.problems } }
    var counts: Counts { state.withLock { $0.counts } }

    /// Caches that have some layers in common: a chain is the beginning of each longer one.
    static func samples() throws -> [SampleCache] {
        try (1...4).map { try SampleCache.chain(of: $0) } + [.diamond("a"), .diamond("b")]
    }

    init(seed: UInt64, samples: [SampleCache], scratch: ScratchStore, renews: Bool = true) {
        self.seed = seed
        self.samples = samples
        self.scratch = scratch
        self.renews = renews
        store = MemoryStore { [time] in time.now }
    }

    private func cache(_ name: String, of who: Int? = nil) -> MemoryCache {
        var cache = MemoryCache(name, in: store, scratch: scratch)
        // One call at a time, so that the seed alone decides.
        cache.transfersInFlight = 1
        if let who { cache.beforeStep = { [turns] in await turns.wait(who) } }
        return cache
    }

    func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for who in 0..<Schedule.exporters { group.addTask { try await self.export(who) } }
            group.addTask { try await self.prune(Schedule.exporters) }
            try await takeTurns()
            try await group.waitForAll()
        }
        try await pruneAlone()
    }

    // MARK: Who takes part

    private func export(_ who: Int) async throws {
        defer { turns.end() }
        var random = SeededGenerator(seed: seed &* 31 &+ UInt64(who))
        for _ in 0..<Int.random(in: 3...6, using: &random) {
            let name = ["a", "b", "c", "d"][Int.random(in: 0..<4, using: &random)]
            let sample = samples[Int.random(in: 0..<samples.count, using: &random)]
            if Int.random(in: 0..<4, using: &random) == 0 {
                // What is found may be gone by the time that its layers are looked for; that is a miss, and no error.
                _ = try await cache(name, of: who).importCache(progress: .discarded)
                state.withLock { $0.counts.imports += 1 }
                continue
            }
            await turns.wait(who)
            var cache = cache(name, of: who)
            if !renews { cache.renewalAge = .seconds(Int64.max) }
            state.withLock { $0.exportsSince[who] = time.now.seconds }
            let receipt = try await cache.export(sample)
            state.withLock {
                $0.exportsSince[who] = nil
                $0.counts.renewedBlobs += receipt.transfers.values.count { $0 == .refreshed }
            }
        }
    }

    private func prune(_ who: Int) async throws {
        defer { turns.end() }
        var random = SeededGenerator(seed: seed &* 37 &+ 7)
        for _ in 0..<Int.random(in: 4...8, using: &random) {
            await turns.wait(who)
            let cache = cache("a", of: who)
            let plan = try await cache.planPrune(Schedule.retention(&random), now: time.now)
            let report = try await cache.prune(plan)
            state.withLock {
                $0.counts.removedNames += report.removedNames.count
                $0.counts.removedBlobs += report.removedBlobs.count
                $0.counts.changed += report.changedNames.count + report.changedBlobs
            }
        }
    }

    private static func retention(_ random: inout SeededGenerator) -> Retention {
        Retention(
            maximumAge: [nil, .seconds(72 * hour), .seconds(240 * hour)][Int.random(in: 0..<3, using: &random)],
            maximumCount: [nil, 0, 1, 2][Int.random(in: 0..<4, using: &random)],
            maximumBytes: [nil, 3000][Int.random(in: 0..<2, using: &random)],
            protectedNames: Bool.random(using: &random) ? ["a"] : [],
            gracePeriod: .seconds(48 * hour))
    }

    // MARK: Turns

    /// Lets one go on for one call, moves the clock, looks whether all is well, until all have come to their end.
    private func takeTurns() async throws {
        var random = SeededGenerator(seed: seed)
        var digests = store.digests
        while let who = await turns.waiting().randomElement(using: &random) {
            turns.go(who)
            _ = await turns.waiting()
            let now = store.digests
            if !digests.subtracting(now).isEmpty { try await look("after a removal") }
            digests = now

            // As much time as the longest export of those that go on has left.
            let started = state.withLock { $0.exportsSince.values.min() }
            let left = started.map { $0 + Schedule.longestExport - 1 - time.now.seconds } ?? 240 * Schedule.hour
            let steps: [Int64] = [0, 0, Schedule.hour, 12 * Schedule.hour, 96 * Schedule.hour]
            let step = steps[Int.random(in: steps.indices, using: &random)]
            time.advance(by: .seconds(min(left, step)))
        }
        try await look("after all")
    }

    /// Looks whether all that a name reaches is there.
    private func look(_ moment: String) async throws {
        for name in try await cache("a").openForPruning(isReadOnly: true).names() {
            let missing = Set((name.blobs ?? [:]).keys).subtracting(store.digests)
            if !missing.isEmpty {
                state.withLock { $0.problems.append("\(moment): \(name.name) has lost \(missing.count) blobs") }
            }
        }
    }

    /// Prunes once more, undisturbed, and looks whether all is gone that should be.
    private func pruneAlone() async throws {
        var random = SeededGenerator(seed: seed &* 41)
        time.advance(by: .seconds(Int64.random(in: 0...96, using: &random) * Schedule.hour))
        let cache = cache("a")
        let before = try await cache.planPrune(Retention(gracePeriod: .seconds(48 * Schedule.hour)), now: time.now)
        try await cache.prune(before)
        try await look("after the last prune")
        let store = try await cache.openForPruning(isReadOnly: true)
        let reached = Set(try await store.names().flatMap { ($0.blobs ?? [:]).keys })
        guard case .listed(let blobs) = try await store.blobs() else { return }
        let left = blobs.filter { blob in
            guard let digest = blob.digest, let modifiedAt = blob.modifiedAt else { return true }
            return !reached.contains(digest) && time.now.seconds - modifiedAt.seconds > 48 * Schedule.hour
        }
        if !left.isEmpty { state.withLock { $0.problems.append("\(left.count) blobs are left that nobody needs") } }
    }
}

/// Lets one of several tasks go on at a time.
private final class Turns: Sendable {
    private struct State {
        var running: Int
        var waiting: [Int: CheckedContinuation<Void, Never>] = [:]
        var watcher: CheckedContinuation<Void, Never>?

        /// Takes note that one waits or has ended; whom to tell if it was the last that ran.
        mutating func rest() -> CheckedContinuation<Void, Never>? {
            running -= 1
            guard running == 0 else { return nil }
            defer { watcher = nil }
            return watcher
        }
    }
    private let state: Mutex<State>

    init(_ count: Int) { state = Mutex(State(running: count)) }

    /// Waits for a turn.
    func wait(_ who: Int) async {
        await withCheckedContinuation { continuation in
            let watcher = state.withLock { state in
                state.waiting[who] = continuation
                return state.rest()
            }
            watcher?.resume()
        }
    }

    /// Takes no turn any more.
    func end() { state.withLock { $0.rest() }?.resume() }

    /// Waits until nobody runs, and says who waits.
    func waiting() async -> [Int] {
        await withCheckedContinuation { continuation in
            let isSettled = state.withLock { state in
                if state.running > 0 { state.watcher = continuation }
                return state.running == 0
            }
            if isSettled { continuation.resume() }
        }
        return state.withLock { $0.waiting.keys.sorted() }
    }

    /// Gives a turn.
    func go(_ who: Int) {
        let continuation = state.withLock { state in
            state.running += 1
            return state.waiting.removeValue(forKey: who)
        }
        continuation?.resume()
    }
}
