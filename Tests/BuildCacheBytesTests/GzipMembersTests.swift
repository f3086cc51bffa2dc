import BuildCacheBytes
import BuildCacheCore
import NIOCore
import Testing

@Suite("Gzip of several members")
struct GzipMembersTests {
    private func gzip(_ tar: ByteBuffer, level: Int = 6) async throws -> ByteBuffer {
        try await LayerEncoder(CompressionOptions(type: .gzip, level: level)).encode(tar).bytes
    }
    private func decode(_ bytes: ByteBuffer, chunks: Int = 1 << 20) async throws -> ByteBuffer {
        try await LayerDecoder().decode(.chunks(bytes, of: chunks), mediaType: .layer(.gzip)).bytes()
    }

    @Test("is the same however it is cut into chunks", arguments: [1, 1000, 65_536, 10 << 20])
    func chunks(_ size: Int) async throws {
        let tar = size == 1 ? ByteBuffer.text(30_000) : .text(9_000_000)
        #expect(try await decode(gzip(tar), chunks: size) == tar)
    }

    @Test("may hold what looks like its own members", arguments: [0, 6])
    func looksLikeMembers(_ level: Int) async throws {
        // A layer that holds compressed layers: stored as they are, their headers show.
        let inner = try await gzip(.random(300_000), level: 0)
        let small = try await gzip(.text(10))
        var tar = ByteBuffer.random(2_000_000)
        for _ in 0..<40 { tar.writeImmutableBuffer(inner.prefix(20_000) + small + small) }
        #expect(try await decode(gzip(tar, level: level)) == tar)
        // So many that guessing is given up.
        for _ in 0..<2000 { tar.writeImmutableBuffer(small) }
        #expect(try await decode(gzip(tar, level: level)) == tar)
    }

    @Test("may have members of all sizes, and zeros behind them")
    func sizes() async throws {
        var stored = ByteBuffer()
        var tar = ByteBuffer()
        // The second one is too large to be held in memory, the last ones are many.
        for size in [0, 9 << 20, 1, 500_000, 0] + Array(repeating: 100, count: 300) {
            let piece = size > 1 << 20 ? ByteBuffer.random(size) : .text(size)
            let member =
                size > 1 << 20
                ? try EStargzReader.deflate(piece) : try await gzip(piece)
            stored.writeImmutableBuffer(member)
            tar.writeImmutableBuffer(piece)
        }
        #expect(try await decode(stored) == tar)
        #expect(try await decode(stored + .zeros(2 << 20)) == tar)
        let error = await #expect(throws: CacheError.self) { _ = try await decode(stored + .zeros(10) + .text(10)) }
        #expect(error?.code == .corrupted)
    }

    @Test("is refused when any member is damaged or cut off, and what was before is handed out")
    func damage() async throws {
        let stored = try await gzip(.text(3 << 20))
        for index in [1 << 10, stored.readableBytes / 2, stored.readableBytes - 1] {
            for bytes in [stored.flipping(index), stored.prefix(index)] {
                var received = 0
                let error = await #expect(throws: CacheError.self) {
                    for try await chunk in try LayerDecoder().decode(.chunks(bytes), mediaType: .layer(.gzip)) {
                        received += chunk.readableBytes
                    }
                }
                #expect(error?.code == .corrupted)
                #expect(received <= 3 << 20)
                if index > stored.readableBytes / 2 { #expect(received >= 2 << 20) }
            }
        }
    }
}
