import BuildCacheBytes
import BuildCacheCore
import NIOCore
import TestTools
import Testing

@Suite("A lazy layer")
struct LazyLayerTests {
    // Three chunks, two of them full, between small files.
    private static let large = ByteBuffer.random((9 << 20) + 5)
    private static let tar = TarSample.tar([
        .directory("etc/"), .file("etc/os-release", ByteBuffer(string: "NAME=x\n")), .file("empty", ByteBuffer()),
        .file("lib/large", large), .file("last", ByteBuffer(string: "the end")),
        .hardLink("etc/release", "etc/os-release"),
        .symbolicLink("etc/link", "os-release"), .file("twice", ByteBuffer(string: "first")),
        .file("./twice", ByteBuffer(string: "second")),
    ])

    /// An eStargz layer in a source that knows what was read of it.
    private func layer() async throws -> (LazyLayer, RecordingSource, Descriptor) {
        let (blob, encoded) = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(LazyLayerTests.tar)
        let annotations = [Annotation.estargzTOCDigest: "\(try #require(encoded.tocDigest))"]
        let descriptor = Descriptor(layer: blob, .layer(.gzip), annotations: annotations)
        let source = RecordingSource(blob)
        return (try await LazyLayer.open(descriptor, in: source), source, descriptor)
    }

    @Test("lists what the layer holds, the last of two entries of one name")
    func lists() async throws {
        let (layer, _, _) = try await layer()
        #expect(
            layer.entries.map(\.path) == [
                "etc", "etc/os-release", "empty", "lib/large", "last", "etc/release", "etc/link", "twice",
            ])
        #expect(layer["etc"]?.kind == .directory)
        #expect(layer["/lib//large/"]?.size == Int64(LazyLayerTests.large.readableBytes))
        #expect(layer["lib/large"]?.digest == Digest(of: LazyLayerTests.large))
        #expect(layer["etc/link"]?.linkTarget == "os-release")
        #expect(layer["lib"] == nil)
    }

    @Test("reads files by name, through hard links too")
    func reads() async throws {
        let (layer, _, _) = try await layer()
        func text(_ path: String) async throws -> String { String(buffer: try await layer.read(path).bytes()) }
        #expect(try await text("etc/os-release") == "NAME=x\n")
        #expect(try await text("./etc/release") == "NAME=x\n")
        #expect(try await text("empty") == "")
        #expect(try await text("twice") == "second")
        #expect(try await text("last") == "the end")
        let large = try await layer.read("lib/large")
        #expect(large.length == Int64(LazyLayerTests.large.readableBytes))
        #expect(try await large.bytes() == LazyLayerTests.large)
        // A stream can be read again.
        #expect(try await large.bytes() == LazyLayerTests.large)
    }

    @Test("tells names apart by their bytes, however long they are and whoever wrote them")
    func names() async throws {
        let long = String(repeating: String(repeating: "n", count: 249) + "/", count: 15)
        var gnu = TarSample.Entry.file(long + "gnu", ByteBuffer(string: "GNU"))
        gnu.usesGNU = true
        // One is é, the other e and an accent: equal as strings, two files on Linux.
        let names = [long + "posix", "caf\u{E9}", "cafe\u{301}"]
        let tar = TarSample.tar([gnu] + names.map { .file($0, ByteBuffer(string: "\($0.utf8.count)")) })
        let (blob, encoded) = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(tar)
        let annotations = [Annotation.estargzTOCDigest: "\(try #require(encoded.tocDigest))"]
        let descriptor = Descriptor(layer: blob, .layer(.gzip), annotations: annotations)
        let layer = try await LazyLayer.open(descriptor, in: MemorySource(blob))
        #expect(layer.entries.count == 4)
        #expect(try await layer.read(gnu.name).bytes() == ByteBuffer(string: "GNU"))
        for name in names {
            #expect(try await layer.read(name).bytes() == ByteBuffer(string: "\(name.utf8.count)"))
        }
    }

    @Test(
        "reads files out of tars that Python wrote", .enabled(if: Tool.python.isInstalled),
        arguments: ["USTAR", "GNU", "PAX"])
    func formats(_ format: String) async throws {
        // Long enough for the prefix of ustar, and a number of an owner that octal digits cannot hold.
        let name = String(repeating: "d/", count: 70) + String(repeating: "n", count: 90)
        let script = """
            import io,sys,tarfile
            t=tarfile.open(fileobj=sys.stdout.buffer,mode='w|',format=tarfile.\(format)_FORMAT)
            for name in ['first','\(name)','last']:
                i=tarfile.TarInfo(name); i.size=len(name); i.mtime=1700000000
                if '\(format)'!='USTAR': i.uid=2**31+5; i.mtime=1700000000.7
                t.addfile(i,io.BytesIO(name.encode()))
            t.close()
            """
        let tar = ByteBuffer(bytes: try await Tool.python.output("-c", script))
        let (blob, encoded) = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(tar)
        let annotations = [Annotation.estargzTOCDigest: "\(try #require(encoded.tocDigest))"]
        let descriptor = Descriptor(layer: blob, .layer(.gzip), annotations: annotations)
        let layer = try await LazyLayer.open(descriptor, in: MemorySource(blob))
        #expect(layer.entries.map(\.path) == ["first", name, "last"])
        for name in ["first", name, "last"] {
            #expect(try await layer.read(name).bytes() == ByteBuffer(string: name))
        }
    }

    @Test("fetches what holds the bytes that were asked for, and nothing else")
    func fetchesLittle() async throws {
        let (layer, source, descriptor) = try await layer()
        #expect(source.bytesRead < 8 << 10)
        #expect(try await layer.read("etc/os-release").bytes().readableBytes == 7)
        #expect(source.bytesRead < 16 << 10)
        // Of random bytes a chunk is about as large compressed as not.
        let (chunk, middle) = (Int64(4 << 20), Int64(5 << 20)..<Int64(5 << 20) + 100)
        let part = try await layer.read("lib/large", range: middle).bytes()
        #expect(part == LazyLayerTests.large.getSlice(at: 5 << 20, length: 100))
        #expect((chunk..<chunk + 64 << 10).contains(source.bytesRead))
        let across = try await layer.read("lib/large", range: chunk - 1..<chunk + 1).bytes()
        #expect(across == LazyLayerTests.large.getSlice(at: 4 << 20 - 1, length: 2))
        #expect(source.bytesRead < descriptor.size * 2)
        #expect(try await layer.read("lib/large", range: 7..<7).bytes().readableBytes == 0)
    }

    @Test("refuses what is no file, is not there, or ends before the range")
    func refuses() async throws {
        let (layer, _, _) = try await layer()
        func code(_ path: String, _ range: Range<Int64>? = nil) async -> CacheError.Code? {
            do {
                _ = try await layer.read(path, range: range)
                return nil
            } catch {
                return (error as? CacheError)?.code
            }
        }
        #expect(await code("etc") == .unsupported)
        #expect(await code("etc/link") == .unsupported)
        #expect(await code("nothing") == .notFound)
        #expect(await code("last", 0..<8) == .corrupted)
    }

    @Test("hands out no byte of a damaged chunk, and the chunks before it")
    func verifies() async throws {
        let (_, _, descriptor) = try await layer()
        let (blob, _) = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(LazyLayerTests.tar)
        // Other bytes in well-formed gzip: only the digest can tell.
        var other = LazyLayerTests.tar
        other.setInteger(other.getInteger(at: 6 << 20, as: UInt8.self).map { $0 ^ 1 } ?? 0, at: 6 << 20)
        let (damaged, _) = try await LayerEncoder(CompressionOptions(type: .estargz)).encode(other)
        let whole = try EStargzReader(blob)
        try #require(try EStargzReader(damaged).tocOffset == whole.tocOffset)
        let mixed = damaged.prefix(whole.tocOffset) + blob.dropFirst(whole.tocOffset)
        let layer = try await LazyLayer.open(descriptor, in: MemorySource(mixed, as: descriptor.digest))
        var received = 0
        let error = await #expect(throws: CacheError.self) {
            for try await chunk in try await layer.read("lib/large") { received += chunk.readableBytes }
        }
        #expect(error?.code == .corrupted)
        #expect(received == 4 << 20)
        let last = try await layer.read("last").bytes()
        #expect(last == ByteBuffer(string: "the end"))
    }

    @Test("is refused where the table of contents is not the one that the descriptor names, or nothing names it")
    func verifiesTOC() async throws {
        let (_, source, descriptor) = try await layer()
        var other = descriptor
        other.annotations[Annotation.estargzTOCDigest] = "\(Digest(of: "other".utf8))"
        #expect(await code(other, source) == .corrupted)
        other.annotations = [:]
        #expect(await code(other, source) == .unsupported)
        let (gzip, _) = try await LayerEncoder(CompressionOptions(type: .gzip)).encode(LazyLayerTests.tar)
        let plain = Descriptor(layer: gzip, .layer(.gzip), annotations: descriptor.annotations)
        #expect(await code(plain, MemorySource(gzip)) == .unsupported)
    }

    private func code(_ descriptor: Descriptor, _ source: any BlobSource) async -> CacheError.Code? {
        do {
            _ = try await LazyLayer.open(descriptor, in: source)
            return nil
        } catch {
            return (error as? CacheError)?.code
        }
    }

    @Test(
        "reads every file of every layer that BuildKit wrote",
        arguments: Fixtures.layers.filter(\.isEStargz))
    func fixtures(_ fixture: Fixtures.Layer) async throws {
        let layer = try await LazyLayer.open(fixture.descriptor, in: fixture.source)
        for entry in layer.entries where entry.kind == .file {
            let bytes = try await layer.read(entry.path).bytes()
            #expect(Digest(of: bytes) == entry.digest, "\(entry.path)")
            #expect(Int64(bytes.readableBytes) == entry.size)
        }
    }
}
