import BuildCacheBytes
import BuildCacheCore
import BuildCacheClient
import Foundation
import TestTools
import Testing

@Suite("An export to a layout")
struct LayoutFaultTests {
    private let scratch: Scratch
    private let sound: OCILayout
    private let old = SampleCache("old")
    private let new = SampleCache("new")

    init() throws {
        scratch = try Scratch()
        sound = OCILayout(path: scratch.layout, fileSystem: FaultyFileSystem())
    }

    private var oldTags: [String: Digest] { ["main": Digest(of: old.manifest)] }
    private var newTags: [String: Digest] { ["main": Digest(of: new.manifest)] }

    /// The export just done, or one more like it, left nothing but the cache.
    private func expectNoLeftovers(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        // A process that another test is just starting has a copy of all open files for a moment, and so of the lock of what was
        // being written: then it looks alive, and the export after that clears it.
        for _ in 0..<100 where !scratch.names(in: "layout/ingest").isEmpty {
            try await new.export(to: sound, tag: "main")
        }
        #expect(scratch.names(in: "layout/ingest") == [], sourceLocation: sourceLocation)
        #expect(
            scratch.names(in: "layout") == ["blobs", "index.json", "ingest", "oci-layout"],
            sourceLocation: sourceLocation)
    }

    @Test(
        "whose every operation fails once leaves the old cache or the new, and the next one heals it",
        arguments: [
            (EIO, CacheError.Code.unavailable), (ENOSPC, .storageFull), (EACCES, .denied),
        ])
    func failures(number: CInt, code: CacheError.Code) async throws {
        var failed = 0
        for begin in [[:], oldTags] {
            for turn in 1... {
                try? scratch.remove("layout")
                if !begin.isEmpty { try await old.export(to: sound, tag: "main") }
                let fileSystem = FaultyFileSystem(.fail(number), at: turn)
                do {
                    try await new.export(to: OCILayout(path: scratch.layout, fileSystem: fileSystem), tag: "main")
                    #expect(try await sound.verifiedTags() == newTags)
                } catch let error as CacheError {
                    #expect(error.code == code, "\(error)")
                    let tags = try await sound.verifiedTags()
                    #expect(tags == begin || tags == newTags)
                    failed += 1
                }
                try await new.export(to: sound, tag: "main")
                #expect(try await sound.verifiedTags() == newTags)
                try await expectNoLeftovers()
                if !fileSystem.wasReached { break }
            }
        }
        #expect(failed > 100)
    }

    @Test("whose every write is short once is complete all the same")
    func shortWrites() async throws {
        for turn in 1... {
            try? scratch.remove("layout")
            let fileSystem = FaultyFileSystem(.shortWrite, at: turn)
            try await new.export(to: OCILayout(path: scratch.layout, fileSystem: fileSystem), tag: "main")
            #expect(try await sound.verifiedTags() == newTags)
            try await expectNoLeftovers()
            if !fileSystem.wasReached { return }
        }
    }

    @Test(
        "killed before any of its operations leaves the old cache or the new, and the next one cleans up",
        arguments: [true, false])
    func kills(hasOldCache: Bool) async throws {
        for turn in 1... {
            try? scratch.remove("layout")
            if hasOldCache { try await old.export(to: sound, tag: "main") }
            let fileSystem = FaultyFileSystem(.halt, at: turn)
            try? await new.export(to: OCILayout(path: scratch.layout, fileSystem: fileSystem), tag: "main")
            let tags = try await sound.verifiedTags()
            #expect(tags == (hasOldCache ? oldTags : [:]) || tags == newTags)
            try await new.export(to: sound, tag: "main")
            #expect(try await sound.verifiedTags() == newTags)
            try await expectNoLeftovers()
            if !fileSystem.wasReached { return #expect(turn > 60) }
        }
    }

    @Test("killed at random beside another that is killed too leaves each tag whole")
    func randomKills() async throws {
        for seed in 0..<200 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            try? scratch.remove("layout")
            try await old.export(to: sound, tag: "main")
            let turns = [Int.random(in: 1...130, using: &random), Int.random(in: 1...130, using: &random)]
            let path = scratch.layout
            await withTaskGroup(of: Void.self) { group in
                for (writer, turn) in turns.enumerated() {
                    group.addTask {
                        let layout = OCILayout(path: path, fileSystem: FaultyFileSystem(.halt, at: turn))
                        try? await SampleCache("writer \(writer)").export(
                            to: layout, tag: writer == 0 ? "main" : "other")
                    }
                }
            }
            let tags = try await sound.verifiedTags()
            let first = Digest(of: SampleCache("writer 0").manifest)
            #expect(tags["main"] == Digest(of: old.manifest) || tags["main"] == first, "seed \(seed)")
            #expect(
                tags["other"] == nil || tags["other"] == Digest(of: SampleCache("writer 1").manifest), "seed \(seed)")
            try await new.export(to: sound, tag: "main")
            #expect(try await sound.verifiedTags()["main"] == Digest(of: new.manifest), "seed \(seed)")
            try await expectNoLeftovers()
        }
    }

    @Test("makes blobs durable before their names, and those before the index that mentions them")
    func durableOrder() async throws {
        try await old.export(to: sound, tag: "main")
        let fileSystem = FaultyFileSystem()
        try await new.export(to: OCILayout(path: scratch.layout, fileSystem: fileSystem), tag: "main")
        let written = [new.blobs[1], new.blobs[2], new.manifest].map { Digest(of: $0).hex }
        #expect(
            fileSystem.events == written.flatMap { ["sync data", "\($0) appears"] } + [
                "sync sha256", "sync data", "index.json appears", "sync \(scratch.layout)",
            ])
    }

    @Test("leaves alone what a living one is writing, and what BuildKit writes")
    func livingIngests() async throws {
        try scratch.write("half", to: "layout/ingest/build-cache-living/data")
        try scratch.write("half", to: "layout/ingest/build-cache-dead/data")
        try scratch.write("half", to: "layout/ingest/0123456789abcdef/data")
        try scratch.makeDirectory("layout/ingest/build-cache-unborn")
        let living = try Lock(scratch.layout + "/ingest/build-cache-living/data")
        try await new.export(to: sound, tag: "main")
        #expect(scratch.names(in: "layout/ingest") == ["0123456789abcdef", "build-cache-living"])
        living.release()
        try await new.export(to: sound, tag: "main")
        #expect(scratch.names(in: "layout/ingest") == ["0123456789abcdef"])
    }
}

@Suite("A layout with something planted in it")
struct LayoutSafetyTests {
    private let scratch: Scratch
    private let layout: OCILayout
    private let cache = SampleCache("new")

    init() throws {
        scratch = try Scratch()
        layout = OCILayout(path: scratch.layout, clock: ImmediateClock())
        try scratch.write("precious", to: "outside/index.json")
        try scratch.makeDirectory("outside/sha256")
    }

    private func expectOutsideUntouched() {
        #expect(scratch.names(in: "outside") == ["index.json", "sha256"])
        #expect(scratch.names(in: "outside/sha256") == [])
        #expect(scratch.bytes(of: "outside/index.json") == Array("precious".utf8))
    }

    @Test(
        "never writes or reads through a symbolic link",
        arguments: [
            ("blobs", "../outside"), ("blobs/sha256", "../../outside/sha256"), ("ingest", "../outside"),
            ("index.json", "../outside/index.json"), ("index.json.lock", "../outside/new"),
            ("oci-layout", "../outside/index.json"),
        ])
    func links(name: String, target: String) async throws {
        try scratch.makeDirectory("layout")
        if name == "blobs/sha256" { try scratch.makeDirectory("layout/blobs") }
        try scratch.link("layout/" + name, to: target)
        let error = await #expect(throws: CacheError.self) { try await cache.export(to: layout, tag: "main") }
        #expect(error?.code == .corrupted)
        #expect(error?.description.contains(scratch.layout + "/" + name) == true)
        expectOutsideUntouched()
    }

    @Test("replaces a symbolic link in a blob's place")
    func blobLink() async throws {
        let blob = Descriptor(of: cache.blobs[0])
        try scratch.makeDirectory("layout/blobs/sha256")
        try scratch.write(String(decoding: cache.blobs[0], as: UTF8.self), to: "outside/index.json")
        try scratch.link("layout/blobs/sha256/" + blob.digest.hex, to: "../../../outside/index.json")
        #expect(try await layout.stat(blob.digest) == nil)
        let error = await #expect(throws: CacheError.self) { _ = try await layout.open(blob, range: nil) }
        #expect(error?.code == .corrupted)
        #expect(try await layout.put(blob, from: MemorySource(cache.blobs)) == .written)
        #expect(try await layout.open(blob, range: nil).collected() == cache.blobs[0])
        #expect(scratch.bytes(of: "outside/index.json") == cache.blobs[0])
    }

    @Test("may itself be behind a symbolic link, which the user made")
    func rootLink() async throws {
        try scratch.makeDirectory("real")
        try scratch.link("layout", to: "real")
        try await cache.export(to: layout, tag: "main")
        #expect(scratch.names(in: "real") == ["blobs", "index.json", "ingest", "oci-layout"])
    }

    @Test("does not hang on a pipe", .timeLimit(.minutes(10)), arguments: ["index.json", "index.json.lock"])
    func pipes(name: String) async throws {
        try await cache.export(to: layout, tag: "main")
        try? scratch.remove("layout/" + name)
        try #require(mkfifo(scratch.layout + "/" + name, 0o644) == 0)
        if name == "index.json" {
            let error = await #expect(throws: CacheError.self) { _ = try await layout.index() }
            #expect(error?.code == .corrupted)
        } else {
            #expect(try await layout.index() != nil)
        }
    }

    @Test("is imported without being changed")
    func importWritesNothing() async throws {
        try await cache.export(to: layout, tag: "main")
        try scratch.remove("layout/ingest")
        let before = try FileManager.default.subpathsOfDirectory(atPath: scratch.layout).sorted()
        let lease = try await layout.lease()
        #expect(lease != nil)
        #expect(try await layout.verifiedTags().count == 1)
        #expect(try FileManager.default.subpathsOfDirectory(atPath: scratch.layout).sorted() == before)
    }

    @Test("is made with its parents, by a relative path too")
    func makesParents() async throws {
        let deep = OCILayout(path: scratch.path + "/a/b/c/")
        try await cache.export(to: deep, tag: "main")
        #expect(try await deep.verifiedTags().count == 1)
        let file = OCILayout(path: scratch.path + "/outside/index.json/cache")
        let error = await #expect(throws: CacheError.self) { try await cache.export(to: file, tag: "main") }
        #expect(error?.code == .corrupted)
    }
}
