import BuildCacheCore
import Foundation
import NIOCore
import TestTools
import Testing

@testable import BuildCacheBytes

@Suite("A packer")
struct PackTests {
    private func code(_ body: () async throws -> Void) async -> CacheError.Code? {
        do {
            try await body()
            return nil
        } catch { return (error as? CacheError)?.code }
    }

    private func write(_ text: String, _ path: String) throws { try Data(text.utf8).write(to: URL(filePath: path)) }

    @Test("unpacks to the same tree that it packed, large files, holes and deep directories included")
    func roundTrip() async throws {
        let folder = try TemporaryDirectory()
        let tree = folder.path + "/tree"
        let deep = tree + "/" + (0..<90).map { "d\($0)" }.joined(separator: "/")
        try FileManager.default.createDirectory(atPath: deep, withIntermediateDirectories: true)
        try write("deep", deep + "/f")
        try Data(repeating: 7, count: 3 << 20).write(to: URL(filePath: tree + "/large"))
        try write("behind the deep one", tree + "/z")
        let hole = open(tree + "/hole", O_WRONLY | O_CREAT, 0o600)
        #expect(pwrite(hole, "x", 1, 2_500_000) == 1)
        #expect(ftruncate(hole, 5_000_001) == 0)
        close(hole)
        let packer = LayerPacker(.directory(tree))
        var tar = ByteBuffer()
        let layer = try await packer.pack { tar.writeImmutableBuffer($0) }
        #expect(layer.size == Int64(tar.readableBytes))
        let copy = folder.path + "/copy"
        try await LayerUnpacker().unpack([BlobStream(tar)], to: copy)
        #expect(try await LayerPacker(.directory(copy)).diffID() == layer.diffID)
        #expect(try Data(contentsOf: URL(filePath: copy + "/hole")) == Data(contentsOf: URL(filePath: tree + "/hole")))
    }

    @Test("notices a tree that changed after it was packed the first time")
    func changedTree() async throws {
        let folder = try TemporaryDirectory()
        try write("1", folder.path + "/f")
        let layer = PendingLayer(name: "step", packing: LayerPacker(.directory(folder.path)))
        let first = try await layer.openTar().value()
        #expect(try await layer.openTar().value() == first)
        try write("22", folder.path + "/f")
        #expect(await code { _ = try await layer.openTar().value() } == .corrupted)
    }

    @Test("takes a file that changes while it is packed for busy, unless that is tolerated")
    func changingFile() async throws {
        let folder = try TemporaryDirectory()
        let path = folder.path + "/f"
        try Data(repeating: 1, count: 4 << 20).write(to: URL(filePath: path))
        for tolerates in [false, true] {
            try Data(repeating: 1, count: 4 << 20).write(to: URL(filePath: path))
            var options = LayerPacker.Options()
            options.toleratesChanges = tolerates
            var size = 0
            var report: PackedLayer?
            let code = await code {
                report = try await LayerPacker(.directory(folder.path), options: options).pack { chunk in
                    // The first chunk has come: the others are read later.
                    if size == 0 { #expect(truncate(path, 1 << 20) == 0) }
                    size += chunk.readableBytes
                }
            }
            #expect(code == (tolerates ? nil : .busy))
            if tolerates {
                #expect(size == (4 << 20) + 1536)
                #expect(report?.skipped.map(\.path) == ["f"])
            }
        }
    }

    @Test("refuses names that mean removals, and leaves out sockets and what the options say")
    func names() async throws {
        let folder = try TemporaryDirectory()
        let packer = LayerPacker(.directory(folder.path))
        try write("", folder.path + "/.wh.x")
        #expect(await code { _ = try await packer.diffID() } == .invalidSpec)
        try FileManager.default.removeItem(atPath: folder.path + "/.wh.x")
        #expect(mkfifo(folder.path + "/fifo", 0o600) == 0)
        #expect(mknod(folder.path + "/socket", mode_t(FileStatus.TypeBits.socket), 0) == 0)
        #expect(try await packer.pack { _ in }.skipped.map(\.path) == ["socket"])
        var options = LayerPacker.Options()
        options.specialFiles = .leftOut
        let layer = try await LayerPacker(.directory(folder.path), options: options).pack { _ in }
        #expect(layer.skipped.map(\.what) == ["FIFO", "socket"] && layer.entries == 0)
        options.specialFiles = .refused
        #expect(
            await code { _ = try await LayerPacker(.directory(folder.path), options: options).diffID() } == .unsupported
        )
        #expect(await code { _ = try await LayerPacker(.directory(folder.path + "/none")).open() } == .notFound)
    }

    @Test("compares contents as often as it is asked to")
    func comparison() async throws {
        let folder = try TemporaryDirectory()
        for (side, text) in [("new", "B"), ("old", "A")] {
            let path = "\(folder.path)/\(side)"
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            for (name, nanoseconds) in [("whole", 0), ("fraction", 5)] {
                try write(text, "\(path)/\(name)")
                let time = timespec(tv_sec: 1_700_000_000, tv_nsec: nanoseconds)
                #expect(utimensat(AT_FDCWD, "\(path)/\(name)", [time, time], 0) == 0)
            }
        }
        let expected: [(LayerPacker.ContentComparison, [String])] = [
            (.asBuildKit, ["whole"]), (.always, ["fraction", "whole"]), (.never, []),
        ]
        for (contents, names) in expected {
            var options = LayerPacker.Options()
            options.contents = contents
            let tree = LayerPacker.Tree.difference(of: folder.path + "/new", from: folder.path + "/old")
            var changed: [String] = []
            for try await change in TreeDifference(tree, options: options) { changed.append(change.path) }
            #expect(changed == names)
        }
    }

    @Test("writes the directory above a link that a new name brings along")
    func parentsOfLinks() async throws {
        let folder = try TemporaryDirectory()
        for side in ["new", "old"] {
            for name in ["a", "b"] {
                try FileManager.default.createDirectory(
                    atPath: "\(folder.path)/\(side)/\(name)", withIntermediateDirectories: true)
            }
            try write("x", "\(folder.path)/\(side)/a/x")
        }
        let time = timespec(tv_sec: 1_700_000_000, tv_nsec: 0)
        for side in ["new", "old"] { #expect(utimensat(AT_FDCWD, "\(folder.path)/\(side)/a/x", [time, time], 0) == 0) }
        #expect(link("\(folder.path)/new/a/x", "\(folder.path)/new/b/y") == 0)
        // The names are unchanged in the base but for the second.
        #expect(link("\(folder.path)/old/a/x", "\(folder.path)/old/a/z") == 0)
        var tar = ByteBuffer()
        let tree = LayerPacker.Tree.difference(of: folder.path + "/new", from: folder.path + "/old")
        try await LayerPacker(tree).pack { tar.writeImmutableBuffer($0) }
        var feed = TarFeed()
        var names: [String] = []
        while let event = try feed.next(&tar) {
            if case .entry(let entry) = event { names.append(String(decoding: entry.name, as: UTF8.self)) }
        }
        #expect(names == ["a/", "a/.wh.z", "b/", "b/y", "a/x"])
    }
}
