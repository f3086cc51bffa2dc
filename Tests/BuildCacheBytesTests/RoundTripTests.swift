import BuildCacheBytes
import BuildCacheCore
import NIOCore
import TestTools
import Testing

@Suite("A layer goes through every compression unchanged")
struct RoundTripTests {
    struct Sample: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var entries: [TarSample.Entry]
        var tar: ByteBuffer { TarSample.tar(entries) }
    }

    // 4 000 bytes, in parts that a file system takes.
    private static let longName =
        String(repeating: String(repeating: "n", count: 249) + "/", count: 15) + String(repeating: "x", count: 250)
    private static let longNames: [TarSample.Entry] = [
        .file(longName, ByteBuffer(string: "long")), .symbolicLink("link", longName), .hardLink("hard", longName),
    ]

    static let samples = [
        Sample(testDescription: "no entries", entries: []),
        Sample(testDescription: "one byte", entries: [.file("one", ByteBuffer(string: "1"))]),
        Sample(testDescription: "POSIX names of 4 000 bytes", entries: longNames),
        Sample(
            testDescription: "GNU names of 4 000 bytes",
            entries: longNames.map { entry in
                var entry = entry
                entry.usesGNU = true
                return entry
            }),
        Sample(
            testDescription: "extended attributes",
            entries: [
                .file(
                    "capable", .text(5000),
                    attributes: ["security.capability": "\u{1}\u{2}=\n", "user.empty": "", "user.ü": "ö"])
            ]),
        Sample(
            testDescription: "links, devices and whiteouts",
            entries: [
                .directory("d/"), .file("d/file", .text(1000)), .hardLink("d/hard", "d/file"),
                .symbolicLink("d/loop", "../d/loop"), .device("d/null", "3", 1, 3), .device("d/sda", "4", 8, 0),
                .device("d/fifo", "6", 0, 0), .file("d/.wh.gone", ByteBuffer()), .file("d/.wh..wh..opq", ByteBuffer()),
                .file("with space \"quotes\" <&>\u{2028}\t", .text(3)),
            ]),
        Sample(
            testDescription: "files about as long as a chunk",
            entries: [-1, 0, 1].map { .file("chunk\($0)", .text((4 << 20) + $0)) }
                + [.file("two chunks", .random(8 << 20))]),
    ]

    @Test("from tar to each type, and from each type to each other", arguments: samples)
    func converts(_ sample: Sample) async throws {
        let tar = sample.tar
        let diffID = DiffID(Digest(of: tar))
        let plain = Descriptor(layer: tar, .layer(.uncompressed))
        let source = MemorySource(tar)
        try await ScratchStore.withTemporary { store in
            for first in Compression.allCases {
                let one = try await store.layer(
                    from: plain, in: source, to: CompressionOptions(type: first, force: true))
                for second in Compression.allCases where second != first {
                    let options = CompressionOptions(type: second, force: true)
                    let other = try await store.layer(from: one.descriptor, in: one.source, to: options)
                    let back = try await store.layer(
                        from: other.descriptor, in: other.source,
                        to: CompressionOptions(type: .uncompressed, force: true))
                    #expect(back.descriptor.digest == diffID.digest, "\(first) to \(second)")
                    // All that came of one tar as eStargz is one blob, so it has one table of contents.
                    if second == .estargz { #expect(other.descriptor.diffID != diffID) }
                }
            }
        }
    }

    @Test(
        "that other programs read",
        .enabled(if: Tool.gzip.isInstalled && Tool.zstd.isInstalled && Tool.tar.isInstalled && Tool.python.isInstalled),
        arguments: samples)
    func isReadByOthers(_ sample: Sample) async throws {
        let tar = sample.tar
        // Tars list nothing behind the blocks of zeros, where eStargz has its table of contents.
        let names =
            "import io,sys,tarfile;t=tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()),mode='r:*');"
            + "print(*[(m.name,m.size,m.type,m.linkname,m.pax_headers) for m in t],sep='\\n')"
        let expected = try await Tool.python.output("-c", names, input: Array(tar.readableBytesView))
        for type in [Compression.gzip, .estargz, .zstd] {
            let stored = Array(
                try await LayerEncoder(CompressionOptions(type: type)).encode(tar).bytes.readableBytesView)
            let tool = type == .zstd ? Tool.zstd : .gzip
            _ = try await tool.output("-t", input: stored)
            let content = try await tool.output("-dc", input: stored)
            #expect(content.starts(with: tar.readableBytesView))
            #expect(type == .estargz || content.count == tar.readableBytes)
            let listed = try await Tool.tar.output("-t", type == .zstd ? "--zstd" : "-z", "-f", "-", input: stored)
            #expect(listed.count { $0 == UInt8(ascii: "\n") } == sample.entries.count)
            let read = try await Tool.python.output("-c", names, input: type == .zstd ? content : stored)
            #expect(read == expected, "\(type)")
        }
    }

    @Test(
        "from every layer that BuildKit wrote to each type and back to its tar, and other programs read what it became",
        .enabled(
            if: Tool.gzip.isInstalled && Tool.zstd.isInstalled && Tool.tar.isInstalled
                && Tool.python.isInstalled),
        arguments: [Compression.gzip, .estargz, .zstd])
    func fixtures(_ type: Compression) async throws {
        func forced(_ type: Compression) -> CompressionOptions { CompressionOptions(type: type, force: true) }
        // One layer behind the other is a file of several members or frames, and a tar of several tars.
        var (allStored, allTars) = (ByteBuffer(), ByteBuffer())
        try await ScratchStore.withTemporary { store in
            for layer in Fixtures.distinctLayers {
                let tar = try await store.layer(from: layer.descriptor, in: layer.source, to: forced(.uncompressed))
                let stored = try await store.layer(from: layer.descriptor, in: layer.source, to: forced(type))
                let back = try await store.layer(from: stored.descriptor, in: stored.source, to: forced(.uncompressed))
                #expect(back.descriptor.digest == tar.descriptor.digest, "\(layer)")
                // The diffID of eStargz is not that of its tar.
                if !layer.isEStargz, let diffID = layer.descriptor.diffID {
                    #expect(diffID.digest == tar.descriptor.digest, "\(layer)")
                }
                allStored.writeImmutableBuffer(try await stored.source.open(stored.descriptor, range: nil).bytes())
                allTars.writeImmutableBuffer(try await tar.source.open(tar.descriptor, range: nil).bytes())
            }
        }
        let tool = type == .zstd ? Tool.zstd : .gzip
        let bytes = Array(allStored.readableBytesView)
        _ = try await tool.output("-t", input: bytes)
        let content = try await tool.output("-dc", input: bytes)
        if type != .estargz { #expect(ByteBuffer(bytes: content) == allTars) }
        let names = try await Tool.tar.output("-t", "-i", "-f", "-", input: content)
        let listed = names.split(separator: UInt8(ascii: "\n")).filter { !$0.elementsEqual("stargz.index.json".utf8) }
        let expected = try await Tool.tar.output("-t", "-i", "-f", "-", input: Array(allTars.readableBytesView))
        #expect(listed == expected.split(separator: UInt8(ascii: "\n")))
        let python =
            "import sys,io,gzip,hashlib,tarfile;b=sys.stdin.buffer.read();b=gzip.decompress(b) if b[0]==31 else b;"
            + "n=sum(m.name!='stargz.index.json' for m in tarfile.open(fileobj=io.BytesIO(b),ignore_zeros=True));"
            + "print(n,hashlib.sha256(b).hexdigest())"
        let read = try await Tool.python.output("-c", python, input: type == .zstd ? content : bytes)
        #expect(String(decoding: read, as: UTF8.self) == "\(listed.count) \(Digest(of: content).hex)\n")
    }

    @Test("of 100 000 tiny files", arguments: [Compression.gzip, .estargz, .zstd])
    func manyFiles(_ type: Compression) async throws {
        let tar = TarStream.tinyFiles(100_000)
        var stored = ByteBuffer()
        let encoded = try await LayerEncoder(CompressionOptions(type: type)).encode(tar) {
            stored.writeImmutableBuffer($0)
        }
        let expected = try await tar.value()
        #expect(encoded.tar == expected)
        let restored = try await restore(stored, type)
        #expect(restored == expected)
    }

    @Test(
        "of one file of 512 MiB of zeros; the benchmark does it with 4 GiB",
        arguments: [Compression.gzip, .estargz, .zstd])
    func zeros(_ type: Compression) async throws {
        var stored = ByteBuffer()
        let tar = TarStream.zeros(512 << 20)
        let encoded = try await LayerEncoder(CompressionOptions(type: type)).encode(tar) {
            stored.writeImmutableBuffer($0)
        }
        #expect(encoded.tar.size == (512 << 20) + 1536)
        let restored = try await restore(stored, type)
        #expect(restored == encoded.tar)
    }

    /// The tar in a stored layer.
    private func restore(_ stored: ByteBuffer, _ type: Compression) async throws -> StreamDigest.Value {
        let layer = Descriptor(layer: stored, .layer(type))
        guard type == .estargz else {
            return try await LayerDecoder().decode(.chunks(stored), mediaType: layer.mediaType).value()
        }
        return try await ScratchStore.withTemporary { store in
            let options = CompressionOptions(type: .uncompressed, force: true)
            let tar = try await store.layer(from: layer, in: MemorySource(stored), to: options).descriptor
            return StreamDigest.Value(digest: tar.digest, size: tar.size)
        }
    }

    @Test("and what cannot be compressed hardly grows", arguments: [Compression.gzip, .estargz, .zstd])
    func incompressible(_ type: Compression) async throws {
        let tar = TarSample.tar([.file("random", .random(8 << 20))])
        let stored = try await LayerEncoder(CompressionOptions(type: type)).encode(tar).bytes.readableBytes
        // Stored blocks of deflate have 5 bytes for each 65 535; a table of contents and headers come to less than 2 KiB.
        #expect(stored < tar.readableBytes + tar.readableBytes / 65_535 * 5 + 2048)
    }
}

/// Tars that are too large to be held in memory.
enum TarStream {
    /// Files of one byte each.
    static func tinyFiles(_ count: Int) -> BlobStream {
        let template = TarSample.block("dir/file-000000", "0", size: 1)
        return BlobStream(length: nil) {
            var number = 0
            return {
                guard number <= count else { return nil }
                defer { number += 1000 }
                guard number < count else { return .zeros(1024) }
                var chunk = ByteBuffer()
                for file in number..<min(number + 1000, count) {
                    let start = chunk.writerIndex
                    chunk.writeImmutableBuffer(template)
                    var digits = file
                    var sum = 0
                    for place in 0..<6 {
                        chunk.setInteger(UInt8(48 + digits % 10), at: start + 14 - place)
                        sum += digits % 10
                        digits /= 10
                    }
                    // The template's name has zeros only, so its checksum lacks just the digits.
                    addToChecksum(sum, of: &chunk, at: start)
                    chunk.writeInteger(UInt8(ascii: "x"))
                    chunk.writeRepeatingByte(0, count: 511)
                }
                return chunk
            }
        }
    }

    private static func addToChecksum(_ sum: Int, of chunk: inout ByteBuffer, at start: Int) {
        let old = Int(chunk.getString(at: start + 148, length: 6) ?? "", radix: 8) ?? 0
        let text = String(old + sum, radix: 8)
        chunk.setString(String(repeating: "0", count: 6 - text.count) + text, at: start + 148)
    }

    /// One file of `size` zeros, a multiple of 1 MiB.
    static func zeros(_ size: Int) -> BlobStream {
        let header = TarSample.block("zeros", "0", size: size)
        let mebibyte = ByteBuffer.zeros(1 << 20)
        return BlobStream(length: nil) {
            var left = size
            var phase = 0
            return {
                if phase == 0 {
                    phase = 1
                    return header
                }
                if left > 0 {
                    left -= 1 << 20
                    return mebibyte
                }
                defer { phase += 1 }
                return phase == 1 ? .zeros(1024) : nil
            }
        }
    }
}
