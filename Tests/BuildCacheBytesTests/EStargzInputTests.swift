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

    @Test("gets its sparse files with their zeros, in any of the four ways to write them", arguments: SparseSample.all)
    func expandsSparse(_ sample: SparseSample) async throws {
        let tar = sample.tar + TarSample.small
        let (blob, encoded) = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(tar)
        // The digest of the tar as it was finds the layer again.
        #expect(encoded.tar.digest == Digest(of: tar))
        let reader = try EStargzReader(blob)
        let entries = try #require(reader.contents.entries)
        #expect(entries.first?.name == "sparse")
        #expect(entries.first?.size == Int64(SparseSample.content.count))
        let all = try reader.members().dropLast(2).reduce(ByteBuffer()) { $0 + $1.content }
        #expect(all.readableBytesView.dropFirst(512).starts(with: SparseSample.content))
        #expect(
            all.readableBytesView.suffix(TarSample.small.readableBytes).elementsEqual(TarSample.small.readableBytesView)
        )
    }

    /// A header of records or a long name, in front of an entry.
    private func header(_ type: Character, _ text: String) -> ByteBuffer {
        var data = ByteBuffer(string: text)
        let size = data.readableBytes
        data.writeRepeatingByte(0, count: (512 - size % 512) % 512)
        return TarSample.block("header", type, size: size) + data
    }
    /// The records of a PAX header.
    private func records(_ records: [(String, String)]) -> String {
        records.map { key, value in
            let rest = " \(key)=\(value)\n"
            var length = rest.utf8.count
            while "\(length)".utf8.count + rest.utf8.count != length { length += 1 }
            return "\(length)\(rest)"
        }.joined()
    }
    private func file(_ name: String = "file") -> ByteBuffer { TarSample.block(name, "0", size: 0) }

    @Test("is listed by its last PAX header and long name where there are several, as by Go")
    func lastHeader() async throws {
        let first = header("x", records([("SCHILY.xattr.user.a", "1"), ("path", "first"), ("linkpath", "x")]))
        let second = header("x", records([("SCHILY.xattr.user.b", "2")]))
        var entries = try await contents(first + second + file() + .zeros(1024))
        #expect(entries.map(\.name) == ["file"])
        #expect(entries.first?.xattrs == ["user.b": Data("2".utf8)])
        entries = try await contents(header("L", "first\0") + header("L", "second\0") + file() + .zeros(1024))
        #expect(entries.map(\.name) == ["second"])
        entries = try await contents(header("L", "\0") + file() + .zeros(1024))
        #expect(entries.map(\.name) == ["file"])
    }

    @Test("keeps the memory of its headers, however many PAX headers stand in front of one entry")
    func manyHeaders() async throws {
        let names = String(repeating: "n", count: 900)
        let headers = (0..<40).map { number in
            header("x", records((0..<1000).map { ("SCHILY.xattr.\(number).\($0)", names) }))
        }
        let entries = try await contents(headers.reduce(ByteBuffer(), +) + file() + .zeros(1024))
        #expect(entries.first?.xattrs?.count == 1000)
    }

    @Test("is refused past 1024 records of a header and 32 KiB of a name")
    func limits() async throws {
        let many = records((0...1024).map { ("SCHILY.xattr.user.\($0)", "") })
        #expect(await error(header("x", many) + file() + .zeros(1024))?.code == .limitExceeded)
        let long = String(repeating: "n", count: (32 << 10) + 1)
        for key in ["path", "linkpath", "uname", "gname"] {
            #expect(await error(header("x", records([(key, long)])) + file() + .zeros(1024))?.code == .limitExceeded)
            let longest = records([(key, String(long.dropLast()))])
            #expect(await error(header("x", longest) + file() + .zeros(1024)) == nil)
        }
        #expect(await error(header("L", long) + file() + .zeros(1024))?.code == .limitExceeded)
        #expect(await error(header("K", long) + file() + .zeros(1024))?.code == .limitExceeded)
    }

    @Test("is refused when its table of contents is out of all proportion to the layer")
    func limitsTable() async throws {
        // Each byte of such a name is six in the table.
        let header = header("L", String(repeating: "\u{1}", count: 32 << 10)) + file()
        let tar = [ByteBuffer](repeating: header, count: 171).reduce(ByteBuffer(), +)
        #expect(await error(tar + .zeros(1024))?.code == .limitExceeded)
        #expect(try await contents(tar.prefix(header.readableBytes * 20) + .zeros(1024)).count == 20)
    }

    @Test(
        "is refused with a zero byte in a PAX record's text, or in the key of another record",
        arguments: [
            ("path", "a\0b"), ("linkpath", "a\0b"), ("uname", "\0"), ("gname", "\0"), ("SCHILY.xattr.user.\0", "x"),
        ])
    func refusesZeros(_ key: String, _ value: String) async throws {
        #expect(await error(header("x", records([(key, value)])) + file() + .zeros(1024))?.code == .corrupted)
        let allowed = header("x", records([("SCHILY.xattr.user.a", "a\0b")])) + file() + .zeros(1024)
        #expect(try await contents(allowed).first?.xattrs == ["user.a": Data("a\0b".utf8)])
    }

    @Test("passes over global PAX headers, as containerd does, and what stands in front of them")
    func globalHeaders() async throws {
        let global = header("g", records([("path", "global"), ("comment", "0123")]))
        var entries = try await contents(global + file("a") + global + global + file("b") + .zeros(1024))
        #expect(entries.map(\.name) == ["a", "b"])
        entries = try await contents(header("x", records([("path", "lost")])) + global + file() + .zeros(1024))
        #expect(entries.map(\.name) == ["file"])
        #expect(await error(header("g", "nonsense") + file() + .zeros(1024))?.code == .corrupted)
        let tar = global + file("a") + .zeros(1024)
        let (blob, encoded) = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(tar)
        #expect(encoded.tar.digest == Digest(of: tar))
        #expect(try EStargzReader(blob).members().dropLast(2).reduce(ByteBuffer()) { $0 + $1.content } == tar)
    }

    @Test("is refused when it holds what cannot be listed, or a table of contents already")
    func refusesOthers() async {
        let unknown = TarSample.block("v", "V", size: 0) + .zeros(1024)
        #expect(await error(unknown)?.code == .unsupported)
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
