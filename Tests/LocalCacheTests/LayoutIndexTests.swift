import BuildCacheBytes
import BuildCacheCore
import BuildCacheClient
import BuildCacheOCI
import Foundation
import TestTools
import Testing

@Suite("The index of a layout")
struct LayoutIndexTests {
    private let scratch: Scratch
    private let layout: OCILayout

    init() throws {
        scratch = try Scratch()
        layout = OCILayout(path: scratch.layout, clock: ImmediateClock())
    }

    @Test("names no manifest where there is no directory, no index.json or no such tag")
    func absent() async throws {
        #expect(try await layout.manifest() == nil)
        #expect(try await layout.manifest(.digest(Digest(of: []))) == nil)
        try scratch.makeDirectory("layout")
        #expect(try await layout.manifest() == nil)
        try await SampleCache("a").export(to: layout, tag: "main")
        #expect(try await layout.manifest() == nil)
    }

    @Test("has the documents of BuildKit, byte for byte")
    func documents() async throws {
        let cache = SampleCache("a")
        try await cache.export(to: layout, tag: "latest")
        #expect(scratch.bytes(of: "layout/oci-layout") == Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))
        let manifest = Descriptor(of: cache.manifest)
        let expected = """
            {"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[\
            {"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"\(manifest.digest)","size":\(manifest.size),\
            "annotations":{"org.opencontainers.image.ref.name":"latest"}}]}
            """
        #expect(scratch.bytes(of: "layout/index.json").map { String(decoding: $0, as: UTF8.self) } == expected)
        #expect(scratch.names(in: "layout") == ["blobs", "index.json", "ingest", "oci-layout"])
    }

    @Test("keeps other tags, replaces its own")
    func tags() async throws {
        try await SampleCache("a").export(to: layout, tag: "main")
        try await SampleCache("b").export(to: layout, tag: "feature")
        try await SampleCache("c").export(to: layout, tag: "main")
        #expect(
            try await layout.verifiedTags() == [
                "main": Digest(of: SampleCache("c").manifest), "feature": Digest(of: SampleCache("b").manifest),
            ])
    }

    @Test("need not mention a manifest that is asked for by digest")
    func byDigest() async throws {
        let cache = SampleCache("a")
        try await layout.put(Descriptor(of: cache.manifest), from: MemorySource([cache.manifest]))
        let found = try await layout.manifest(.digest(Digest(of: cache.manifest)))
        #expect(found?.size == Int64(cache.manifest.count))
    }

    @Test("never names a manifest that has not been put")
    func missingManifest() async throws {
        let error = await #expect(throws: CacheError.self) { try await layout.setTag("main", to: Descriptor(of: [1])) }
        #expect(error?.code == .notFound)
        #expect(try await layout.index() == nil)
    }

    @Test("keeps the permissions a user gave it")
    func permissions() async throws {
        try await SampleCache("a").export(to: layout, tag: "main")
        let index = scratch.layout + "/index.json"
        try FileManager.default.setAttributes([.posixPermissions: 0o664], ofItemAtPath: index)
        try await SampleCache("b").export(to: layout, tag: "main")
        let attributes = try FileManager.default.attributesOfItem(atPath: index)
        #expect(attributes[.posixPermissions] as? Int == 0o664)
    }

    @Test("that was cut is an error to an import, and copied and replaced by an export")
    func cutIndex() async throws {
        let cache = SampleCache("a")
        try await cache.export(to: layout, tag: "main")
        let cut = Array((scratch.bytes(of: "layout/index.json") ?? []).dropLast(20))
        try scratch.write(String(decoding: cut, as: UTF8.self), to: "layout/index.json")

        let error = await #expect(throws: CacheError.self) { _ = try await layout.index() }
        #expect(error?.code == .corrupted)
        let copy = try #require(try await layout.setTag("next", to: Descriptor(of: cache.manifest)))
        #expect(scratch.bytes(of: "layout/" + copy) == cut)
        #expect(try await layout.verifiedTags() == ["next": Digest(of: cache.manifest)])
        #expect(try await layout.setTag("next", to: Descriptor(of: cache.manifest)) == nil)
    }

    @Test("that is empty holds nothing worth a copy")
    func emptyIndex() async throws {
        let cache = SampleCache("a")
        try scratch.write("", to: "layout/index.json")
        try await cache.export(to: layout, tag: "main")
        #expect(try await layout.verifiedTags().keys.sorted() == ["main"])
        #expect(scratch.names(in: "layout").filter { $0.hasPrefix("index.json") } == ["index.json"])
    }

    @Test("is not read when it has more than 64 MiB")
    func tooLarge() async throws {
        try scratch.write("", to: "layout/index.json")
        let file = try #require(FileHandle(forWritingAtPath: scratch.layout + "/index.json"))
        try file.truncate(atOffset: 64 << 20 + 1)
        try file.close()
        let error = await #expect(throws: CacheError.self) { _ = try await layout.index() }
        #expect(error?.code == .limitExceeded)
    }

    @Test("waits for the lock of another writer, then gives up and names the file")
    func lockedByOthers() async throws {
        let cache = SampleCache("a")
        try await cache.export(to: layout, tag: "main")
        let lock = try Lock(scratch.layout + "/index.json.lock")
        let clock = ImmediateClock()
        let begin = clock.now
        let waiting = OCILayout(path: scratch.layout, clock: clock, lockTimeout: .seconds(10))
        let error = await #expect(throws: CacheError.self) {
            try await waiting.setTag("main", to: Descriptor(of: cache.manifest))
        }
        #expect(error?.code == .busy)
        #expect(error?.message.contains("index.json.lock") == true)
        #expect(begin.duration(to: clock.now) >= .seconds(10))
        // A reader does not wait for ever: our writers never leave half an index.
        #expect(try await waiting.manifest(.tag("main")) != nil)
        lock.release()
        try await waiting.setTag("main", to: Descriptor(of: cache.manifest))
    }

    @Test("is not stopped by a lock file that nobody holds")
    func leftLockFile() async throws {
        try scratch.write("", to: "layout/index.json.lock")
        try await SampleCache("a").export(to: layout, tag: "main")
        #expect(try await layout.verifiedTags().keys.sorted() == ["main"])
    }

    @Test("takes in both of two writers with different tags, and is never seen half written")
    func concurrentWriters() async throws {
        let layout = OCILayout(path: scratch.layout)
        let done = Flag()
        async let reading: Void = {
            while !done.isSet, !Task.isCancelled { _ = try await layout.verifiedTags() }
        }()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
                group.addTask {
                    // Two writers share the tag "same".
                    let tag = writer < 2 ? "same" : "own-\(writer)"
                    for round in 0..<15 { try await SampleCache("\(writer) \(round)").export(to: layout, tag: tag) }
                }
            }
            try await group.waitForAll()
        }
        done.set()
        try await reading
        let tags = try await layout.verifiedTags()
        #expect(tags.keys.sorted() == ["own-2", "own-3", "same"])
        #expect(tags["own-2"] == Digest(of: SampleCache("2 14").manifest))
        let last = [0, 1].map { Digest(of: SampleCache("\($0) 14").manifest) }
        #expect(last.contains(try #require(tags["same"])))
        #expect(scratch.names(in: "layout") == ["blobs", "index.json", "ingest", "oci-layout"])
    }

    @Test("loses no tag when its lock file is removed before it is locked, and others lock a new one")
    func lockFileRemoved() async throws {
        let (first, second) = (SampleCache("a"), SampleCache("b"))
        try await first.export(to: layout, tag: "old")
        // What another writer will have made of the index while we hold the lock of a file that is gone.
        let twin = OCILayout(path: scratch.path + "/twin")
        try await first.export(to: twin, tag: "old")
        try await second.export(to: twin, tag: "theirs")
        let theirs = String(decoding: try #require(scratch.bytes(of: "twin/index.json")), as: UTF8.self)
        try await second.export(to: layout, tag: "old")

        let (removed, replaced) = (Flag(), Flag())
        let scratch = scratch
        let fileSystem = FaultyFileSystem { moment in
            if moment == "lock index.json.lock", !removed.isSet {
                removed.set()
                try? scratch.remove("layout/index.json.lock")
            } else if moment == "read index.json", !replaced.isSet {
                replaced.set()
                try? scratch.write(theirs, to: "layout/index.json")
            }
        }
        let ours = OCILayout(path: scratch.layout, fileSystem: fileSystem, clock: ImmediateClock())
        try await SampleCache("c").export(to: ours, tag: "ours")
        #expect(removed.isSet && replaced.isSet)
        #expect(try await layout.verifiedTags().keys.sorted() == ["old", "ours", "theirs"])
    }

    @Test("of a cache that BuildKit wrote is read, and stays when another tag is added")
    func buildKitLayout() async throws {
        let fixture = FixtureArchive.buildkit.path + "/01-single/local-max-gzip-oci-imagemanifest"
        try FileManager.default.copyItem(atPath: fixture, toPath: scratch.layout)
        let before = try #require(try await layout.index()).entries.map { try $0.descriptor() }
        let manifest = try #require(try await layout.manifest())
        #expect(Digest(of: try await layout.open(manifest, range: nil).collected()) == manifest.digest)
        try await SampleCache("a").export(to: layout, tag: "other")
        #expect(try #require(try await layout.index()).entries.map { try $0.descriptor() }.starts(with: before))
        #expect(try await layout.manifest() == manifest)
    }
}

/// A lock as another process would hold it.
final class Lock {
    private let fileSystem = PosixFileSystem()
    private var file: CInt?

    init(_ path: String, exclusive: Bool = true) throws {
        let file = try fileSystem.open(path, in: nil, .lock)
        self.file = file
        try #require(try fileSystem.tryLock(file, exclusive: exclusive) == .taken)
    }

    func release() {
        if let file { fileSystem.close(file) }
        file = nil
    }

    deinit { release() }
}
