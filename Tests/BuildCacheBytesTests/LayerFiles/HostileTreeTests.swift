import BuildCacheCore
import CFiles
import Foundation
import NIOCore
import Synchronization
import TestTools
import Testing

@testable import BuildCacheBytes

@Suite("Unpacking while another process changes the tree")
struct HostileTreeTests {
    /// Goes on until the other side is done.
    private final class Flag: Sendable {
        private let value = Atomic(false)
        var isSet: Bool { value.load(ordering: .relaxed) }
        func set() { value.store(true, ordering: .relaxed) }
    }

    @Test("writes nothing outside when directories are swapped for links all the time", arguments: [1, 8])
    func swappedDirectories(_ workers: Int) async throws {
        let outside = try Outside()
        let root = outside.directory
        for path in ["d", "d/e", "links"] {
            try FileManager.default.createDirectory(atPath: "\(root)/\(path)", withIntermediateDirectories: true)
        }
        // One is a directory and the other a link outside, and they change places all the time.
        let parent = (root as NSString).deletingLastPathComponent
        let link = "\(root)/links/up"
        #expect(symlink((parent as NSString).deletingLastPathComponent + "/outside", link) == 0)
        let flag = Flag()
        // A thread of its own: a task would keep one of the few threads of all tasks.
        let swaps = AsyncStream.makeStream(of: Int.self)
        Thread.detachNewThread {
            var count = 0
            while !flag.isSet {
                for path in ["d", "d/e"]
                where files_rename_exchange(AT_FDCWD, "\(root)/\(path)", AT_FDCWD, link) == 0 {
                    count += 1
                    // The layer may have put something there since; whatever it is, it changes places again.
                    _ = files_rename_exchange(AT_FDCWD, "\(root)/\(path)", AT_FDCWD, link)
                }
            }
            swaps.continuation.yield(count)
            swaps.continuation.finish()
        }
        let tar = Self.layer()
        for _ in 0..<40 {
            var options = LayerUnpacker.Options()
            options.workers = workers
            do {
                _ = try await LayerUnpacker(options: options).apply(.chunks(tar, of: 64 << 10), onto: root)
            } catch is CacheError {
                // The tree is not what it was a moment ago: refusing it is right.
            }
        }
        flag.set()
        var count = 0
        for await total in swaps.stream { count = total }
        #expect(count > 100)
        try outside.expectUnchanged()
    }

    /// Everything that a layer can do in two directories.
    private static func layer() -> ByteBuffer {
        var entries: [TarSample.Entry] = []
        for index in 0..<40 {
            entries += [
                .directory("d/"), .file("d/f\(index)", ByteBuffer(string: "x")), .directory("d/e/"),
                .file("d/e/g\(index)", ByteBuffer(repeating: 0x61, count: 3000)),
                .symbolicLink("d/e/l\(index)", "/"), .hardLink("d/h\(index)", "d/e/g\(index)"),
                .file("d/e/.wh.f", ByteBuffer()), .file("d/.wh.outside", ByteBuffer()),
                .file("d/e/f", ByteBuffer(string: "evil")), .file("d/e/.wh..wh..opq", ByteBuffer()),
            ]
        }
        return TarSample.tar(entries)
    }
}

@Suite("An unpacking that is killed")
struct KilledUnpackTests {
    @Test("leaves a whole tree or none, and nothing behind for long")
    func killed() async throws {
        let folder = try TemporaryDirectory()
        var entries: [TarSample.Entry] = []
        for index in 0..<400 {
            entries.append(.file("d\(index % 20)/f\(index)", ByteBuffer(repeating: 1, count: 2000)))
        }
        let tar = TarSample.tar(entries)
        let file = folder.path + "/layer.tar"
        try Data(tar.readableBytesView).write(to: URL(filePath: file))
        let target = folder.path + "/tree"
        var generator = SeededGenerator(seed: 14)
        for _ in 0..<25 {
            // The process ends itself when it has read this many bytes; behind the end it lives.
            let bytes = Int.random(in: 1...tar.readableBytes * 11 / 10, using: &generator)
            do {
                _ = try await Tool.built("LayerProbe").output("unpack", "0", "4", "kill=\(bytes)", target, file)
                #expect(bytes > tar.readableBytes)
                #expect(try DiskTree(target).nodes.count == 421)
                try FileManager.default.removeItem(atPath: target)
            } catch let failure as ToolFailure {
                #expect(failure.end == .killed(SIGKILL))
                #expect(!FileManager.default.fileExists(atPath: target))
            }
        }
        _ = try await Tool.built("LayerProbe").output("unpack", "0", "4", "default", target, file)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["layer.tar", "tree"])
    }
}
