import BuildCacheBytes
import BuildCacheCore
import NIOCore
import Testing

@Suite("A verified source")
struct VerifiedSourceTests {
    private let bytes = ByteBuffer.random(100_000)

    private func read(_ source: MemorySource, _ descriptor: Descriptor) async -> (received: Int, error: CacheError?) {
        var received = 0
        do {
            for try await chunk in try await VerifiedSource(source).open(descriptor, range: nil) {
                received += chunk.readableBytes
            }
            return (received, nil)
        } catch {
            return (received, error as? CacheError)
        }
    }

    @Test("hands out a blob that is what it should be", arguments: [1, 999, 50_000, 1 << 20])
    func passes(_ chunkSize: Int) async throws {
        let stream = try await VerifiedSource(MemorySource(bytes, chunkSize: chunkSize))
            .open(Descriptor(layer: bytes, .layer(.gzip)), range: nil)
        #expect(try await stream.bytes() == bytes)
    }

    @Test("holds back the last chunk of a blob with other bytes", arguments: [1000, 1 << 20])
    func withholds(_ chunkSize: Int) async {
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        var wrong = bytes
        wrong.setInteger(~(wrong.getInteger(at: 0) ?? UInt8(0)), at: 0)
        let (received, error) = await read(MemorySource(wrong, as: descriptor.digest, chunkSize: chunkSize), descriptor)
        #expect(error?.code == .corrupted)
        #expect(received == (bytes.readableBytes - 1) / chunkSize * chunkSize)
    }

    /// A stream of these chunks.
    private func stream(_ chunks: [ByteBuffer]) -> BlobStream {
        BlobStream(length: nil) {
            var rest = chunks[...]
            return { rest.popFirst() }
        }
    }

    @Test("holds the last bytes back until they proved right, however many empty chunks follow", arguments: [1, 3])
    func withholdsBeforeEmptyChunks(_ count: Int) async {
        let parts = [bytes.prefix(10), ByteBuffer(), bytes.dropFirst(10).flipping(20)]
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        var received = 0
        let error = await #expect(throws: CacheError.self) {
            let all = parts + [ByteBuffer](repeating: ByteBuffer(), count: count)
            for try await chunk in stream(all).verified(as: descriptor) { received += chunk.readableBytes }
        }
        #expect(error?.code == .corrupted)
        #expect(received == 10)
    }

    @Test("passes a blob of chunks some of which are empty")
    func passesEmptyChunks() async throws {
        let parts = [ByteBuffer(), bytes.prefix(10), ByteBuffer(), bytes.dropFirst(10), ByteBuffer()]
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        #expect(try await stream(parts).verified(as: descriptor).bytes() == bytes)
    }

    @Test("hands out a tar whose diffID is the one that its layer claims, and holds back the end of any other")
    func verifiesDiffID() async throws {
        let right = Descriptor(
            layer: .random(5), .layer(.gzip), annotations: [Annotation.uncompressed: "\(Digest(of: bytes))"])
        #expect(try await BlobStream.chunks(bytes, of: 1000).verified(diffIDOf: right).bytes() == bytes)
        var none = right
        for annotations in [[:], [Annotation.uncompressed: "md5:0"]] {
            none.annotations = annotations
            #expect(try await BlobStream.chunks(bytes, of: 1000).verified(diffIDOf: none).bytes() == bytes)
        }
        var wrong = right
        wrong.annotations[Annotation.uncompressed] = "\(Digest(of: "other".utf8))"
        var received = 0
        let error = await #expect(throws: CacheError.self) {
            for try await chunk in BlobStream.chunks(bytes, of: 1000).verified(diffIDOf: wrong) {
                received += chunk.readableBytes
            }
        }
        #expect(error?.code == .corrupted)
        #expect(error?.message.contains("\(Digest(of: bytes))") == true)
        #expect(received == 99_000)
    }

    @Test("refuses a blob that is too short, too long or empty", arguments: [0, 1, 99_999, 100_001])
    func refusesSizes(_ size: Int) async {
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        let other = (bytes + .zeros(1)).prefix(size)
        let (_, error) = await read(MemorySource(other, as: descriptor.digest, chunkSize: 1000), descriptor)
        #expect(error?.code == .corrupted)
        #expect(error?.message.contains("instead of 100000") == true || size > bytes.readableBytes)
    }

    @Test("stops an endless blob at once")
    func stopsEndless() async {
        let endless = BlobStream(length: nil) { { ByteBuffer(repeating: 0, count: 1000) } }
        let descriptor = Descriptor(layer: .random(3), .layer(.gzip))
        let error = await #expect(throws: CacheError.self) { _ = try await endless.verified(as: descriptor).bytes() }
        #expect(error?.code == .corrupted)
    }

    @Test("passes parts of a blob as they are")
    func passesRanges() async throws {
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        let stream = try await VerifiedSource(MemorySource(bytes)).open(descriptor, range: 10..<20)
        #expect(try await stream.bytes() == bytes.getSlice(at: 10, length: 10))
    }

    @Test("hands out an empty blob")
    func passesEmpty() async throws {
        let stream = try await VerifiedSource(MemorySource(.zeros(0))).open(
            Descriptor(layer: .zeros(0), .layer(.gzip)), range: nil)
        #expect(try await stream.bytes().readableBytes == 0)
    }
}
