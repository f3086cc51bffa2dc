import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheOCI
import BuildCacheTesting
import Foundation
import TestTools
import Testing

@Suite("A directory that is verified")
struct LocalVerificationTests {
    private let folder: Scratch
    private let sample: GraphSample

    init() throws {
        folder = try Scratch()
        sample = try .diamond()
    }

    /// Runs `body` with a cache of two tags in the directory.
    private func withCache(_ body: (LocalCache) async throws -> Void) async throws {
        try await ScratchStore.withTemporary { scratch in
            try await folder.cache("other", scratch).export(try .chain(of: 3))
            let cache = folder.cache("main", scratch)
            try await cache.export(sample)
            try await body(cache)
        }
    }

    private func path(_ digest: Digest) -> String { "layout/blobs/sha256/\(digest.hex)" }

    /// Replaces a blob by other bytes, or removes it.
    private func change(_ digest: Digest, _ change: ([UInt8]) -> [UInt8]?) throws {
        let bytes = try #require(folder.bytes(of: path(digest)))
        try folder.remove(path(digest))
        guard let changed = change(bytes) else { return }
        try Data(changed).write(to: URL(fileURLWithPath: folder.path + "/" + path(digest)))
    }

    private enum Change: CaseIterable {
        case remove, cut, flip, grow

        var kind: VerificationReport.Damage.Kind {
            switch self {
            case .remove: .missing
            case .cut: .cutShort
            case .flip, .grow: .corrupted
            }
        }

        func apply(_ bytes: [UInt8]) -> [UInt8]? {
            switch self {
            case .remove: nil
            case .cut: Array(bytes.dropLast())
            case .flip: bytes.dropLast() + [(bytes.last ?? 0) ^ 1]
            case .grow: bytes + [0]
            }
        }
    }

    @Test("tells the damage of a layer by tag, digest and kind, and stays as it is")
    func layers() async throws {
        for change in Change.allCases {
            try await withCache { cache in
                let victim = sample.layers[1].descriptor.digest
                try self.change(victim, change.apply)
                let before = folder.snapshot
                for depth in VerificationReport.Depth.allCases {
                    let report = try await cache.verifyAll(depth)
                    #expect(report.names == ["main", "other"])
                    if change == .flip, depth == .presence {
                        #expect(report.isSound)
                    } else {
                        #expect(report.damaged.map(\.digest) == [victim])
                        #expect(report.damaged.map(\.kind) == [change.kind])
                        #expect(report.damaged.map(\.names) == [["main"]])
                    }
                    #expect(try await cache.verify(depth).damaged == report.damaged)
                    #expect(folder.snapshot == before)
                }
                if change == .flip {
                    // The damage was not noted: an export takes the layer for sound, as it did before.
                    let receipt = try await cache.export(sample)
                    #expect(receipt.transfers[victim] == .alreadyPresent)
                }
                try folder.remove("layout")
            }
        }
    }

    @Test("tells the damage of a manifest or a config", arguments: VerificationReport.Depth.allCases)
    func documents(_ depth: VerificationReport.Depth) async throws {
        for change in Change.allCases {
            for isManifest in [false, true] {
                try await withCache { cache in
                    let name = try #require(try await cache.caches().first { $0.name == "main" })
                    let manifest = try #require(
                        try await cache.importCache(progress: .discarded)?.parts.first?.manifest)
                    #expect(name.documentBlobs.count == 2 && name.documentBlobs.contains(manifest.digest))
                    let victim = try #require(name.documentBlobs.first { ($0 == manifest.digest) == isManifest })
                    try self.change(victim, change.apply)
                    let before = folder.snapshot
                    for report in [try await cache.verify(depth), try await cache.verifyAll(depth)] {
                        #expect(report.damaged.map(\.digest) == [victim])
                        #expect(report.damaged.map(\.kind) == [change == .remove ? .missing : .corrupted])
                        #expect(report.damaged.map(\.names) == [["main"]])
                    }
                    #expect(folder.snapshot == before)
                    try folder.remove("layout")
                }
            }
        }
    }

    @Test("tells an index that cannot be read or does not exist")
    func index() async throws {
        try await withCache { cache in
            try folder.write("{", to: "layout/index.json")
            for report in [try await cache.verify(), try await cache.verifyAll()] {
                #expect(report.damaged.map(\.kind) == [.unreadable])
            }
            try folder.remove("layout/index.json")
            #expect(try await cache.verifyAll().damaged.map(\.kind) == [.unreadable])
            #expect(try await cache.verify().names.isEmpty)
            try folder.remove("layout")
            #expect(try await cache.verify().names.isEmpty)
            let error = await #expect(throws: CacheError.self) { _ = try await cache.verifyAll() }
            #expect(error?.code == .notFound)
        }
    }

    @Test("has the caches inside the images of an index verified, and the damage of one of them")
    func images() async throws {
        let fixture = FixtureArchive.buildkit.appending(path: "06-platforms/inline").path
        try FileManager.default.copyItem(atPath: fixture, toPath: folder.layout)
        try await ScratchStore.withTemporary { scratch in
            let cache = try LocalCache(LocalOptions(src: folder.layout), scratch: scratch)
            let known = try #require(try await cache.importCache(progress: .discarded))
            #expect(known.parts.count == 2)
            let sound = try await cache.verify(.everyByte)
            #expect(sound.isSound)
            #expect(sound.layerCount == known.graph.descriptors.count)
            // An index is not a cache, so a look at all caches passes over it.
            #expect(try await cache.verifyAll(.everyByte).names.isEmpty)

            let victim = try #require(known.parts.first?.manifest?.digest)
            try change(victim) { _ in nil }
            let report = try await cache.verify()
            #expect(report.damaged.map(\.kind) == [.missing])
            #expect(report.damaged.map(\.digest) == [victim])
        }
    }

    @Test("lists its tags with times, layers and documents, and what is not a cache")
    func inventory() async throws {
        try await withCache { cache in
            let images = LocalImages(path: folder.layout)
            let config = RawDocument(mediaType: .ociConfig, bytes: Array(#"{"os":"linux"}"#.utf8))
            try await images.put(config)
            try await images.publish(ImageManifest(config: config.descriptor, layers: []).encode(), as: "image")
            images.close()
            let before = folder.snapshot
            let found = Dictionary(uniqueKeysWithValues: try await cache.caches().map { ($0.name, $0) })
            #expect(folder.snapshot == before)
            #expect(found.keys.sorted() == ["image", "main", "other"])
            let main = try #require(found["main"])
            #expect(main.isCache && main.problem == nil && main.modifiedAt != nil)
            #expect(main.layerCount == sample.layers.count)
            #expect(main.bytesOfLayers == sample.layers.reduce(0) { $0 + $1.descriptor.size })
            let files = main.documentBlobs.compactMap { folder.bytes(of: path($0))?.count }
            #expect(main.bytesOfDocuments == Int64(files.reduce(0, +)))
            #expect(found["image"]?.isCache == false && found["image"]?.layerCount == 0)
        }
    }

    @Test("lists a tag whose manifest is missing with a problem")
    func missingManifest() async throws {
        try await withCache { cache in
            let manifest = try #require(try await cache.importCache(progress: .discarded)?.parts.first?.manifest)
            try change(manifest.digest) { _ in nil }
            let main = try #require(try await cache.caches().first { $0.name == "main" })
            #expect(!main.isCache && main.problem?.contains("missing") == true)
        }
    }
}
