import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheClient
import BuildCacheSpec
import BuildCacheTesting
import Foundation
import TestTools
import Testing

private typealias Sample = BuildCacheTesting.SampleCache

@Suite("A cache in a directory")
struct ExportFaultTests {
    private let directory: Scratch
    private let old: Sample
    private let new: Sample

    init() throws {
        directory = try Scratch()
        old = try .diamond("old")
        new = try .diamond("new")
    }

    private func cache(
        _ scratch: ScratchStore, _ fileSystem: FaultyFileSystem = FaultyFileSystem(), reset: Bool = false
    ) -> LocalCache {
        LocalCache(
            LocalOptions(dest: directory.layout, reset: reset), export: ExportOptions(mode: .max), scratch: scratch,
            layout: OCILayout(path: directory.layout, fileSystem: fileSystem))
    }

    /// Which of the two samples is stored, every byte of it verified; `nil` for none.
    private func stored(_ scratch: ScratchStore) async throws -> LayerGraph? {
        try await cache(scratch).verified(among: [old, new])
    }

    /// Exports once more, after which the new cache is there and nothing else is left.
    private func expectHeals(
        _ scratch: ScratchStore, reset: Bool, _ when: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        // A process that another test is just starting has a copy of all open files for a moment, and so of the lock of what was
        // being written: then it looks alive, and the export after that clears it.
        for _ in 0..<100 {
            try await cache(scratch, reset: reset).export(new)
            if directory.names(in: "layout/ingest").isEmpty { break }
        }
        let after = try await stored(scratch)
        #expect(after == new.graph, "\(when)", sourceLocation: sourceLocation)
        #expect(directory.names(in: "layout/ingest") == [], "\(when)", sourceLocation: sourceLocation)
    }

    @Test(
        "survives any file operation that fails once during an export, and the next export heals it",
        arguments: [
            (EIO, CacheError.Code.unavailable, false), (EIO, .unavailable, true), (ENOSPC, .storageFull, false),
            (EACCES, .denied, false),
        ])
    func failures(number: CInt, code: CacheError.Code, reset: Bool) async throws {
        try await ScratchStore.withTemporary { scratch in
            var failed = 0
            for turn in 1... {
                try? directory.remove("layout")
                try await cache(scratch).export(old)
                let fileSystem = FaultyFileSystem(.fail(number), at: turn)
                do {
                    try await cache(scratch, fileSystem, reset: reset).export(new)
                    #expect(try await stored(scratch) == new.graph)
                } catch let error as CacheError {
                    failed += 1
                    #expect(error.code == code, "\(error)")
                    let after = try await stored(scratch)
                    #expect(after == old.graph || after == new.graph)
                }
                try await expectHeals(scratch, reset: reset, "operation \(turn)")
                if !fileSystem.wasReached { break }
            }
            #expect(failed > 80)
        }
    }

    @Test("survives a halt before any file operation of an export", arguments: [true, false])
    func halts(hasOld: Bool) async throws {
        try await ScratchStore.withTemporary { scratch in
            for turn in 1... {
                try? directory.remove("layout")
                if hasOld { try await cache(scratch).export(old) }
                let fileSystem = FaultyFileSystem(.halt, at: turn)
                try? await cache(scratch, fileSystem, reset: hasOld).export(new)
                let after = try await stored(scratch)
                #expect(after == (hasOld ? old.graph : nil) || after == new.graph)
                try await expectHeals(scratch, reset: hasOld, "operation \(turn)")
                guard fileSystem.wasReached else { return #expect(turn > 100) }
            }
        }
    }

    // MARK: Processes

    @Test("survives 200 kills of the process that exports to it")
    func kills() async throws {
        try await ScratchStore.withTemporary { scratch in
            var random = SeededGenerator(seed: 2)
            let samples = [old] + (try (0..<3).map { try Sample.diamond("killed \($0)") })
            var killed = 0
            for run in 0..<200 {
                try? directory.remove("layout")
                try await cache(scratch).export(old)
                let turn = Int.random(in: 1...500, using: &random)
                let probe = Probe(
                    directory, tag: "latest", sample: "killed", exports: 3, reset: run % 2 == 0, killAt: turn)
                if try await probe.isKilled() { killed += 1 }
                let after = try await cache(scratch).verified(among: samples)
                #expect(after != nil, "run \(run), operation \(turn)")
                try await expectHeals(scratch, reset: run % 2 == 0, "run \(run), operation \(turn)")
            }
            // Some runs end before they are killed; most do not.
            #expect(killed > 100)
        }
    }

    @Test(
        "shows readers whole caches only while two processes write to it", arguments: [["a", "b"], ["a", "a"]],
        [true, false])
    func twoProcesses(tags: [String], reset: Bool) async throws {
        let exports = 20
        let samples = try tags.indices.map { writer in
            try (0..<exports).map { try Sample.diamond("writer \(writer) \($0)") }
        }
        try await ScratchStore.withTemporary { scratch in
            let seen = Set(tags).sorted().map { (tag: $0, reads: Counter()) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (tag, reads) in seen {
                    let candidates = zip(tags, samples).filter { $0.0 == tag }.flatMap(\.1)
                    let reader = try LocalCache(LocalOptions(src: directory.layout, tag: tag), scratch: scratch)
                    group.addTask {
                        do {
                            while !Task.isCancelled {
                                if try await reader.verified(among: candidates) != nil { reads.increment() }
                                // One thread may be all there is.
                                await Task.yield()
                            }
                        } catch is CancellationError {}
                    }
                }
                // Again until every reader has read while they wrote: on a busy machine it may not get there in one round.
                for round in 1... {
                    async let first = Probe(directory, tag: tags[0], sample: "writer 0", exports: exports, reset: reset)
                        .isKilled()
                    async let second = Probe(
                        directory, tag: tags[1], sample: "writer 1", exports: exports, reset: reset
                    ).isKilled()
                    let areKilled = try await [first, second]
                    #expect(areKilled == [false, false])
                    if seen.allSatisfy({ $0.reads.value > 0 }) { break }
                    try #require(round < 100, "a reader never saw a cache")
                }
                group.cancelAll()
                try await group.waitForAll()
            }
            // Different tags: both have their last cache. One tag: the last cache of one of them.
            for tag in Set(tags) {
                let last = zip(tags, samples).filter { $0.0 == tag }.compactMap(\.1.last)
                let cache = try LocalCache(LocalOptions(src: directory.layout, tag: tag), scratch: scratch)
                #expect(try await cache.verified(among: last) != nil)
            }
        }
    }
}

/// A run of the executable of that name, which stands beside the tests.
private struct Probe {
    private let arguments: [String]

    init(_ directory: Scratch, tag: String, sample: String, exports: Int, reset: Bool, killAt turn: Int = 0) {
        arguments = [
            directory.layout, directory.path + "/scratch", tag, sample, "\(exports)", "\(reset)", "\(turn)",
        ]
    }

    /// Waits for its end, and says whether it was killed.
    func isKilled() async throws -> Bool {
        do {
            _ = try await Tool.built("ExportProbe").output(arguments)
            return false
        } catch let failure as ToolFailure where failure.end == .killed(SIGKILL) {
            return true
        }
    }
}

extension LocalCache {
    fileprivate func export(_ sample: Sample) async throws {
        _ = try await exportCache(sample.graph, from: sample.source, progress: .discarded)
    }

    /// The stored graph, which must be that of one of the samples, with all its layers; `nil` if none is stored.
    fileprivate func verified(among samples: [Sample]) async throws -> LayerGraph? {
        guard let cache = try await importCache(progress: .discarded) else { return nil }
        try #require(cache.problems == [])
        let sample = try #require(samples.first { $0.graph == cache.graph })
        for layer in sample.layers {
            let bytes = try await cache.blobs.open(layer.descriptor, range: nil).collected()
            try #require(bytes == layer.stored)
        }
        return cache.graph
    }
}
