import BuildCacheBytes
import BuildCacheCore
import NIOCore
import TestTools
import Testing

@Suite("A number in a layer")
struct OutsideNumberTests {
    private func code(_ body: () async throws -> Void) async -> CacheError.Code? {
        do {
            try await body()
            return nil
        } catch let error as CacheError {
            return error.code
        } catch {
            Issue.record("\(error)")
            return nil
        }
    }

    private static let codes: [CacheError.Code?] = [nil, .corrupted, .limitExceeded, .unsupported]

    @Test(
        "that a PAX record writes is one that a tar can have, or the tar is refused",
        arguments: ["size", "mtime", "atime", "uid", "gid", "SCHILY.dev", "length"], OutsideNumbers.strange)
    func records(_ key: String, _ number: String) async {
        let rest = " \(key)=\(number)\n"
        let length = key == "length" ? number : "\(rest.utf8.count + 2)"
        var data = ByteBuffer(string: length + rest)
        let size = data.readableBytes
        data.writeRepeatingByte(0, count: 512 - size)
        let tar =
            TarSample.block("header", "x", size: size) + data + TarSample.block("file", "0", size: 0)
            + ByteBuffer(repeating: 0, count: 1024)
        let code = await code { _ = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(tar) }
        #expect(Self.codes.contains(code))
    }

    @Test(
        "that a tar's header writes in octal digits is one that a tar can have, or the tar is refused",
        arguments: [100..<108, 108..<116, 116..<124, 124..<136, 136..<148, 148..<156, 329..<337, 337..<345],
        OutsideNumbers.strange + ["77777777777", "777777777777"])
    func fields(_ field: Range<Int>, _ number: String) async {
        var header = Array(TarSample.block("file", "0", size: 0).readableBytesView)
        let text = Array(number.utf8.prefix(field.count))
        header.replaceSubrange(field, with: text + [UInt8](repeating: 0, count: field.count - text.count))
        await expectTyped(header, keepingChecksum: field.lowerBound == 148)
    }

    @Test(
        "that a tar's header writes in bytes is one that a tar can have, or the tar is refused",
        arguments: [108..<116, 124..<136, 136..<148],
        [0, 1, -1, 1 << 31, 1 << 32, 1 << 50, 1 << 53, Int64.max - 1, .max, .min] as [Int64])
    func binary(_ field: Range<Int>, _ number: Int64) async {
        for filler in [UInt8(0x80), 0xFF, 0xBF] {
            var header = Array(TarSample.block("file", "0", size: 0).readableBytesView)
            let bytes = withUnsafeBytes(of: number.bigEndian) { Array($0) }
            let value = [UInt8](repeating: number < 0 ? 0xFF : 0, count: field.count) + bytes
            header.replaceSubrange(field, with: value.suffix(field.count))
            header[field.lowerBound] = filler
            await expectTyped(header)
        }
    }

    /// Encodes a tar with this header, whose checksum is made right.
    private func expectTyped(_ header: [UInt8], keepingChecksum: Bool = false) async {
        var header = header
        if !keepingChecksum {
            header.replaceSubrange(148..<156, with: repeatElement(UInt8(ascii: " "), count: 8))
            let sum = String(header.reduce(0) { $0 + Int($1) }, radix: 8)
            header.replaceSubrange(
                148..<156, with: Array((String(repeating: "0", count: 6 - sum.count) + sum + "\0 ").utf8))
        }
        let tar = ByteBuffer(bytes: header + [UInt8](repeating: 0, count: 1024))
        let code = await code { _ = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(tar) }
        #expect(Self.codes.contains(code))
    }

    @Test(
        "of a table of contents is one that the layer can have, or the table is refused",
        arguments: ["size", "mode", "uid", "offset", "innerOffset", "chunkOffset", "chunkSize", "NumLink", "devMajor"],
        OutsideNumbers.json)
    func tables(_ key: String, _ number: String) async throws {
        let text = ByteBuffer.text(4096)
        let digest = Digest(of: text)
        var members = ["size": "4096", "offset": "0"]
        members[key] = number
        let row = members.map { "\"\($0)\":\($1)" }.joined(separator: ",")
        let json =
            #"{"version":1,"entries":[{"name":"f","type":"reg","digest":"\#(digest)","chunkDigest":"\#(digest)",\#(row)}]}"#
        let data = try EStargzReader.deflate(text)
        let table = try EStargzReader.deflate(TarSample.tar([.file("stargz.index.json", ByteBuffer(string: json))]))
        let blob = data + table + EStargzReader.footer(tocOffset: data.readableBytes)
        let annotations = [Annotation.estargzTOCDigest: "\(Digest(of: json.utf8))"]
        let descriptor = Descriptor(layer: blob, .layer(.gzip), annotations: annotations)
        let code = await code {
            let layer = try await LazyLayer.open(descriptor, in: MemorySource(blob))
            for try await _ in try await layer.read("f") {}
        }
        #expect(Self.codes.contains(code))
    }

    @Test(
        "of an eStargz footer is an offset in the layer, or the layer is plain gzip", arguments: OutsideNumbers.strange)
    func footers(_ number: String) async throws {
        var blob = Array(try EStargzReader.deflate(ByteBuffer.text(4096)).readableBytesView)
        var footer = Array(EStargzReader.footer(tocOffset: 0).readableBytesView)
        let digits = Array(String(repeating: "0", count: 16).utf8) + Array(number.utf8)
        footer.replaceSubrange(16..<32, with: digits.suffix(16))
        blob += footer
        let descriptor = Descriptor(layer: ByteBuffer(bytes: blob), .layer(.gzip), annotations: [:])
        let code = await code { _ = try await LazyLayer.open(descriptor, in: MemorySource(ByteBuffer(bytes: blob))) }
        #expect(code == .unsupported || code == .corrupted)
    }

    @Test(
        "of a gzip trailer or a zstd header is checked, and not trusted",
        arguments: [0, 1, 1 << 31, UInt32.max] as [UInt32])
    func sizes(_ number: UInt32) async throws {
        let tar = TarSample.small
        let bytes = withUnsafeBytes(of: number.littleEndian) { Array($0) }
        var gzip = Array(try await LayerEncoder(CompressionOptions(type: .gzip)).encode(tar).bytes.readableBytesView)
        gzip.replaceSubrange(gzip.count - 4..<gzip.count, with: bytes)
        // A frame whose header says that so many bytes follow, and a block of none.
        let zstd: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0xA0] + bytes + [1, 0, 0]
        let huge: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0xE0] + bytes + bytes + [1, 0, 0]
        for (blob, type) in [(gzip, Compression.gzip), (zstd, .zstd), (huge, .zstd)] {
            let code = await code {
                _ = try await LayerDecoder().decode(.chunks(ByteBuffer(bytes: blob), of: 7), mediaType: .layer(type))
                    .bytes()
            }
            #expect(Self.codes.contains(code))
        }
    }
}
