import BuildCacheCore
import Foundation
import NIOCore
import Synchronization
import TestTools
import Testing

@testable import BuildCacheBytes

@Suite("An unpacker")
struct UnpackTests {
    private static func blobs(_ tars: [ByteBuffer]) -> (layers: [Descriptor], source: MemorySource) {
        let layers = tars.map {
            Descriptor(
                mediaType: "application/vnd.oci.image.layer.v1.tar", digest: Digest(of: $0.readableBytesView),
                size: Int64($0.readableBytes))
        }
        let pairs = zip(layers, tars).map { ($0.digest, $1) }
        return (layers, MemorySource(Dictionary(pairs) { $1 }, chunkSize: 1000))
    }

    private func code(_ body: () async throws -> Void) async -> CacheError.Code? {
        do {
            try await body()
            return nil
        } catch { return (error as? CacheError)?.code }
    }

    @Test("expands sparse files", arguments: SparseSample.all)
    func sparse(_ sample: SparseSample) async throws {
        let folder = try TemporaryDirectory()
        for size in [100, 1 << 20] {
            try await LayerUnpacker().apply(.chunks(sample.tar + TarSample.small, of: size), onto: folder.path)
            let tree = try DiskTree(folder.path)
            #expect(tree.nodes["sparse"]?.bytes == SparseSample.content)
            #expect(tree.nodes["hello.txt"]?.bytes == Array("hello".utf8))
        }
    }

    @Test("refuses the map of a sparse file that does not fit its data")
    func badMaps() async throws {
        let folder = try TemporaryDirectory()
        for map in ["1\n0\n9\n", "2\n5\n1\n0\n1\n", "1\n4000\n1\n", "9999999\n", "x\n", "1\n0\n"] {
            var data = ByteBuffer(string: map)
            data.writeRepeatingByte(0, count: 512 - data.readableBytes)
            data.writeString("z")
            let text = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.realsize=9\n"
            var records = ByteBuffer(string: text)
            records.writeRepeatingByte(0, count: 512 - text.utf8.count)
            let tar =
                TarSample.block("x", "x", size: text.utf8.count) + records
                + TarSample.block("f", "0", size: data.readableBytes) + data + .zeros(511 + 1024)
            let code = await code { try await LayerUnpacker().apply(.chunks(tar), onto: folder.path) }
            #expect(code == .corrupted || code == .limitExceeded, "\(map)")
        }
    }

    @Test("makes a directory of a chain, and shows it only when all of it is right")
    func chain() async throws {
        let folder = try TemporaryDirectory()
        let target = folder.path + "/tree"
        let tars = [
            TarSample.tar([.file("a", ByteBuffer(string: "1")), .file("b", ByteBuffer(string: "2"))]),
            TarSample.tar([.file(".wh.a", ByteBuffer()), .file("c", ByteBuffer(string: "3"))]),
        ]
        let (layers, source) = Self.blobs(tars)
        let report = try await LayerUnpacker().unpack(layers, from: source, to: target)
        #expect(report.entries == 4 && report.removals == 1 && report.bytes == 3)
        #expect(try DiskTree(target).nodes.keys.sorted() == ["", "b", "c"])
        #expect(try DiskTree(target).nodes[""]?.status.permissions == 0o755)

        // The directory is not replaced unless that is asked for.
        #expect(await code { try await LayerUnpacker().unpack(layers, from: source, to: target) } == .occupied)
        try await LayerUnpacker().unpack([layers[0]], from: source, to: target, replacing: true)
        #expect(try DiskTree(target).nodes.keys.sorted() == ["", "a", "b"])

        // Bytes that are not those of the descriptor never get a name.
        var wrong = layers[0]
        wrong.annotations[Annotation.uncompressed] = "\(layers[1].digest)"
        let other = folder.path + "/other"
        #expect(await code { try await LayerUnpacker().unpack([wrong], from: source, to: other) } == .corrupted)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["tree"])
        #expect(await code { try await LayerUnpacker().unpack(layers, from: source, to: "\(other)/x/y") } == .notFound)
        #expect(await code { try await LayerUnpacker().unpack(layers, from: source, to: "..") } == .invalidSpec)
    }

    @Test("is busy while another one makes the same directory, and removes what a killed one left")
    func partialTrees() throws {
        let folder = try TemporaryDirectory()
        let target = folder.path + "/tree"
        let first = try PartialTree(for: target, replacing: false)
        let error = #expect(throws: CacheError.self) { try PartialTree(for: target, replacing: false) }
        #expect(error?.code == .busy)
        first.remove()
        // One without a lock is a remnant.
        try FileManager.default.createDirectory(
            atPath: folder.path + "/.tree.abc.partial/x/y", withIntermediateDirectories: true)
        try FileManager.default.createDirectory(
            atPath: folder.path + "/.tree.b.c.partial", withIntermediateDirectories: true)
        let second = try PartialTree(for: target, replacing: false)
        try second.publish(isDurable: true)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == [".tree.b.c.partial", "tree"])
    }

    @Test("removes the partial tree when it is cancelled")
    func cancelled() async throws {
        let folder = try TemporaryDirectory()
        let tar = TarSample.tar((0..<50).map { .file("f\($0)", ByteBuffer(repeating: 1, count: 500)) })
        let reached = AsyncStream.makeStream(of: Void.self)
        let stream = BlobStream(length: nil) {
            var rest = tar
            return {
                if rest.readableBytes < tar.readableBytes / 2 {
                    reached.continuation.yield()
                    // As a source does that waits for its server.
                    try await Task.sleep(for: .seconds(3600))
                }
                return rest.readSlice(length: min(512, rest.readableBytes))
            }
        }
        let target = folder.path + "/tree"
        let task = Task { try await LayerUnpacker().unpack([stream], to: target) }
        for await _ in reached.stream { break }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == [])
    }

    @Test("refuses links that may lead out, where that is asked for")
    func linksInside() async throws {
        var options = LayerUnpacker.Options()
        options.links = .inside
        let unpacker = LayerUnpacker(options: options)
        let inside: [TarSample.Entry] = [
            .symbolicLink("a", "b/c"), .symbolicLink("d/e", "../a"), .symbolicLink("d/f", "./x/./y"),
        ]
        let folder = try TemporaryDirectory()
        try await unpacker.apply(.chunks(TarSample.tar(inside)), onto: folder.path)
        for (name, target) in [("a", "/etc"), ("a", ".."), ("d/e", "../.."), ("a", "b/../..")] {
            let tar = TarSample.tar([.symbolicLink(name, target)])
            #expect(await code { try await unpacker.apply(.chunks(tar), onto: folder.path) } == .denied)
        }
        // A link under a second name would begin elsewhere.
        let linked = TarSample.tar([.symbolicLink("d/e", "../a"), .hardLink("g", "d/e")])
        #expect(await code { try await unpacker.apply(.chunks(linked), onto: folder.path) } == .denied)
    }

    @Test("counts the bytes of a tar and its holes before it writes them")
    func limits() async throws {
        let folder = try TemporaryDirectory()
        var options = LayerUnpacker.Options()
        options.limits.decompression = DecompressionLimit(maximumBytes: 10_000, maximumRatio: 0)
        let tar = TarSample.tar([.file("f", ByteBuffer(repeating: 1, count: 20_000))])
        let unpacker = LayerUnpacker(options: options)
        #expect(await code { try await unpacker.apply(.chunks(tar, of: 512), onto: folder.path) } == .limitExceeded)
        #expect(try DiskTree(folder.path).nodes["f"] == nil)
        options.limits = LayerUnpacker.Limits(depth: 3)
        let deep = TarSample.tar([.file("a/b/c/d", ByteBuffer())])
        #expect(
            await code { try await LayerUnpacker(options: options).apply(.chunks(deep), onto: folder.path) }
                == .limitExceeded)
        let sparse = SparseSample.all[0].tar + ByteBuffer.zeros(1024)
        #expect(await code { try await unpacker.apply(.chunks(sparse), onto: folder.path) } == .limitExceeded)
    }

    @Test("keeps owners in an attribute where that is asked for, and the packer reads them")
    func recordedOwners() async throws {
        let folder = try TemporaryDirectory()
        var entry = TarSample.Entry.file("f", ByteBuffer(string: "x"))
        entry.attributes = ["user.a": "b"]
        let original = folder.path + "/original"
        let copy = folder.path + "/copy"
        try FileManager.default.createDirectory(atPath: original, withIntermediateDirectories: true)
        try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
        // Owners and modes that a caller without privileges cannot give.
        let fields = [
            TarFields(kind: .directory, path: Array("d".utf8), mode: 0o2755, userID: 12, groupID: 34, modified: 1),
            TarFields(kind: .file, path: Array("d/f".utf8), mode: 0o4711, userID: 56, groupID: 78, modified: 2),
        ]
        var tar = ByteBuffer()
        for field in fields { TarWriter.write(field, to: &tar) }
        tar.writeImmutableBuffer(TarWriter.end)
        var options = LayerUnpacker.Options()
        options.owners = .recorded
        let report = try await LayerUnpacker(options: options).apply(.chunks(tar), onto: copy)
        #expect(!report.keepsOwners)
        #expect(try DiskTree(copy).nodes["d/f"]?.status.permissions == 0o711)
        var packing = LayerPacker.Options()
        packing.owners = .recorded
        let packed = try await LayerPacker(.directory(copy), options: packing).diffID()
        #expect(packed.digest == Digest(of: tar.readableBytesView))
    }

    @Test("tells two spellings of one name apart by what is listed")
    func spellings() throws {
        let folder = try TemporaryDirectory()
        try Data().write(to: URL(filePath: folder.path + "/File"))
        let directory = try TreeDirectory(root: folder.path)
        try directory.checkListed(Array("File".utf8))
        let error = #expect(throws: CacheError.self) { try directory.checkListed(Array("file".utf8)) }
        #expect(error?.code == .unsupported)
    }

    @Test("reports progress, and ends with all entries")
    func progress() async throws {
        let folder = try TemporaryDirectory()
        let last = Mutex(FilesProgress())
        let tar = TarSample.tar((0..<10).map { .file("f\($0)", ByteBuffer(string: "x")) })
        let report = try await LayerUnpacker().apply(.chunks(tar), onto: folder.path) { state in
            last.withLock { $0 = state }
        }
        #expect(last.withLock { $0.entries } == 10)
        #expect(report.entries == 10)
    }

    @Test("removes trees that are deeper than descriptors last")
    func deepRemoval() async throws {
        let folder = try TemporaryDirectory()
        let path = (0..<700).map { _ in "d" }.joined(separator: "/")
        let deep = TarSample.tar([.directory(path + "/"), .file(path + "/f", ByteBuffer(string: "x"))])
        try await LayerUnpacker().apply(.chunks(deep), onto: folder.path)
        let removal = TarSample.tar([.file(".wh.d", ByteBuffer())])
        let report = try await LayerUnpacker().apply(.chunks(removal), onto: folder.path)
        #expect(report.removals == 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == [])
    }
}
