import BuildCacheBytes
import BuildCacheCore
import BuildCacheClient
import Foundation
import NIOCore
import Synchronization
import Testing

@Suite("A blob of a layout")
struct LayoutBlobTests {
    private let scratch: Scratch
    private let layout: OCILayout

    init() throws {
        scratch = try Scratch()
        layout = OCILayout(path: scratch.layout)
    }

    @Test("reads back whole and in part, however its source cuts it", arguments: [1, 999, 1 << 20, 3 << 20])
    func roundTrip(chunkSize: Int) async throws {
        let bytes = (0..<(chunkSize == 1 ? 3000 : 2_500_000)).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let blob = Descriptor(of: bytes)
        #expect(try await layout.put(blob, from: MemorySource([bytes], chunkSize: chunkSize)) == .written)
        #expect(try await layout.open(blob, range: nil).collected() == bytes)
        #expect(try await layout.open(blob, range: 1000..<2999).collected() == Array(bytes[1000..<2999]))
        #expect(try await layout.open(blob, range: 5..<5).collected() == [])
        #expect(try await layout.stat(blob.digest)?.size == Int64(bytes.count))
    }

    @Test("may be empty")
    func empty() async throws {
        #expect(try await layout.put(Descriptor(of: []), from: MemorySource([[]])) == .written)
        #expect(try await layout.open(Descriptor(of: []), range: nil).collected() == [])
    }

    @Test("is a read-only file under its digest, and nothing else stays")
    func fileOnDisk() async throws {
        let bytes = Array("layer".utf8)
        try await layout.put(Descriptor(of: bytes), from: MemorySource([bytes]))
        let file = "layout/blobs/sha256/" + Digest(of: bytes).hex
        #expect(scratch.bytes(of: file) == bytes)
        let attributes = try FileManager.default.attributesOfItem(atPath: scratch.path + "/" + file)
        #expect((attributes[.posixPermissions] as? Int ?? 0) & 0o333 == 0)
        #expect(scratch.names(in: "layout/ingest") == [])
    }

    @Test("that is there is not read from its source again")
    func alreadyPresent() async throws {
        let bytes = Array("layer".utf8)
        try await layout.put(Descriptor(of: bytes), from: MemorySource([bytes]))
        let source = MemorySource([bytes])
        #expect(try await layout.put(Descriptor(of: bytes), from: source) == .alreadyPresent)
        #expect(source.opened == 0)
    }

    @Test("of the wrong size is an error to readers and replaced by the next put")
    func wrongSize() async throws {
        let bytes = Array("layer".utf8)
        let blob = Descriptor(of: bytes)
        try scratch.write("lay", to: "layout/blobs/sha256/" + blob.digest.hex)
        let error = await #expect(throws: CacheError.self) { _ = try await layout.open(blob, range: nil) }
        #expect(error?.code == .corrupted)
        #expect(try await layout.put(blob, from: MemorySource([bytes])) == .written)
        #expect(try await layout.open(blob, range: nil).collected() == bytes)
    }

    @Test("is refused when the source gives other bytes", arguments: ["laye", "layer and more", "LAYER"])
    func otherBytes(given: String) async throws {
        let blob = Descriptor(of: Array("layer".utf8))
        let error = await #expect(throws: CacheError.self) {
            try await layout.put(blob, from: FixedSource(stream: BlobStream(ByteBuffer(string: given))))
        }
        #expect(error?.code == .corrupted)
        #expect(try await layout.stat(blob.digest) == nil)
        #expect(scratch.names(in: "layout/ingest") == [])
    }

    @Test("from a source that gives too much stops at the size it should have")
    func excessiveSource() async throws {
        let pulled = Mutex(0)
        // Not endless, or the bug this test looks for would fill the disk.
        let excessive = BlobStream(length: nil) {
            {
                let count = pulled.withLock { count in
                    count += 1
                    return count
                }
                return count > 64 ? nil : ByteBuffer(repeating: 0, count: 1 << 20)
            }
        }
        let blob = Descriptor(mediaType: "", digest: Digest(of: []), size: 4 << 20)
        await #expect(throws: CacheError.self) { try await layout.put(blob, from: FixedSource(stream: excessive)) }
        #expect(pulled.withLock { $0 } < 8)
    }

    @Test("leaves nothing behind when its source fails or the task is cancelled")
    func cancellation() async throws {
        let blob = Descriptor(mediaType: "", digest: Digest(of: []), size: 100 << 20)
        let layout = layout
        let begun = AsyncStream<Void>.makeStream()
        let task = Task {
            let slow = BlobStream(length: nil) {
                var first = true
                return {
                    if first {
                        first = false
                        return ByteBuffer(repeating: 0, count: 1 << 20)
                    }
                    begun.continuation.finish()
                    // Ends with the cancellation of this task and not otherwise.
                    for await _ in AsyncStream<Never>.makeStream().stream {}
                    try Task.checkCancellation()
                    return nil
                }
            }
            try await layout.put(blob, from: FixedSource(stream: slow))
        }
        for await _ in begun.stream {}
        #expect(scratch.names(in: "layout/ingest").count == 1)
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(scratch.names(in: "layout/ingest") == [])
    }

    @Test("can be read to its end after somebody removed it")
    func removedWhileRead() async throws {
        let bytes = [UInt8](repeating: 7, count: 3 << 20)
        let blob = Descriptor(of: bytes)
        try await layout.put(blob, from: MemorySource([bytes]))
        var chunks = try await layout.open(blob, range: nil).makeAsyncIterator()
        var count = try await chunks.next()?.readableBytes ?? 0
        try scratch.remove("layout/blobs")
        while let chunk = try await chunks.next() { count += chunk.readableBytes }
        #expect(count == bytes.count)
    }

    @Test("that is not there is nil to stat and .notFound to open")
    func absent() async throws {
        let blob = Descriptor(of: [1])
        #expect(try await layout.stat(blob.digest) == nil)
        let error = await #expect(throws: CacheError.self) { _ = try await layout.open(blob, range: nil) }
        #expect(error?.code == .notFound)
        #expect(!FileManager.default.fileExists(atPath: scratch.layout))
    }

    @Test("has no bytes beyond its end")
    func rangeBeyondEnd() async throws {
        try await layout.put(Descriptor(of: [1, 2]), from: MemorySource([[1, 2]]))
        let error = await #expect(throws: CacheError.self) {
            _ = try await layout.open(Descriptor(of: [1, 2]), range: 1..<3)
        }
        #expect(error?.code == .corrupted)
    }
}
