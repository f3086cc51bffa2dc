import BuildCacheBytes
import BuildCacheCore
import NIOCore
import Testing

@Suite("The layer decoder")
struct LayerDecoderTests {
    private func decode(_ bytes: ByteBuffer, as type: MediaType = .layer(.gzip), chunks: Int = 1 << 20) async throws
        -> ByteBuffer
    {
        try await LayerDecoder().decode(.chunks(bytes, of: chunks), mediaType: type).bytes()
    }
    private func code(_ bytes: ByteBuffer, as type: MediaType = .layer(.gzip)) async -> CacheError.Code? {
        do {
            _ = try await decode(bytes, as: type)
            return nil
        } catch {
            return (error as? CacheError)?.code
        }
    }
    private func encode(_ type: Compression, _ tar: ByteBuffer) async throws -> ByteBuffer {
        try await LayerEncoder(CompressionOptions(type: type)).encode(tar).bytes
    }

    @Test(
        "finds the diffID of every layer that BuildKit wrote",
        arguments: Fixtures.layers)
    func fixtures(_ layer: Fixtures.Layer) async throws {
        let stored = try await VerifiedSource(layer.source).open(layer.descriptor, range: nil)
        let tar = try await LayerDecoder().decode(stored, mediaType: layer.descriptor.mediaType).value()
        // Layers of an image carry no annotation; there it is enough that they decompress.
        #expect(layer.descriptor.diffID == nil || layer.descriptor.diffID?.digest == tar.digest)
        #expect(tar.size > 0)
    }

    @Test("takes compressed layers for what they are, whatever their media type says")
    func sniffs() async throws {
        let tar = TarSample.small
        for compression in [Compression.uncompressed, .gzip, .zstd] {
            let stored = try await encode(compression, tar)
            for type in [MediaType.layer(.gzip), .layer(.zstd), .layer(.gzip, docker: true)] {
                #expect(try await decode(stored, as: type) == tar)
                #expect(try await decode(stored, as: type, chunks: 1) == tar)
            }
        }
    }

    private static let uncompressedTypes: [MediaType] = [
        .layer(.uncompressed), "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
    ]

    @Test("decompresses gzip and zstd of an uncompressed type, too", arguments: uncompressedTypes)
    func sniffsUncompressed(_ type: MediaType) async throws {
        for compression in [Compression.uncompressed, .gzip, .zstd] {
            let stored = try await encode(compression, TarSample.small)
            #expect(try await decode(stored, as: type) == TarSample.small)
            #expect(try await decode(stored, as: type, chunks: 1) == TarSample.small)
        }
    }

    @Test("takes a tar of an uncompressed type as it is, even if it begins as gzip does", arguments: uncompressedTypes)
    func prefersTar(_ type: MediaType) async throws {
        let tar = TarSample.tar([.file("\u{1F}\u{8B}\u{8}", ByteBuffer(string: "x"))])
        #expect(try await decode(tar, as: type) == tar)
        for other in [ByteBuffer.random(5000), .zeros(700), .zeros(0), ByteBuffer(bytes: [0x1F])] {
            #expect(try await decode(other, as: type) == other)
        }
    }

    @Test("refuses a media type that is no layer's")
    func refusesOtherTypes() async {
        #expect(await code(.zeros(0), as: .ociManifest) == .unsupported)
    }

    @Test("refuses bytes that are neither compressed nor a tar")
    func refusesUnknown() async {
        #expect(await code(.random(5000)) == .corrupted)
        #expect(await code(ByteBuffer(bytes: [0x1F])) == .corrupted)
        #expect(await code(.zeros(0)) == nil, "nothing at all is an empty layer, as in containerd")
    }

    @Test("reads all members of a gzip file, and zeros behind them")
    func readsAllMembers() async throws {
        let parts = [ByteBuffer.random(10), .zeros(0), .text(70_000), .random(1)]
        var stored = ByteBuffer()
        for part in parts { stored = stored + (try await encode(.gzip, part)) }
        let whole = parts.reduce(.zeros(0), +)
        for padding in [0, 1, 511, 100_000] {
            for chunks in [1 << 20, 7] {
                #expect(try await decode(stored + .zeros(padding), chunks: chunks) == whole)
            }
        }
        #expect(await code(stored + ByteBuffer(bytes: [1])) == .corrupted)
        #expect(await code(stored + ByteBuffer(bytes: [0, 0, 1])) == .corrupted)
        #expect(await code(stored + stored.prefix(3)) == .corrupted)
    }

    @Test("reads all frames of a zstd file and skips the skippable ones")
    func readsAllFrames() async throws {
        let parts = [ByteBuffer.text(70_000), .zeros(0), .random(3)]
        let skippable = ByteBuffer(bytes: [0x5A, 0x2A, 0x4D, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5])
        var stored = skippable
        for part in parts { stored = stored + (try await encode(.zstd, part)) + skippable }
        for chunks in [1 << 20, 7, 1] {
            #expect(try await decode(stored, as: .layer(.zstd), chunks: chunks) == parts.reduce(.zeros(0), +))
        }
        #expect(await code(stored + .zeros(1)) == .corrupted)
        #expect(await code(stored + skippable.prefix(9)) == .corrupted)
    }

    @Test("notices a layer that was cut off anywhere", arguments: [Compression.gzip, .zstd])
    func noticesTruncation(_ type: Compression) async throws {
        let stored = try await encode(type, .text(3000))
        for length in 1..<stored.readableBytes {
            #expect(
                await code(stored.prefix(length), as: .layer(type)) == .corrupted,
                "\(length) of \(stored.readableBytes)"
            )
        }
        let large = try await encode(type, .random(2_500_000))
        for length in stride(from: 10, to: large.readableBytes, by: 299_993) {
            #expect(
                await code(large.prefix(length), as: .layer(type)) == .corrupted, "\(length) of \(large.readableBytes)")
        }
    }

    @Test("notices every damaged byte that matters, and never crashes", arguments: [Compression.gzip, .zstd])
    func noticesDamage(_ type: Compression) async throws {
        let tar = ByteBuffer.text(3000)
        let stored = try await encode(type, tar)
        for index in 0..<stored.readableBytes {
            let decoded = try? await decode(stored.flipping(index), as: .layer(type))
            // In gzip's header time, flags and system mean nothing for the data; all else must be noticed.
            #expect(decoded == nil || decoded == tar, "byte \(index) of \(stored.readableBytes)")
        }
    }

    @Test("stops at the limit on uncompressed bytes", arguments: Compression.allCases.filter { $0 != .estargz })
    func limits(_ type: Compression) async throws {
        let tar = ByteBuffer.zeros(3_000_000)
        let stored = try await encode(type, tar)
        let enough = try LayerDecoder(DecompressionLimit(maximumBytes: 3_000_000, maximumRatio: 0), stored: 0)
            .decode(.chunks(stored), mediaType: .layer(type))
        #expect(try await enough.bytes() == tar)
        let tooFew = try LayerDecoder(DecompressionLimit(maximumBytes: 2_999_999, maximumRatio: 0), stored: 0)
            .decode(.chunks(stored), mediaType: .layer(type))
        let error = await #expect(throws: CacheError.self) { _ = try await tooFew.bytes() }
        #expect(error?.code == .limitExceeded)
    }

    /// A zstd frame that asks for a window of 2^`log` bytes and holds one raw block.
    private func frame(windowLog log: UInt8, _ content: ByteBuffer) -> ByteBuffer {
        var frame = ByteBuffer(bytes: [0x28, 0xB5, 0x2F, 0xFD, 0, (log - 10) << 3])
        let header = UInt32(content.readableBytes) << 3 | 1
        frame.writeBytes([UInt8(header & 0xFF), UInt8(header >> 8 & 0xFF), UInt8(header >> 16)])
        return frame + content
    }

    @Test("reads zstd with windows of up to 512 MiB", arguments: [UInt8(10), 27, 28, 29], [1, 1 << 20])
    func readsWindows(_ log: UInt8, _ chunks: Int) async throws {
        let stored = frame(windowLog: log, TarSample.small.prefix(1000))
        #expect(
            try await decode(stored + stored, as: .layer(.zstd), chunks: chunks) == TarSample.small.prefix(1000)
                + TarSample.small.prefix(1000))
    }

    @Test(
        "says how large a window is that exceeds the limit, and does not call the layer damaged",
        arguments: [1, 1 << 20])
    func refusesWindows(_ chunks: Int) async throws {
        let tar = TarSample.small.prefix(1000)
        let small = DecompressionLimit(maximumWindowBytes: (1 << 20) + 5)
        // A frame without a window of its own, whose content has 3 MiB.
        var single = ByteBuffer(bytes: [0x28, 0xB5, 0x2F, 0xFD, 0xA0])
        single.writeInteger(UInt32(3 << 20), endianness: .little)
        single.writeBytes([1, 0, 0])
        for (stored, limit, window) in [
            (frame(windowLog: 30, tar), DecompressionLimit(), "1073741824"),
            (frame(windowLog: 41, tar), DecompressionLimit(maximumWindowBytes: .max), "2199023255552"),
            (frame(windowLog: 21, tar), small, "2097152"), (single, small, "3145728"),
            (frame(windowLog: 20, tar) + frame(windowLog: 21, tar), small, "2097152"),
        ] {
            let error = await #expect(throws: CacheError.self) {
                _ = try await LayerDecoder(limit, stored: 0)
                    .decode(.chunks(stored, of: chunks), mediaType: .layer(.zstd)).bytes()
            }
            #expect(error?.code == .limitExceeded)
            #expect(error?.message.contains("window of \(window) bytes") == true)
        }
        let allowed = try LayerDecoder(small, stored: 0)
            .decode(.chunks(frame(windowLog: 20, tar), of: chunks), mediaType: .layer(.zstd))
        #expect(try await allowed.bytes() == tar)
    }

    @Test("fills a large window only in proportion to the layer")
    func boundsWindowMemory() async throws {
        // Raw blocks of 128 KiB cannot be small, so these repeat one byte: 4 bytes of layer each.
        func zeros(_ mebibytes: Int, windowLog: UInt8) -> ByteBuffer {
            var frame = ByteBuffer(bytes: [0x28, 0xB5, 0x2F, 0xFD, 0, (windowLog - 10) << 3])
            for block in 1...mebibytes * 8 {
                let header = UInt32(128 << 10) << 3 | 2 | (block == mebibytes * 8 ? 1 : 0)
                frame.writeBytes([UInt8(header & 0xFF), UInt8(header >> 8 & 0xFF), UInt8(header >> 16), 0])
            }
            return frame
        }
        func read(_ stored: ByteBuffer, size: Int64) async throws -> Int64 {
            try await LayerDecoder(DecompressionLimit(), stored: size)
                .decode(.chunks(stored), mediaType: .layer(.zstd)).value().size
        }
        #expect(try await read(zeros(128, windowLog: 29), size: 0) == 128 << 20)
        #expect(try await read(zeros(129, windowLog: 27), size: 0) == 129 << 20)
        #expect(try await read(zeros(129, windowLog: 29), size: 1 << 20) == 129 << 20)
        let error = await #expect(throws: CacheError.self) { _ = try await read(zeros(129, windowLog: 28), size: 0) }
        #expect(error?.code == .limitExceeded)
        #expect(error?.message.contains("window of 268435456 bytes") == true)
    }

    @Test("reads a large gzip member that comes in very small chunks")
    func smallChunks() async throws {
        let tar = ByteBuffer.random(300_000)
        let stored = try EStargzReader.deflate(tar)
        #expect(try await decode(stored, chunks: 3) == tar)
    }

    @Test("gives a bomb's bytes in small chunks", arguments: [Compression.gzip, .zstd])
    func isBounded(_ type: Compression) async throws {
        let stored = try await encode(type, .zeros(64 << 20))
        #expect(stored.readableBytes < 1 << 20)
        var largest = 0
        for try await chunk in try LayerDecoder().decode(.chunks(stored), mediaType: .layer(type)) {
            largest = max(largest, chunk.readableBytes)
        }
        #expect(largest == 1 << 20)
    }
}
