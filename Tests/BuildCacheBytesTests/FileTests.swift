import BuildCacheBytes
import BuildCacheCore
import Foundation
import NIOCore
import Testing

@Suite("A file")
struct FileTests {
    @Test("streams as it is, whole and in part", arguments: [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_500_000])
    func streams(_ size: Int) async throws {
        try await withDirectory { directory in
            let bytes = ByteBuffer.random(size)
            try Data(bytes.readableBytesView).write(to: URL(fileURLWithPath: "\(directory)/file"))
            let whole = try await BlobStream.file(at: "\(directory)/file")
            #expect(whole.length == Int64(size))
            #expect(try await whole.bytes() == bytes)
            #expect(try await whole.bytes() == bytes, "a second reader gets the same")
            for range in [0..<size, size / 3..<size, size / 3..<size / 2, size..<size] {
                let part = try await BlobStream.file(
                    at: "\(directory)/file", range: Int64(range.lowerBound)..<Int64(range.upperBound))
                #expect(try await part.bytes() == bytes.getSlice(at: range.lowerBound, length: range.count))
            }
        }
    }

    @Test("that is replaced while it is read is read as it was")
    func survivesReplacement() async throws {
        try await withDirectory { directory in
            let bytes = ByteBuffer.random(3 << 20)
            try Data(bytes.readableBytesView).write(to: URL(fileURLWithPath: "\(directory)/file"))
            let stream = try await BlobStream.file(at: "\(directory)/file")
            try FileManager.default.removeItem(atPath: "\(directory)/file")
            #expect(try await stream.bytes() == bytes)
        }
    }

    @Test("that is cut off while it is read is corrupted")
    func noticesTruncation() async throws {
        try await withDirectory { directory in
            try Data(count: 3 << 20).write(to: URL(fileURLWithPath: "\(directory)/file"))
            let stream = try await BlobStream.file(at: "\(directory)/file")
            try #require(truncate("\(directory)/file", 2_500_000) == 0)
            let error = await #expect(throws: CacheError.self) { _ = try await stream.bytes() }
            #expect(error?.code == .corrupted)
        }
    }

    @Test("that is not there, is a directory or a pipe, or too short for the range, is refused")
    func refuses() async throws {
        try await withDirectory { directory in
            try Data([1, 2, 3]).write(to: URL(fileURLWithPath: "\(directory)/file"))
            try #require(mkfifo("\(directory)/pipe", 0o600) == 0)
            let cases: [(String, Range<Int64>?, CacheError.Code)] = [
                ("nothing", nil, .notFound), ("file/below", nil, .notFound), (".", nil, .corrupted),
                ("pipe", nil, .corrupted),
                ("file", 0..<4, .corrupted), ("file", -1..<2, .corrupted),
            ]
            for (name, range, code) in cases {
                let error = await #expect(throws: CacheError.self) {
                    _ = try await BlobStream.file(at: "\(directory)/\(name)", range: range)
                }
                #expect(error?.code == code, "\(name)")
            }
        }
    }

    @Test("written atomically appears whole, or not at all")
    func writesAtomically() async throws {
        struct Stop: Error {}
        try await withDirectory { directory in
            try await writeAtomically(in: directory, synchronized: true) { file in
                try await file.write(ByteBuffer(string: "one "))
                try await file.write(ByteBuffer(string: "two"))
                #expect(!FileManager.default.fileExists(atPath: "\(directory)/name"))
                return ("\(directory)/name", ())
            }
            #expect(files(below: directory) == ["name"])
            #expect(FileManager.default.contents(atPath: "\(directory)/name") == Data("one two".utf8))
            await #expect(throws: Stop.self) {
                try await writeAtomically(in: directory, synchronized: false) { file -> (String, Void) in
                    try await file.write(ByteBuffer(string: "three"))
                    throw Stop()
                }
            }
            #expect(files(below: directory) == ["name"])
        }
    }

    @Test(
        "that the system refuses gives an error of the right kind",
        arguments: [
            (ENOENT, CacheError.Code.notFound), (EACCES, .denied), (EROFS, .denied), (ENOSPC, .storageFull),
            (EDQUOT, .storageFull),
            (EIO, .unavailable), (EMFILE, .unavailable), (EISDIR, .corrupted),
        ])
    func mapsErrors(_ code: Int32, _ expected: CacheError.Code) {
        let error = cacheError(errno: code, "open /somewhere")
        #expect(error.code == expected)
        #expect(error.message.hasPrefix("cannot open /somewhere: "))
        #expect(error.retry == (expected == .unavailable ? .worthwhile : .never))
    }
}
