import BuildCacheCore
import Foundation
import TestTools
import Testing

@testable import BuildCacheKeys

@Suite("A scan of a directory")
struct DirectoryScanTests {
    /// A directory that is removed in the end.
    private static func withFolder(_ body: (URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "scan-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        do { try await body(folder) } catch {
            try FileManager.default.removeItem(at: folder)
            throw error
        }
        try FileManager.default.removeItem(at: folder)
    }

    private static func write(_ text: String, to path: String, in folder: URL) throws {
        let file = folder.appending(path: path)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }

    @Test("makes the tree that its files make one by one")
    func tree() async throws {
        try await Self.withFolder { folder in
            var builder = ContentTreeBuilder(.localContext)
            // More names than one job takes.
            for number in 0..<700 {
                try Self.write("\(number)", to: "many/\(number)", in: folder)
                try builder.add(Array("many/\(number)".utf8), FileMetadata(), data: Array("\(number)".utf8))
            }
            try Self.write("x", to: "a/b/c", in: folder)
            try builder.add(Array("a/b/c".utf8), FileMetadata(), data: Array("x".utf8))
            let link = folder.appending(path: "a/link").path
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "b/c")
            try builder.add(Array("a/link".utf8), FileMetadata(.symlink(Array("b/c".utf8))))
            let mode = [FileAttributeKey.posixPermissions: 0o4751]
            try FileManager.default.setAttributes(mode, ofItemAtPath: folder.appending(path: "a/b/c").path)
            try builder.add(Array("a/b/c".utf8), FileMetadata(permissions: 0o4751), data: Array("x".utf8))
            let scan = try await DirectoryScan(folder.path)
            let expected = builder.finish()
            #expect(scan.tree.count == expected.count)
            #expect(scan.hashedFiles == 701)
            #expect(try scan.tree.digest(of: .everything) == expected.digest(of: .everything))
        }
    }

    @Test("reads only the files that changed since the last one")
    func incremental() async throws {
        try await Self.withFolder { folder in
            for name in ["a", "b", "c/d"] { try Self.write(name, to: name, in: folder) }
            // Long after the files were written, as far as the clock goes.
            let later = Int64(Date().timeIntervalSince1970) + 100
            let first = try await DirectoryScan(folder.path, now: later)
            #expect(first.hashedFiles == 3)
            #expect(first.index.count == 3)
            let second = try await DirectoryScan(folder.path, previous: first.index, now: later)
            #expect(second.hashedFiles == 0)
            #expect(try second.tree.digest(of: .everything) == first.tree.digest(of: .everything))
            // Of the same size, and with the same time of its content.
            let path = folder.appending(path: "c/d").path
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            try Self.write("d/c", to: "c/d", in: folder)
            let date = try #require(attributes[.modificationDate] as? Date)
            try FileManager.default.setAttributes([.modificationDate: date], ofItemAtPath: path)
            let third = try await DirectoryScan(folder.path, previous: second.index, now: later)
            #expect(third.hashedFiles == 1)
            let whole = try await DirectoryScan(folder.path)
            #expect(try third.tree.digest(of: .everything) == whole.tree.digest(of: .everything))
            #expect(try third.tree.digest(of: .everything) != first.tree.digest(of: .everything))
        }
    }

    @Test("has an index that can be kept, and that is refused if a byte of it is another")
    func keptIndex() async throws {
        try await Self.withFolder { folder in
            for name in ["a", "b", "c/d"] { try Self.write(name, to: name, in: folder) }
            let later = Int64(Date().timeIntervalSince1970) + 100
            let scan = try await DirectoryScan(folder.path, now: later)
            var bytes = scan.index.encoded()
            let index = try DirectoryIndex(decoding: bytes)
            #expect(index.directories == scan.index.directories)
            #expect(try await DirectoryScan(folder.path, previous: index, now: later).hashedFiles == 0)
            // With owners the digests are others.
            let owned = try await DirectoryScan(folder.path, previous: index, origin: .layers, now: later)
            #expect(owned.hashedFiles == 3)
            for place in [0, bytes.count / 2, bytes.count - 1] {
                bytes[place] ^= 1
                #expect(throws: CacheError.self) { try DirectoryIndex(decoding: bytes) }
                bytes[place] ^= 1
            }
            for count in [0, 10, 31, 40] {
                #expect(throws: CacheError.self) { try DirectoryIndex(decoding: Array(bytes.prefix(count))) }
            }
        }
    }

    @Test("does not trust a file that changed within a tick of the clock")
    func tick() async throws {
        try await Self.withFolder { folder in
            try Self.write("a", to: "a", in: folder)
            let scan = try await DirectoryScan(folder.path, now: Int64(Date().timeIntervalSince1970))
            #expect(scan.index.count == 0)
        }
    }

    @Test("leaves out what is ignored, and keeps a directory if anything in it stays")
    func ignored() async throws {
        try await Self.withFolder { folder in
            for name in ["keep", "drop/a", "part/a", "part/b", "x.log"] {
                try Self.write(name, to: name, in: folder)
            }
            try Self.write("drop\npart\n!part/b\n*.log\n.dockerignore\n", to: ".dockerignore", in: folder)
            let patterns = try #require(try DirectoryScan.ignorePatterns(inContext: folder.path))
            let scan = try await DirectoryScan(folder.path, ignoring: patterns)
            var builder = ContentTreeBuilder(.localContext)
            for name in ["keep", "part/b"] {
                try builder.add(Array(name.utf8), FileMetadata(), data: Array(name.utf8))
            }
            #expect(try scan.tree.digest(of: .everything) == builder.finish().digest(of: .everything))
            // A file of the Dockerfile's own name counts instead.
            try Self.write("keep\n", to: "Other.dockerignore", in: folder)
            let other = try #require(
                try DirectoryScan.ignorePatterns(inContext: folder.path, dockerfile: "Other"))
            #expect(other.matches(Array("keep".utf8)))
            let none = try DirectoryScan.ignorePatterns(inContext: folder.appending(path: "part").path)
            #expect(none == nil)
        }
    }

    @Test("counts extended attributes of files and directories")
    func attributes() async throws {
        try await Self.withFolder { folder in
            try Self.write("x", to: "d/f", in: folder)
            for path in ["d", "d/f"] {
                let script = "import os, sys; os.setxattr(sys.argv[1], 'user.k', sys.argv[2].encode())"
                do { _ = try await Tool.python.output("-c", script, folder.appending(path: path).path, path) } catch {
                    print("left out: this file system or Python has no attributes")
                    return
                }
            }
            var builder = ContentTreeBuilder(.localContext)
            var metadata = FileMetadata(.directory, permissions: 0o755)
            metadata.attributes = [Array("user.k".utf8): Array("d".utf8)]
            try builder.add(Array("d".utf8), metadata)
            metadata = FileMetadata()
            metadata.attributes = [Array("user.k".utf8): Array("d/f".utf8)]
            try builder.add(Array("d/f".utf8), metadata, data: Array("x".utf8))
            let scan = try await DirectoryScan(folder.path)
            #expect(try scan.tree.digest(of: .everything) == builder.finish().digest(of: .everything))
        }
    }

    @Test("of a directory that does not exist is an error")
    func missing() async throws {
        let error = await #expect(throws: CacheError.self) { try await DirectoryScan("/does/not/exist") }
        #expect(error?.code == .notFound)
    }

    @Test("of an empty directory has a root of its own")
    func empty() async throws {
        try await Self.withFolder { folder in
            let scan = try await DirectoryScan(folder.path)
            let root = Digest(
                of: Array("\0".utf8) + Array("\(FileMetadata(.directory, permissions: 0o755).digest())".utf8))
            #expect(try scan.tree.digest(of: .everything) == root)
        }
    }
}
