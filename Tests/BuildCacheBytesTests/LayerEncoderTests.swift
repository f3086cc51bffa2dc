import BuildCacheBytes
import BuildCacheCore
import NIOCore
import TestTools
import Testing

@Suite("The layer encoder")
struct LayerEncoderTests {
    static let sizes = [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_333_333]
    static let types = [Compression.uncompressed, .gzip, .zstd]

    private func decode(_ bytes: ByteBuffer, _ type: Compression) async throws -> ByteBuffer {
        try await LayerDecoder().decode(.chunks(bytes), mediaType: .layer(type)).bytes()
    }

    @Test("writes what decodes to the same bytes, and names both", arguments: types, sizes)
    func roundTrips(_ type: Compression, _ size: Int) async throws {
        for tar in [ByteBuffer.random(size), .text(size)] {
            let (stored, layer) = try await LayerEncoder(CompressionOptions(type: type)).encode(tar)
            #expect(layer.stored == StreamDigest.Value(digest: Digest(of: stored), size: Int64(stored.readableBytes)))
            #expect(layer.uncompressed == StreamDigest.Value(digest: Digest(of: tar), size: Int64(size)))
            #expect(layer.tar == layer.uncompressed)
            #expect(try await decode(stored, type) == tar)
        }
    }

    @Test("makes 64 MiB of zeros small and gives them back", arguments: [Compression.gzip, .zstd])
    func zeros(_ type: Compression) async throws {
        let zeros = BlobStream(length: nil) {
            var left = 64
            return {
                left -= 1
                return left >= 0 ? ByteBuffer(repeating: 0, count: 1 << 20) : nil
            }
        }
        var stored = ByteBuffer()
        let layer = try await LayerEncoder(CompressionOptions(type: type)).encode(zeros) { chunk in
            stored.writeImmutableBuffer(chunk)
        }
        #expect(stored.readableBytes < 128 << 10)
        #expect(layer.uncompressed.size == 64 << 20)
        let decoded = try await LayerDecoder().decode(BlobStream(stored), mediaType: .layer(type)).value()
        #expect(decoded == layer.uncompressed)
    }

    @Test("writes gzip that other programs read, at every level", arguments: -2...9)
    func gzipLevels(_ level: Int) async throws {
        let tar = ByteBuffer.text(2_500_000)
        let (stored, _) = try await LayerEncoder(CompressionOptions(type: .gzip, level: level)).encode(tar)
        #expect(try await decode(stored, .gzip) == tar)
        // As Go writes it: deflate, no flags, no time, 2 for the best and 4 for the fastest level, unknown system.
        #expect(
            stored.readableBytesView.prefix(10) == [
                0x1F, 0x8B, 8, 0, 0, 0, 0, 0, level == 9 ? 2 : level == 1 ? 4 : 0, 0xFF,
            ])
        _ = try await Tool.gzip.output("-t", input: Array(buffer: stored))
        #expect(try await Tool.gzip.output("-dc", input: Array(buffer: stored)) == Array(buffer: tar))
        let python = "import gzip,sys;sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))"
        #expect(try await Tool.python.output("-c", python, input: Array(buffer: stored)) == Array(buffer: tar))
    }

    @Test("writes zstd that other programs read, at every kind of level", arguments: [nil, -5, 0, 1, 2, 3, 9, 19, 22])
    func zstdLevels(_ level: Int?) async throws {
        let tar = ByteBuffer.text(2_500_000)
        let (stored, _) = try await LayerEncoder(CompressionOptions(type: .zstd, level: level)).encode(tar)
        #expect(try await decode(stored, .zstd) == tar)
        _ = try await Tool.zstd.output("-t", input: Array(buffer: stored))
        #expect(try await Tool.zstd.output("-dc", input: Array(buffer: stored)) == Array(buffer: tar))
    }

    @Test("takes missing levels for the defaults, and zstd's odd levels for the nearest")
    func defaultLevels() throws {
        func level(_ type: Compression, _ level: Int?) throws -> Int? {
            try LayerEncoder(CompressionOptions(type: type, level: level)).options.level
        }
        #expect(try level(.gzip, nil) == 6)
        #expect(try level(.gzip, -1) == 6)
        #expect(try level(.gzip, -2) == -2)
        #expect(try level(.zstd, nil) == 3)
        #expect(try level(.zstd, 0) == 3)
        #expect(try level(.zstd, 100) == 22)
        #expect(try level(.uncompressed, 7) == nil)
    }

    @Test("refuses levels that gzip does not have", arguments: [-3, 10, 100])
    func refusesLevels(_ level: Int) {
        let error = #expect(throws: CacheError.self) { try LayerEncoder(CompressionOptions(type: .gzip, level: level)) }
        #expect(error?.code == .invalidSpec)
    }

    @Test(
        "writes the same bytes however many cores there are and however the tar is cut",
        arguments: [Compression.gzip, .zstd])
    func isDeterministic(_ type: Compression) async throws {
        let tar = ByteBuffer.text(20_000_000)
        let reference = try await LayerEncoder(CompressionOptions(type: type)).encode(tar).layer
        for (parallelism, chunks) in [(1, 1 << 20), (2, 999_983), (3, 65_536), (16, 20_000_000)] {
            let layer = try await LayerEncoder(CompressionOptions(type: type), parallelism: parallelism).encode(
                tar, chunks: chunks
            ).layer
            #expect(layer == reference, "\(parallelism) at once, chunks of \(chunks)")
        }
    }

    @Test("throws what the tar's stream throws, and what writing throws", arguments: types)
    func passesErrors(_ type: Compression) async throws {
        struct Stop: Error {}
        let encoder = try LayerEncoder(CompressionOptions(type: type))
        let failing = BlobStream(length: nil) {
            var left = 5
            return {
                left -= 1
                guard left > 0 else { throw Stop() }
                return .random(1 << 20)
            }
        }
        await #expect(throws: Stop.self) { _ = try await encoder.encode(failing) { _ in } }
        await #expect(throws: Stop.self) {
            _ = try await encoder.encode(.chunks(.zeros(3 << 20))) { _ in throw Stop() }
        }
    }

    @Test("stops an endless tar when it is cancelled", arguments: types)
    func stops(_ type: Compression) async throws {
        let endless = BlobStream(length: nil) { { ByteBuffer(repeating: 7, count: 1 << 20) } }
        let encoder = try LayerEncoder(CompressionOptions(type: type))
        let task = Task { try await encoder.encode(endless) { _ in } }
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
    }
}
