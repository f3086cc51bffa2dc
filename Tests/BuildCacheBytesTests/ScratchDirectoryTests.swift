import BuildCacheBytes
import BuildCacheCore
import Foundation
import TestTools
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

@Suite("The directory of a scratch store")
struct ScratchDirectoryTests {
    private let parent: TemporaryDirectory

    init() throws { parent = try TemporaryDirectory() }

    /// Makes the directory of a store as another process leaves it, with a layer in it.
    private func makeStore(_ name: String) throws -> String {
        let directory = "\(parent.path)/\(name)"
        try FileManager.default.createDirectory(
            atPath: "\(directory)/blobs/sha256", withIntermediateDirectories: true)
        try Data("layer".utf8).write(to: URL(filePath: "\(directory)/blobs/sha256/abc"))
        try Data().write(to: URL(filePath: "\(directory)/lock"))
        return directory
    }

    private func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    @Test("is refused if others can write to it, since notes in it decide what is exported", arguments: [0o777, 0o770])
    func isOwn(_ permissions: Int) async throws {
        let directory = "\(parent.path)/scratch"
        _ = try await ScratchStore.open(at: directory)
        let made = try FileManager.default.attributesOfItem(atPath: directory)[.posixPermissions] as? Int
        #expect(made == 0o700)
        try FileManager.default.setAttributes([.posixPermissions: permissions], ofItemAtPath: directory)
        let error = await #expect(throws: CacheError.self) { try await ScratchStore.open(at: directory) }
        #expect(error?.code == .denied)
        #expect(error?.message.contains(directory) == true)
    }

    @Test("of a process that was killed is removed by the next, and that of one that runs is not")
    func isSwept() async throws {
        let abandoned = try makeStore("build-cache-abandoned")
        let running = try makeStore("build-cache-running")
        let foreign = try makeStore("something-else")
        let lock = open("\(running)/lock", O_RDWR | O_CLOEXEC)
        try #require(lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0)
        defer { close(lock) }
        try await ScratchStore.withTemporary(in: parent.path) { store in
            #expect(!exists(abandoned))
            #expect(exists("\(running)/blobs/sha256/abc"))
            #expect(exists("\(foreign)/blobs/sha256/abc"))
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: parent.path).count == 2)
    }

    @Test("that holds files of others loses only what a store made")
    func keepsOthers() async throws {
        let abandoned = try makeStore("build-cache-abandoned")
        try Data().write(to: URL(filePath: "\(abandoned)/notes.txt"))
        try await ScratchStore.withTemporary(in: parent.path) { _ in () }
        #expect(try FileManager.default.contentsOfDirectory(atPath: abandoned) == ["notes.txt"])
    }
}
