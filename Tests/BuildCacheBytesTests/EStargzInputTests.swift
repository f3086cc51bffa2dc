import BuildCacheBytes
import BuildCacheCore
import Foundation
import NIOCore
import Testing

@Suite("A tar as input of eStargz")
struct EStargzInputTests {
    private func contents(_ tar: ByteBuffer) async throws -> [EStargzReader.Contents.Entry] {
        let (blob, _) = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(tar)
        return try EStargzReader(blob).contents.entries ?? []
    }
    private func error(_ tar: ByteBuffer) async -> CacheError? {
        do {
            _ = try await contents(tar)
            return nil
        } catch {
            return error as? CacheError
        }
    }

    @Test("is listed with all that its headers say")
    func lists() async throws {
        let long = String(repeating: "n", count: 300)
        var gnu = TarSample.Entry.symbolicLink("gnu-" + long, long)
        gnu.usesGNU = true
        let entries = try await contents(
            TarSample.tar([
                .directory("d/"), .file("d/f", ByteBuffer(string: "data"), attributes: ["user.b": "2", "user.a": "1"]),
                .hardLink(long, "d/f"), gnu, .device("null", "3", 1, 3), .device("sda", "4", 8, 16),
                .device("fifo", "6", 0, 0),
            ]))
        #expect(entries.map(\.name) == ["d/", "d/f", long, "gnu-" + long, "null", "sda", "fifo"])
        #expect(entries.map(\.type) == ["dir", "reg", "hardlink", "symlink", "char", "block", "fifo"])
        #expect(entries.map(\.linkName) == [nil, nil, "d/f", long, nil, nil, nil])
        #expect(entries.map(\.devMajor) == [nil, nil, nil, nil, 1, 8, nil])
        #expect(entries.map(\.devMinor) == [nil, nil, nil, nil, 3, 16, nil])
        #expect(entries.allSatisfy { $0.mode == 0o644 && $0.uid == 1000 && $0.modtime == "2023-11-14T22:13:20Z" })
        // A name is written where it is new for its number, and not again.
        #expect(entries.map(\.userName) == ["user", nil, nil, nil, nil, nil, nil])
        #expect(entries[1].xattrs == ["user.a": Data("1".utf8), "user.b": Data("2".utf8)])
        #expect(entries[1].size == 4)
        #expect(entries[1].digest == "\(Digest(of: "data".utf8))")
    }

    @Test("has its large files cut at 4 MiB")
    func chunks() async throws {
        let data = ByteBuffer.text((8 << 20) + 1)
        let entries = try await contents(TarSample.tar([.file("large", data), .file("exact", data.prefix(4 << 20))]))
        #expect(entries.map(\.type) == ["reg", "chunk", "chunk", "reg"])
        #expect(entries.map(\.chunkOffset) == [nil, 4 << 20, 8 << 20, nil])
        #expect(entries.map(\.chunkSize) == [4 << 20, 4 << 20, nil, 4 << 20])
        #expect(entries[0].digest == "\(Digest(of: data))")
        #expect(entries[1].digest == nil)
        #expect(entries[2].chunkDigest == "\(Digest(of: data.dropFirst(8 << 20)))")
        #expect(entries[3].digest == entries[3].chunkDigest)
    }

    @Test("may end without the blocks that end a tar, and may have more behind them")
    func ends() async throws {
        let tar = TarSample.small
        for odd in [tar.prefix(1024), tar.prefix(1536), tar + .zeros(3 << 20), tar + .text(3 << 20)] {
            let (blob, encoded) = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(odd)
            #expect(encoded.tar.digest == Digest(of: odd))
            let reader = try EStargzReader(blob)
            #expect(reader.contents.entries?.count == 1)
            let members = try reader.members()
            #expect(members.dropLast(2).reduce(ByteBuffer()) { $0 + $1.content } == odd)
        }
    }

    @Test("is refused when it holds a sparse file, in any of the three ways to write one")
    func refusesSparse() async {
        let old = TarSample.block("sparse", "S", size: 0) + .zeros(1024)
        let record = ByteBuffer(string: "22 GNU.sparse.major=1\n")
        let new =
            TarSample.block("x", "x", size: 22) + record + .zeros(490) + TarSample.block("sparse", "0", size: 0)
            + .zeros(1024)
        for tar in [old, new] {
            let error = await error(tar)
            #expect(error?.code == .unsupported)
            #expect(error?.message.contains("sparse file, \"sparse\"") == true)
        }
    }

    @Test("is refused when it holds what cannot be listed, or a table of contents already")
    func refusesOthers() async {
        let global = TarSample.block("g", "g", size: 0) + .zeros(1024)
        #expect(await error(global)?.code == .unsupported)
        for name in ["stargz.index.json", "./stargz.index.json", "a/../stargz.index.json"] {
            #expect(await error(TarSample.tar([.file(name, ByteBuffer())]))?.code == .unsupported, "\(name)")
        }
        #expect(await error(TarSample.tar([.file("a/stargz.index.json", ByteBuffer())])) == nil)
    }

    @Test("is refused when it is damaged or cut off")
    func refusesDamage() async {
        let tar = TarSample.tar([.file(String(repeating: "n", count: 200), .text(2000))])
        for length in [1, 511, 513, 1000, 1024, 1535, 1537, 3000] {
            #expect(await error(tar.prefix(length))?.code == .corrupted, "\(length)")
        }
        #expect(await error(tar.flipping(1030))?.code == .corrupted)
        // A record whose length is wrong.
        #expect(await error(tar.flipping(512))?.code == .corrupted)
        let huge = TarSample.block("x", "x", size: 2 << 20)
        #expect(await error(huge + .zeros(3 << 20))?.code == .limitExceeded)
    }

    @Test("never crashes the encoder, whichever byte of its headers is wrong")
    func survives() async throws {
        var gnu = TarSample.Entry.file(String(repeating: "g", count: 150), ByteBuffer(string: "x"))
        gnu.usesGNU = true
        let tar = TarSample.tar([.file("f", ByteBuffer(string: "x"), attributes: ["user.a": "1"]), gnu])
        for index in 0..<tar.readableBytes where tar.getInteger(at: index, as: UInt8.self) != 0 {
            let code = await error(tar.flipping(index))?.code
            #expect([nil, .corrupted, .unsupported, .limitExceeded].contains(code), "byte \(index)")
        }
    }

    @Test("is stored again as it was, its eStargz too")
    func repeats() async throws {
        let tar = TarSample.tar([.file("a", .text(6 << 20)), .file("b", .random(10_000)), .symbolicLink("c", "a")])
        try await ScratchStore.withTemporary { store in
            func convert(_ layer: StoredLayer, _ type: Compression) async throws -> StoredLayer {
                try await store.layer(
                    from: layer.descriptor, in: layer.source, to: CompressionOptions(type: type, force: true))
            }
            let plain = Descriptor(layer: tar, .layer(.uncompressed))
            let first = try await store.layer(
                from: plain, in: MemorySource(tar), to: CompressionOptions(type: .estargz, force: true))
            let annotations = first.descriptor.annotations
            #expect(
                Set(annotations.keys) == [
                    Annotation.uncompressed, Annotation.estargzTOCDigest, Annotation.estargzUncompressedSize,
                ])
            let back = try await convert(first, .uncompressed)
            #expect(back.descriptor.digest == plain.digest)
            #expect(back.descriptor.annotations == [Annotation.uncompressed: "\(back.descriptor.digest)"])
            // By way of zstd, so that it is made anew.
            let second = try await convert(try await convert(first, .zstd), .estargz)
            #expect(second.descriptor == first.descriptor)
        }
    }
}
