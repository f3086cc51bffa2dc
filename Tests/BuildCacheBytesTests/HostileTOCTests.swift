import BuildCacheBytes
import BuildCacheCore
import NIOCore
import Testing

@Suite("A table of contents that lies")
struct HostileTOCTests {
    /// Rows of a table of contents that describe a layer whose data is the gzip of 4 KiB of text.
    struct Sample: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var rows: String
        var code = CacheError.Code.corrupted
    }

    private static let text = ByteBuffer.text(4096)
    private static let digest = "\(Digest(of: text))"
    private static let huge = "9223372036854775807"

    /// A layer with this table of contents.
    private static func layer(_ json: String) throws -> (Descriptor, MemorySource) {
        let data = try EStargzReader.deflate(text)
        let toc = try EStargzReader.deflate(TarSample.tar([.file("stargz.index.json", ByteBuffer(string: json))]))
        let blob = data + toc + EStargzReader.footer(tocOffset: data.readableBytes)
        let annotations = [Annotation.estargzTOCDigest: "\(Digest(of: json.utf8))"]
        return (Descriptor(layer: blob, .layer(.gzip), annotations: annotations), MemorySource(blob))
    }
    private static func table(_ rows: String) -> String { "{\"version\":1,\"entries\":[\(rows)]}" }

    /// A file of one chunk and then more, with these numbers.
    private static func file(size: String = "4096", offset: String = "0", _ more: String = "") -> String {
        """
        {"name":"f","type":"reg","size":\(size),"offset":\(offset),"digest":"\(digest)","chunkDigest":"\(digest)"\(more)}
        """
    }
    private static func chunk(at chunkOffset: String, offset: String = "0", name: String = "f") -> String {
        """
        ,{"name":"\(name)","type":"chunk","offset":\(offset),"chunkOffset":\(chunkOffset),"chunkDigest":"\(digest)"}
        """
    }

    static let refused = [
        Sample(testDescription: "a negative size", rows: file(size: "-1")),
        Sample(
            testDescription: "the least size there is, and chunks",
            rows: file(size: "-9223372036854775808") + chunk(at: "0") + chunk(at: "5")),
        Sample(testDescription: "a size that is no number of 64 bits", rows: file(size: "99999999999999999999")),
        Sample(testDescription: "a size with a fraction", rows: file(size: "0.5")),
        Sample(testDescription: "the largest size there is", rows: file(size: huge), code: .limitExceeded),
        Sample(testDescription: "a chunk above 64 MiB", rows: file(size: "67108865"), code: .limitExceeded),
        Sample(testDescription: "a negative offset", rows: file(offset: "-1")),
        Sample(testDescription: "an offset behind the data", rows: file(offset: huge)),
        Sample(testDescription: "a negative offset inside a member", rows: file(",\"innerOffset\":-1")),
        Sample(testDescription: "a negative size of a chunk", rows: file(",\"chunkSize\":-5")),
        Sample(testDescription: "a chunk that is longer than the file", rows: file(",\"chunkSize\":5000")),
        Sample(testDescription: "chunks that overlap", rows: file(",\"chunkSize\":4096") + chunk(at: "100")),
        Sample(testDescription: "a gap between chunks", rows: file(",\"chunkSize\":100") + chunk(at: "101")),
        Sample(testDescription: "a chunk of nothing", rows: file() + chunk(at: "4096")),
        Sample(testDescription: "a chunk twice", rows: file() + chunk(at: "0")),
        Sample(testDescription: "a chunk at the largest offset there is", rows: file() + chunk(at: huge)),
        Sample(
            testDescription: "chunks that go backwards in the layer",
            rows: file(offset: "30", ",\"chunkSize\":1") + chunk(at: "1", offset: "20") + chunk(at: "2", offset: "10")),
        Sample(testDescription: "a chunk of no file", rows: chunk(at: "0").dropFirst().description),
        Sample(testDescription: "a chunk of another file", rows: file() + chunk(at: "100", name: "g")),
        Sample(testDescription: "a chunk without a digest", rows: "{\"name\":\"f\",\"type\":\"reg\",\"size\":5}"),
        Sample(testDescription: "a file without its chunk", rows: "{\"name\":\"f\",\"type\":\"reg\",\"size\":-5}"),
        Sample(testDescription: "a digest that is none", rows: file(",\"digest\":\"sha256:0\"")),
        Sample(testDescription: "a type that is none", rows: "{\"name\":\"f\",\"type\":\"socket\"}"),
        Sample(testDescription: "an entry that is null", rows: "null"),
        Sample(testDescription: "an entry that is a number", rows: "1"),
        Sample(
            testDescription: "nesting without end", rows: "{\"x\":" + String(repeating: "[", count: 20_000),
            code: .limitExceeded),
    ]

    @Test("is refused when the layer is opened", arguments: refused)
    func refuses(_ sample: Sample) async throws {
        let (descriptor, source) = try HostileTOCTests.layer(HostileTOCTests.table(sample.rows))
        let error = await #expect(throws: CacheError.self) { _ = try await LazyLayer.open(descriptor, in: source) }
        #expect(error?.code == sample.code)
    }

    @Test("is refused when it is no table at all", arguments: ["", "null", "[]", "{\"version\":2}", "{\"version\":1"])
    func refusesOthers(_ json: String) async throws {
        let (descriptor, source) = try HostileTOCTests.layer(json)
        let error = await #expect(throws: CacheError.self) { _ = try await LazyLayer.open(descriptor, in: source) }
        #expect(error?.code == .corrupted)
    }

    /// A layer that is nothing but a table of contents of this JSON, in `data` of a tar.
    private static func layer(json: ByteBuffer, tar: ByteBuffer? = nil) throws -> (Descriptor, MemorySource) {
        let tar = tar ?? TarSample.tar([.file("stargz.index.json", json)])
        let blob = try EStargzReader.deflate(tar) + EStargzReader.footer(tocOffset: 0)
        let annotations = [Annotation.estargzTOCDigest: "\(Digest(of: json))"]
        return (Descriptor(layer: blob, .layer(.gzip), annotations: annotations), MemorySource(blob))
    }

    @Test("about names is refused when one has more than 32 KiB, however few bytes the layer has")
    func longNames() async throws {
        for (name, link) in [
            (String(repeating: "a/", count: 1 << 19), ""), (String(repeating: "n", count: (32 << 10) + 1), ""),
            ("l", String(repeating: "n", count: (32 << 10) + 1)),
        ] {
            let rows = #"{"name":"\#(name)","type":"symlink","linkName":"\#(link)"}"#
            let (descriptor, source) = try HostileTOCTests.layer(json: ByteBuffer(string: HostileTOCTests.table(rows)))
            #expect(descriptor.size < 10_000)
            let error = await #expect(throws: CacheError.self) { _ = try await LazyLayer.open(descriptor, in: source) }
            #expect(error?.code == .limitExceeded)
        }
        let longest = String(repeating: "a/", count: 16 << 10)
        let rows = #"{"name":"\#(longest)","type":"dir"}"#
        let (descriptor, source) = try HostileTOCTests.layer(json: ByteBuffer(string: HostileTOCTests.table(rows)))
        #expect(try await LazyLayer.open(descriptor, in: source).entries.map(\.path) == [String(longest.dropLast())])
    }

    @Test("is refused when it is larger than any table of a layer of that size")
    func largeTables() async throws {
        let empty = ByteBuffer(string: HostileTOCTests.table(""))
        let json = empty + ByteBuffer(repeating: UInt8(ascii: " "), count: 32 << 20)
        let (descriptor, source) = try HostileTOCTests.layer(json: json)
        let error = await #expect(throws: CacheError.self) { _ = try await LazyLayer.open(descriptor, in: source) }
        #expect(error?.code == .limitExceeded)
        // Nor is such a layer taken for one that is stored as it should be.
        await #expect(throws: CacheError.self) {
            try await ScratchStore.withTemporary { store in
                _ = try await store.layer(
                    from: descriptor, in: source, to: CompressionOptions(type: .estargz, force: true))
            }
        }
    }

    @Test("is read up to the caller's limit on decompression, by every reader of it")
    func limits() async throws {
        let rows = #"{"name":"d","type":"dir"}"#
        let json = ByteBuffer(string: HostileTOCTests.table(rows) + String(repeating: " ", count: 3_000_000))
        let (descriptor, source) = try HostileTOCTests.layer(json: json)
        for (bytes, code) in [(Int64(json.readableBytes), CacheError.Code?.none), (2_999_999, .limitExceeded)] {
            let limit = DecompressionLimit(maximumBytes: bytes, maximumRatio: 1)
            let opened = await self.code { _ = try await LazyLayer.open(descriptor, in: source, limit: limit) }
            #expect(opened == code)
            let converted = await self.code {
                try await ScratchStore.withTemporary { store in
                    var store = store
                    store.decompressionLimit = limit
                    _ = try await store.layer(
                        from: descriptor, in: source, to: CompressionOptions(type: .estargz, force: true))
                }
            }
            #expect(converted == code)
        }
    }

    @Test("with zeros without end behind it is taken for the end of plain gzip")
    func endlessPadding() async throws {
        let json = ByteBuffer(string: HostileTOCTests.table(""))
        let tar = TarSample.tar([.file("stargz.index.json", json)])
        for (padding, code) in [(1000, CacheError.Code?.none), (2 << 20, .unsupported)] {
            let (descriptor, source) = try HostileTOCTests.layer(json: json, tar: tar + .zeros(padding))
            let opened = await self.code { _ = try await LazyLayer.open(descriptor, in: source) }
            #expect(opened == code)
        }
    }

    @Test("of a layer is read, and a file of it not, past the caller's limit")
    func limitsReading() async throws {
        let (descriptor, source) = try HostileTOCTests.layer(HostileTOCTests.table(HostileTOCTests.file()))
        for (bytes, code) in [(Int64(4096), CacheError.Code?.none), (4095, .limitExceeded)] {
            let layer = try await LazyLayer.open(
                descriptor, in: source, limit: DecompressionLimit(maximumBytes: bytes, maximumRatio: 0))
            let read = await self.code { _ = try await layer.read("f").bytes() }
            #expect(read == code)
        }
    }

    @Test("that lets a file begin more than 64 MiB into a gzip member is refused")
    func farInsideMember() async throws {
        for (offset, code) in [("67108864", CacheError.Code?.none), ("67108865", .limitExceeded)] {
            let rows = HostileTOCTests.file(",\"innerOffset\":\(offset)")
            let (descriptor, source) = try HostileTOCTests.layer(HostileTOCTests.table(rows))
            let opened = await self.code { _ = try await LazyLayer.open(descriptor, in: source) }
            #expect(opened == code)
        }
    }

    @Test("of very many small files gives each of them")
    func manyFiles() async throws {
        let rows = (0..<2000).map { index in
            #"{"name":"\#(index % 1500)","type":"symlink","linkName":"\#(index)"}"#
        }
        let (descriptor, source) = try HostileTOCTests.layer(HostileTOCTests.table(rows.joined(separator: ",")))
        let layer = try await LazyLayer.open(descriptor, in: source)
        #expect(layer.entries.map(\.linkTarget) == (500..<2000).map { "\($0)" })
        #expect((0..<1500).allSatisfy { layer["\($0)"]?.linkTarget == "\($0 < 500 ? $0 + 1500 : $0)" })
    }

    private func code(_ body: () async throws -> Void) async -> CacheError.Code? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? CacheError)?.code
        }
    }

    @Test("is refused when the file is read and its data is elsewhere", arguments: ["1", "4096", "67108864"])
    func refusesData(_ innerOffset: String) async throws {
        let rows = HostileTOCTests.file(",\"innerOffset\":\(innerOffset)")
        let (descriptor, source) = try HostileTOCTests.layer(HostileTOCTests.table(rows))
        let layer = try await LazyLayer.open(descriptor, in: source)
        let error = await #expect(throws: CacheError.self) { _ = try await layer.read("f").bytes() }
        #expect(error?.code == .corrupted)
        let right = try HostileTOCTests.layer(HostileTOCTests.table(HostileTOCTests.file()))
        let bytes = try await LazyLayer.open(right.0, in: right.1).read("f").bytes()
        #expect(bytes == HostileTOCTests.text, "the same without the offset can be read")
    }

    @Test("of hard links that lead in a circle or nowhere is refused when one is read")
    func circles() async throws {
        let links = [("a", "b"), ("b", "c"), ("c", "a"), ("self", "self"), ("none", "gone")]
        let rows = links.map { "{\"name\":\"\($0)\",\"type\":\"hardlink\",\"linkName\":\"\($1)\"}" }
        let (descriptor, source) = try HostileTOCTests.layer(HostileTOCTests.table(rows.joined(separator: ",")))
        let layer = try await LazyLayer.open(descriptor, in: source)
        for (path, code) in [("a", CacheError.Code.corrupted), ("self", .corrupted), ("none", .notFound)] {
            let error = await #expect(throws: CacheError.self) { _ = try await layer.read(path) }
            #expect(error?.code == code)
        }
    }

    @Test("never crashes the reader, whichever byte of it is wrong or missing")
    func survives() async throws {
        let json = HostileTOCTests.table(
            HostileTOCTests.file(",\"chunkSize\":2000,\"innerOffset\":7") + HostileTOCTests.chunk(at: "2000"))
        for index in json.utf8.indices {
            let offset = json.utf8.distance(from: json.startIndex, to: index)
            var bytes = Array(json.utf8)
            let variants = [UInt8(ascii: "-"), UInt8(ascii: "9"), UInt8(ascii: "\""), 0x80].map { byte in
                bytes[offset] = byte
                return String(decoding: bytes, as: UTF8.self)
            }
            for variant in variants + [String(json[..<index])] {
                let (descriptor, source) = try HostileTOCTests.layer(variant)
                do {
                    let layer = try await LazyLayer.open(descriptor, in: source)
                    for entry in layer.entries { _ = try await layer.read(entry.path).bytes() }
                } catch let error as CacheError {
                    #expect([.corrupted, .unsupported, .limitExceeded].contains(error.code), "\(variant)")
                }
            }
        }
    }

    @Test("about where it begins is taken for the end of plain gzip", arguments: [0, 1, 1 << 40, Int.max, -1])
    func offsets(_ offset: Int) async throws {
        let json = HostileTOCTests.table(HostileTOCTests.file())
        let (whole, source) = try HostileTOCTests.layer(json)
        let blob = try await source.open(whole, range: nil).bytes()
        let wrong = blob.prefix(blob.readableBytes - 51) + EStargzReader.footer(tocOffset: offset)
        let descriptor = Descriptor(layer: wrong, .layer(.gzip), annotations: whole.annotations)
        let error = await #expect(throws: CacheError.self) {
            _ = try await LazyLayer.open(descriptor, in: MemorySource(wrong))
        }
        #expect(error?.code == .unsupported)
    }
}
