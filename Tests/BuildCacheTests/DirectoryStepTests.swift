import BuildCache
import Foundation
import TestTools
import Testing

@Suite("A step with directories")
struct DirectoryStepTests {
    private let directory: TemporaryDirectory
    private let files = FileManager.default

    init() throws {
        directory = try TemporaryDirectory()
        try write("one", to: "src/a.txt")
        try write("two", to: "src/below/b.txt")
    }

    private func path(_ name: String) -> String { directory.path + "/" + name }

    private func write(_ text: String, to name: String) throws {
        let url = URL(fileURLWithPath: path(name))
        try files.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try text.write(to: url, atomically: true, encoding: .utf8)
    }

    private func read(_ name: String) throws -> String { try String(contentsOfFile: path(name), encoding: .utf8) }

    /// Copies `src` in one step, and adds a file in another; `end` runs before the export.
    @discardableResult
    private func build(
        ignore: IgnorePatterns = .none, then end: (CacheSession, [CachedStep]) async throws -> Void = { _, _ in }
    ) async throws -> [Bool] {
        try await withSession(
            from: ["type=local,src=\(path("cache"))"], to: ["type=local,dest=\(path("cache")),mode=max"]
        ) { session in
            let copy = try await session.step("copy", inputs: [.directory(path("src"), ignore: ignore)]) {
                try? files.removeItem(atPath: path("copy"))
                try files.copyItem(atPath: path("src"), toPath: path("copy"))
                return [try await .directory(path("copy"))]
            }
            let make = try await session.step("make", inputs: [.step(copy)]) {
                try write("made", to: "out/made.txt")
                return copy.layers + [try await .directory(path("out"))]
            }
            try await end(session, [copy, make])
            return [copy.isCached, make.isCached]
        }
    }

    @Test("is a hit for files of the same names and contents, whenever and wherever they were written")
    func hits() async throws {
        #expect(try await build() == [false, false])
        try files.setAttributes([.modificationDate: Date(timeIntervalSince1970: 7)], ofItemAtPath: path("src/a.txt"))
        try files.moveItem(atPath: path("src"), toPath: path("moved"))
        try files.copyItem(atPath: path("moved"), toPath: path("src"))
        let hits = try await build { session, steps in
            let report = try await session.unpack(steps[1], to: path("tree"))
            #expect(report.entries >= 4 && report.skipped == [])
        }
        #expect(hits == [true, true])
        #expect(try read("tree/a.txt") == "one")
        #expect(try read("tree/below/b.txt") == "two")
        #expect(try read("tree/made.txt") == "made")
    }

    @Test("is a miss for a file that was changed, added or renamed, and a hit for one that the step ignores")
    func misses() async throws {
        let ignore = try IgnorePatterns(parsing: "*.log\n")
        #expect(try await build(ignore: ignore) == [false, false])
        try write("noise", to: "src/x.log")
        #expect(try await build(ignore: ignore) == [true, true])
        try write("three", to: "src/a.txt")
        #expect(try await build(ignore: ignore)[0] == false)
        try files.moveItem(atPath: path("src/a.txt"), toPath: path("src/c.txt"))
        #expect(try await build(ignore: ignore)[0] == false)
    }

    @Test("can be unpacked before it was exported, over a directory that is replaced in one step")
    func unpacksPending() async throws {
        try write("old", to: "tree/old.txt")
        try await build { session, steps in
            let error = await #expect(throws: CacheError.self) { try await session.unpack(steps[1], to: path("tree")) }
            #expect(error?.code == .occupied)
            try await session.unpack(steps[1], to: path("tree"), replacing: true)
        }
        #expect(try read("tree/made.txt") == "made")
        #expect(!files.fileExists(atPath: path("tree/old.txt")))
    }

    @Test("whose directory changes before the export leaves its result out, and is never a hit with the other content")
    func changedTree() async throws {
        try await build { _, _ in try write("of a later step", to: "out/made.txt") }
        let hits = try await build { session, steps in try await session.unpack(steps[1], to: path("tree")) }
        #expect(hits == [true, false])
        #expect(try read("tree/made.txt") == "made")
    }

    @Test("takes a packer's difference as its result, on the layers that it started from")
    func difference() async throws {
        func session(_ body: (CacheSession) async throws -> Void) async throws {
            try await withSession(
                from: ["type=local,src=\(path("cache"))"], to: ["type=local,dest=\(path("cache")),mode=max"], body)
        }
        try write("one", to: "after/a.txt")
        try write("new", to: "after/new.txt")
        func record(_ session: CacheSession) throws -> RecordID {
            let source = try session.record(.record(content: Digest(of: "source".utf8)))
            return try session.record(
                .record(operation: Digest(of: "change".utf8), output: 0), inputs: [[Link(source)]])
        }
        try await session { session in
            let layers = try await session.addResult(
                packing: LayerPacker(.difference(of: path("after"), from: path("src"))),
                on: [try await .directory(path("src"))], to: try record(session))
            #expect(layers.count == 2)
        }
        try await session { session in
            let hit = try #require(try await session.fetch(try record(session)))
            try await session.unpack(hit, to: path("tree"))
        }
        #expect(try files.subpathsOfDirectory(atPath: path("tree")).sorted() == ["a.txt", "new.txt"])
    }
}
