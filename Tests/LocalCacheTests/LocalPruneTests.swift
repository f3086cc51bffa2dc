import BuildCacheBytes
import BuildCacheCore
import BuildCacheClient
import BuildCacheOCI
import BuildCacheSpec
import BuildCacheTesting
import Foundation
import TestTools
import Testing

/// Samples with a graph; the other ones of these tests are what a layout sees of a cache.
typealias GraphSample = BuildCacheTesting.SampleCache

@Suite("A prune of a directory")
struct LocalPruneTests {
    private let folder: Scratch

    init() throws { folder = try Scratch() }

    private static let month: Int64 = 30 * 86_400

    /// Runs `body` with a maker of caches in the directory, none of which waits for a lock.
    private func withCaches(_ body: (_ cache: (String) -> LocalCache) async throws -> Void) async throws {
        try await ScratchStore.withTemporary { scratch in
            try await body { tag in folder.cache(tag, scratch) }
        }
    }

    /// A moment when all that is there now is a month old.
    private var later: Timestamp { Timestamp(seconds: Timestamp.now().seconds + LocalPruneTests.month) ?? .zero }

    @Test("removes the oldest tags, and the blobs that only they reach")
    func byCount() async throws {
        try await withCaches { cache in
            let (long, short) = (try GraphSample.chain(of: 4), try GraphSample.chain(of: 2))
            try await cache("old").export(long)
            try folder.ageBlobs(by: 3600)
            try await cache("new").export(short)
            let plan = try await cache("new").planPrune(Retention(maximumCount: 1), now: later)
            #expect(plan.names.map(\.stored.name) == ["new", "old"])
            let before = folder.blobs
            // The config and the manifest go with the two layers.
            #expect(plan.blobs.count == 4)
            let report = try await cache("new").prune(plan)
            #expect(report.removedNames == ["old"])
            #expect(folder.blobs == before.subtracting(plan.blobs.compactMap { $0.digest?.hex }))
            #expect(report.freedBytes == plan.freedBytes)
            #expect(try await cache("old").importCache(progress: .discarded) == nil)
            #expect(try await cache("new").importCache(progress: .discarded)?.graph == short.graph)
        }
    }

    @Test("that is only planned changes nothing")
    func dryRun() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .diamond())
            let before = (folder.blobs, folder.bytes(of: "layout/index.json"))
            let plan = try await cache("a").planPrune(Retention(maximumCount: 0), now: later)
            #expect(plan.blobs.count == folder.blobs.count)
            #expect(before == (folder.blobs, folder.bytes(of: "layout/index.json")))
        }
    }

    @Test(
        "keeps what the usable entries of an index lead to, whatever the others are",
        arguments: [#"{"digest":"sha256:zz","size":1}"#, #"{"digest":"\#(Digest(of: "a".utf8))","size":-1}"#, "null"])
    func brokenEntries(_ entry: String) async throws {
        try await withCaches { cache in
            try await cache("image").export(try .diamond())
            let layout = OCILayout(path: folder.layout)
            let manifest = try #require(try await layout.manifest(.tag("image")))
            let index = Array(
                #"{"manifests":[\#(entry),{"digest":"\#(manifest.digest)","size":\#(manifest.size)}]}"#.utf8)
            let descriptor = Descriptor(of: index, mediaType: .ociIndex)
            try await layout.put(descriptor, from: MemorySource([index]))
            try await layout.setTag("image", to: descriptor)
            try folder.ageBlobs(by: 3600)
            let plan = try await cache("image").planPrune(Retention(maximumCount: 0), now: later)
            #expect(plan.blobs == [])
            #expect(plan.names.map(\.verdict) == [.notACache])
        }
    }

    @Test("of a directory that does not exist is an error that names it, and makes nothing")
    func absent() async throws {
        try await withCaches { cache in
            let error = await #expect(throws: CacheError.self) { try await cache("a").planPrune(Retention()) }
            #expect(error?.code == .notFound)
            #expect(error?.description.contains(folder.layout) == true)
            #expect(folder.names(in: "") == [])
        }
    }

    @Test("with nothing to remove does not wait for exports")
    func nothingToDo() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 2))
            let plan = try await cache("a").planPrune(Retention(), now: later)
            #expect(plan.isEmpty)
            let lease = try await OCILayout(path: folder.layout).prepare()
            #expect(try await cache("a").prune(plan).description == "removed 0 names and 0 blobs, 0 bytes")
            lease.end()
        }
    }

    @Test("counts the age of each tag for itself, also of those that share a manifest")
    func sharedManifest() async throws {
        try await withCaches { cache in
            try await cache("old").export(try .chain(of: 2))
            try folder.ageBlobs(by: Self.month)
            try await cache("new").export(try .chain(of: 2))
            let plan = try await cache("new").planPrune(Retention(maximumAge: .seconds(86_400)))
            #expect(plan.removedNames.map(\.name) == ["old"])
            #expect(plan.blobs == [])
            #expect(try await cache("new").prune(plan).removedNames == ["old"])
            #expect(try await cache("new").importCache(progress: .discarded)?.graph == GraphSample.chain(of: 2).graph)
        }
    }

    @Test("tells tags apart that only look the same, and keeps the blobs of both")
    func equivalentTags() async throws {
        try await withCaches { cache in
            try await cache("caf\u{e9}").export(try .diamond("one"))
            try await cache("cafe\u{301}").export(try .diamond("two"))
            let plan = try await cache("a").planPrune(Retention(), now: later)
            #expect(plan.names.count == 2)
            #expect(plan.blobs == [])
            #expect(
                try await cache("caf\u{e9}").importCache(progress: .discarded)?.graph
                    == GraphSample.diamond("one").graph)
            #expect(
                try await cache("cafe\u{301}").importCache(progress: .discarded)?.graph
                    == GraphSample.diamond("two").graph)
        }
    }

    @Test("says how many bytes there are, how many stay, and how many wait for the grace period")
    func bytes() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 3))
            try await cache("a").export(try .chain(of: 2))
            let total = folder.blobs.reduce(Int64(0)) {
                $0 + Int64(folder.bytes(of: "layout/blobs/sha256/\($1)")?.count ?? 0)
            }
            let early = try await cache("a").planPrune(Retention())
            #expect(early.bytes.now == total && early.bytes.after == total)
            #expect(early.bytes.waitingForGrace > 0)
            let plan = try await cache("a").planPrune(Retention(), now: later)
            #expect(plan.bytes.after == total - plan.freedBytes)
            #expect(plan.bytes.waitingForGrace == 0)
            #expect(plan.freedBytes == early.bytes.waitingForGrace)
        }
    }

    @Test("keeps images, what they reach, and tags that a pattern protects")
    func images() async throws {
        try await withCaches { cache in
            let images = LocalImages(path: folder.layout)
            let layer = SampleLayer("of an image")
            let config = Array("{}".utf8)
            let blobs = MemorySource([layer.stored, config])
            try await images.put(layer.descriptor, from: blobs)
            try await images.put(Descriptor(of: config, mediaType: .ociConfig), from: blobs)
            let manifest = ImageManifest(
                mediaType: .ociManifest, config: Descriptor(of: config, mediaType: .ociConfig),
                layers: [layer.descriptor])
            try await images.publish(manifest.encode(), as: "image")
            try await cache("main").export(try .chain(of: 2))
            try await cache("gone").export(try .chain(of: 3))
            let retention = Retention(maximumCount: 0, protectedNames: ["m*"])
            let plan = try await cache("main").planPrune(retention, now: later)
            #expect(plan.removedNames.map(\.name) == ["gone"])
            #expect(plan.names.first { $0.stored.name == "image" }?.verdict == .notACache)
            images.close()
        }
        try await withCaches { cache in
            let plan = try await cache("main").planPrune(
                Retention(maximumCount: 0, protectedNames: ["m*"]), now: later)
            try await cache("main").prune(plan)
            #expect(folder.blobs.contains(SampleLayer("of an image").descriptor.digest.hex))
            #expect(try await cache("main").importCache(progress: .discarded)?.graph == GraphSample.chain(of: 2).graph)
            let images = LocalImages(path: folder.layout)
            #expect(try await images.resolve("image") != nil)
        }
    }

    @Test("keeps a tag that was exported again after the plan, unchanged even")
    func exportedAgain() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 2))
            let plan = try await cache("a").planPrune(Retention(maximumCount: 0), now: later)
            try await cache("a").export(try .chain(of: 2))
            let report = try await cache("a").prune(plan)
            #expect(report.changedNames == ["a"])
            #expect(report.removedBlobs == [])
            #expect(try await cache("a").importCache(progress: .discarded)?.graph == GraphSample.chain(of: 2).graph)
        }
    }

    @Test("counts the age of a tag from its last export, though nothing was new in it")
    func age() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 2))
            try folder.ageBlobs(by: Self.month)
            try await cache("a").export(try .chain(of: 2))
            let retention = Retention(maximumAge: .seconds(86_400))
            #expect(try await cache("a").planPrune(retention).removedNames == [])
            #expect(try await cache("a").planPrune(retention, now: later).removedNames.count == 1)
        }
    }

    @Test("waits for exports that go on, and ends after a while with nothing removed and the process named")
    func duringExports() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 2))
            let plan = try await cache("a").planPrune(Retention(maximumCount: 0), now: later)
            let before = folder.blobs
            let lease = try await OCILayout(path: folder.layout).prepare()
            let error = await #expect(throws: CacheError.self) { try await cache("a").prune(plan) }
            #expect(error?.code == .busy)
            #expect(error?.message.contains("nothing was removed") == true)
            #if os(Linux)
                #expect(error?.message.contains("this process") == true)
            #endif
            #expect(folder.blobs == before)
            lease.end()
            #expect(try await cache("a").prune(plan).removedNames == ["a"])
        }
    }

    @Test("removes everything but what an imported cache still reads, and that once it is closed")
    func duringImports() async throws {
        try await withCaches { cache in
            let (mine, other) = (try GraphSample.diamond("mine"), try GraphSample.diamond("other"))
            try await cache("mine").export(mine)
            try await cache("other").export(other)
            let plan = try await cache("mine").planPrune(Retention(maximumCount: 0), now: later)
            let imported = try #require(try await cache("mine").importCache(progress: .discarded))
            let report = try await cache("mine").prune(plan)
            #expect(report.removedNames == ["other"])
            #expect(report.changedNames == ["mine"])
            for layer in mine.layers {
                #expect(try await imported.blobs.bytes(of: layer.descriptor) == layer.stored)
            }
            // A cache that was replaced meanwhile is still read, too.
            try await cache("mine").export(try .diamond("newer"))
            try await cache("mine").prune(try await cache("mine").planPrune(Retention(), now: later))
            for layer in mine.layers {
                #expect(try await imported.blobs.bytes(of: layer.descriptor) == layer.stored)
            }
            imported.close()
            try await cache("mine").prune(try await cache("mine").planPrune(Retention(), now: later))
            #expect(folder.blobs.count == 6)
        }
    }

    @Test("is not kept from its work by imports that last as long as builds", arguments: [1, 20])
    func manyReaders(_ count: Int) async throws {
        try await withCaches { cache in
            try await cache("old").export(try .chain(of: 3))
            try folder.ageBlobs(by: 3600)
            try await cache("new").export(try .diamond())
            var readers: [ImportedCache] = []
            for _ in 0..<count {
                readers.append(try #require(try await cache("new").importCache(progress: .discarded)))
            }
            let plan = try await cache("new").planPrune(Retention(maximumCount: 1), now: later)
            #expect(try await cache("new").prune(plan).removedNames == ["old"])
            for reader in readers { reader.close() }
        }
    }

    @Test("removes names that cannot be read if it is told to, and they take no place of those that can")
    func removesUnreadable() async throws {
        try await withCaches { cache in
            try await cache("good").export(try .diamond("good"))
            try await cache("broken").export(try .diamond("broken"))
            let manifest = try #require(try await OCILayout(path: folder.layout).manifest(.tag("broken")))
            try folder.remove("layout/blobs/sha256/" + manifest.digest.hex)
            try folder.write(
                String(repeating: "x", count: Int(manifest.size)), to: "layout/blobs/sha256/" + manifest.digest.hex)
            let kept = try await cache("good").planPrune(Retention(maximumCount: 1), now: later)
            #expect(kept.removedNames == [] && kept.blobs == [])
            #expect(kept.problems.map(\.kind) == [.unreadableCache, .keptBlobs])
            let retention = Retention(maximumCount: 1, removesUnreadable: true)
            let plan = try await cache("good").planPrune(retention, now: later)
            #expect(plan.removedNames.map(\.name) == ["broken"])
            #expect(plan.names.first { $0.stored.name == "broken" }?.verdict == .unreadable)
            try await cache("good").prune(plan)
            #expect(folder.blobs.count == 6)
            #expect(
                try await cache("good").importCache(progress: .discarded)?.graph == GraphSample.diamond("good").graph)
        }
    }

    @Test("keeps all blobs while a manifest is damaged, or the index is lost")
    func unreadable() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 2))
            let manifest = try #require(try await OCILayout(path: folder.layout).manifest(.tag("a")))
            try await cache("b").export(try .chain(of: 3))
            let before = folder.blobs
            let file = "layout/blobs/sha256/" + manifest.digest.hex
            try folder.remove(file)
            try folder.write(String(repeating: "x", count: Int(manifest.size)), to: file)
            let plan = try await cache("b").planPrune(Retention(maximumCount: 0), now: later)
            #expect(plan.removedNames.map(\.name) == ["b"])
            #expect(plan.blobs == [])
            #expect(plan.problems.map(\.kind) == [.unreadableCache, .keptBlobs])
            try await cache("b").prune(plan)
            #expect(folder.blobs == before)

            try folder.remove("layout/index.json")
            #expect(try await cache("b").planPrune(Retention(), now: later).blobs == [])
            try folder.write("{", to: "layout/index.json")
            let error = await #expect(throws: CacheError.self) { try await cache("b").planPrune(Retention()) }
            #expect(error?.code == .corrupted)
            #expect(error?.description.contains(folder.layout + "/index.json") == true)
        }
    }

    @Test("removes what exports left that were killed")
    func leftovers() async throws {
        try await withCaches { cache in
            try await cache("a").export(try .chain(of: 2))
            try folder.write("half", to: "layout/ingest/build-cache-1/data")
            try await cache("a").prune(try await cache("a").planPrune(Retention(), now: later))
            #expect(folder.names(in: "layout/ingest") == [])
        }
    }
}

extension Scratch {
    /// A cache in the layout of the test, which does not wait for locks in earnest.
    func cache(_ tag: String, _ scratch: ScratchStore, _ fileSystem: any FileSystem = PosixFileSystem()) -> LocalCache {
        LocalCache(
            LocalOptions(dest: layout, tag: tag), export: ExportOptions(), scratch: scratch,
            layout: OCILayout(path: layout, fileSystem: fileSystem, clock: ImmediateClock()))
    }

    /// The names of all blobs.
    var blobs: Set<String> { Set(names(in: "layout/blobs/sha256")) }

    /// Makes all blobs look so many seconds older than they do.
    func ageBlobs(by seconds: Int64) throws {
        for name in blobs {
            let file = "layout/blobs/sha256/" + name
            let attributes = try FileManager.default.attributesOfItem(atPath: path + "/" + file)
            let date = try #require(attributes[.modificationDate] as? Date)
            try age(file, seconds: Double(seconds) - date.timeIntervalSinceNow)
        }
    }
}
