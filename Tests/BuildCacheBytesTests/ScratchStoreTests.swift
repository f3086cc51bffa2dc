import BuildCacheBytes
import BuildCacheCore
import Foundation
import NIOCore
import Synchronization
import Testing

@Suite("A scratch store")
struct ScratchStoreTests {
    private let tar = TarSample.small + .text(3_000_000)

    private func stored(_ type: Compression) async throws -> ByteBuffer {
        try await LayerEncoder(CompressionOptions(type: type)).encode(tar).bytes
    }
    private func forced(_ type: Compression, level: Int? = nil) -> CompressionOptions {
        CompressionOptions(type: type, level: level, force: true)
    }

    @Test(
        "converts between all types, replacing annotations and keeping the diffID",
        arguments: Compression.writable, Compression.writable)
    func converts(_ from: Compression, _ to: Compression) async throws {
        let bytes = try await stored(from)
        let descriptor = Descriptor(
            layer: bytes, .layer(from, docker: true),
            annotations: [
                Annotation.uncompressed: "\(Digest(of: tar))", Annotation.createdAt: "2026-01-02T03:04:05Z",
                "other": "x",
                "containerd.io/distribution.source.example.org": "a/b",
            ])
        let source = MemorySource(bytes)
        try await ScratchStore.withTemporary { store in
            let layer = try await store.layer(from: descriptor, in: source, to: forced(to))
            guard from != to else {
                #expect(layer.descriptor == descriptor)
                #expect(source.wholeBlobOpens == 0)
                return
            }
            #expect(layer.descriptor.mediaType == .layer(to))
            #expect(
                layer.descriptor.annotations == [
                    Annotation.uncompressed: "\(Digest(of: tar))",
                    "containerd.io/distribution.source.example.org": "a/b",
                ])
            let converted = try await VerifiedSource(layer.source).open(layer.descriptor, range: nil)
            #expect(try await LayerDecoder().decode(converted, mediaType: layer.descriptor.mediaType).bytes() == tar)
        }
    }

    /// A compressed layer whose type says that it is not.
    private static let mislabelled = Compression.allCases.filter { $0 != .uncompressed }

    @Test(
        "decompresses a layer that is compressed though its type says tar, whether or not its diffID is known",
        arguments: mislabelled, Compression.allCases)
    func convertsMislabelled(_ from: Compression, _ to: Compression) async throws {
        let bytes = try await stored(from)
        let whole = try await LayerDecoder().decode(.chunks(bytes), mediaType: .layer(.gzip)).bytes()
        for annotations in [[:], [Annotation.uncompressed: "\(Digest(of: whole))"]] {
            let descriptor = Descriptor(layer: bytes, .layer(.uncompressed), annotations: annotations)
            try await ScratchStore.withTemporary { store in
                let layer = try await store.layer(from: descriptor, in: MemorySource(bytes), to: forced(to))
                #expect(layer.descriptor.mediaType == .layer(to))
                let converted = try await VerifiedSource(layer.source).open(layer.descriptor, range: nil)
                let tar = try await LayerDecoder().decode(converted, mediaType: layer.descriptor.mediaType).bytes()
                #expect(tar.prefix(self.tar.readableBytes) == self.tar)
                #expect(layer.descriptor.diffID?.digest == Digest(of: tar))
                // Not a compressed tar that was called a tar.
                if to == .uncompressed { #expect(layer.descriptor.digest == layer.descriptor.diffID?.digest) }
            }
        }
    }

    @Test("gives back the very layers it converted", arguments: Compression.writable)
    func convertsFixtures(_ type: Compression) async throws {
        try await ScratchStore.withTemporary { store in
            for fixture in Fixtures.layers where fixture.layout.hasPrefix("09-") || fixture.layout.hasPrefix("01-") {
                let layer = try await store.layer(from: fixture.descriptor, in: fixture.source, to: forced(type))
                let bytes = try await VerifiedSource(layer.source).open(layer.descriptor, range: nil)
                let value = try await LayerDecoder().decode(bytes, mediaType: layer.descriptor.mediaType).value()
                #expect(layer.descriptor.diffID.map { $0.digest == value.digest } ?? (type == .gzip))
                // The table of contents of eStargz is part of its diffID, all others keep theirs.
                if !fixture.isEStargz, let diffID = fixture.descriptor.diffID { #expect(diffID.digest == value.digest) }
            }
        }
    }

    @Test("leaves layers alone unless force is on", arguments: Compression.writable)
    func leavesAlone(_ type: Compression) async throws {
        let bytes = try await stored(.gzip)
        let descriptor = Descriptor(layer: bytes, .layer(.gzip), annotations: ["a": "b"])
        try await ScratchStore.withTemporary { store in
            let source = MemorySource(bytes)
            let layer = try await store.layer(
                from: descriptor, in: source, to: CompressionOptions(type: type, level: 1))
            #expect(layer.descriptor == descriptor)
            #expect(source.wholeBlobOpens == 0)
        }
    }

    @Test("does not recompress a layer of the right type, whatever the level")
    func ignoresLevels() async throws {
        let bytes = try await stored(.gzip)
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        try await ScratchStore.withTemporary { store in
            let layer = try await store.layer(from: descriptor, in: MemorySource(bytes), to: forced(.gzip, level: 9))
            #expect(layer.descriptor == descriptor)
        }
    }

    @Test("leaves alone what is no layer, and refuses layers of unknown types")
    func otherTypes() async throws {
        let config = Descriptor(layer: .random(10), .cacheConfig)
        let unknown = Descriptor(layer: .random(10), "application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
        try await ScratchStore.withTemporary { store in
            let untouched = try await store.layer(from: config, in: MemorySource(.random(10)), to: forced(.zstd))
            #expect(untouched.descriptor == config)
            let error = await #expect(throws: CacheError.self) {
                _ = try await store.layer(from: unknown, in: MemorySource(.random(10)), to: forced(.zstd))
            }
            #expect(error?.code == .unsupported)
        }
    }

    @Test("stores nothing of a layer whose digest, size, diffID or format is wrong")
    func refusesDamage() async throws {
        let bytes = try await stored(.gzip)
        let right = Descriptor(layer: bytes, .layer(.gzip))
        var wrongDiffID = right
        wrongDiffID.annotations[Annotation.uncompressed] = "\(Digest(of: ByteBuffer.random(3)))"
        var wrongSize = right
        wrongSize.size += 1
        let damaged = bytes.flipping(5000)
        let cases: [(Descriptor, MemorySource)] = [
            (right, MemorySource(damaged, as: right.digest)), (wrongDiffID, MemorySource(bytes)),
            (wrongSize, MemorySource(bytes)), (Descriptor(layer: damaged, .layer(.gzip)), MemorySource(damaged)),
        ]
        try await withDirectory { directory in
            let store = try await ScratchStore.open(at: directory)
            for (descriptor, source) in cases {
                let error = await #expect(throws: CacheError.self) {
                    _ = try await store.layer(from: descriptor, in: source, to: forced(.zstd))
                }
                #expect(error?.code == .corrupted)
                #expect(error?.context.subject == "\(descriptor.digest)")
            }
            #expect(files(below: directory) == [])
        }
    }

    @Test("passes on that a layer is not there")
    func missing() async throws {
        try await ScratchStore.withTemporary { store in
            let error = await #expect(throws: CacheError.self) {
                _ = try await store.layer(
                    from: Descriptor(layer: .random(99), .layer(.gzip)), in: MemorySource([:]), to: forced(.zstd))
            }
            #expect(error?.code == .notFound)
        }
    }

    // MARK: Pending layers

    @Test("makes a layer of a tar that was never stored", arguments: Compression.writable)
    func pending(_ type: Compression) async throws {
        let tar = self.tar
        let time = try Timestamp("2026-01-02T03:04:05.5Z")
        let pending = PendingLayer(name: "step 3") { .chunks(tar, of: 10_000) }
        try await ScratchStore.withTemporary { store in
            let layer = try await store.layer(
                pending: pending, createdAt: time, to: CompressionOptions(type: type))
            #expect(layer.descriptor.mediaType == .layer(type))
            #expect(layer.descriptor.annotations[Annotation.createdAt] == "2026-01-02T03:04:05.5Z")
            let stored = try await VerifiedSource(layer.source).open(layer.descriptor, range: nil)
            let value = try await LayerDecoder().decode(stored, mediaType: .layer(type)).value()
            #expect(layer.descriptor.diffID?.digest == value.digest)
            let undated = try await store.layer(
                pending: PendingLayer { .chunks(tar) }, createdAt: nil, to: CompressionOptions())
            #expect(undated.descriptor.annotations == [Annotation.uncompressed: "\(Digest(of: tar))"])
        }
    }

    // MARK: Sharing

    @Test("does one conversion for all who ask at the same time")
    func shares() async throws {
        let bytes = try await stored(.gzip)
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        let gate = Gate(MemorySource(bytes))
        try await ScratchStore.withTemporary { store in
            async let first = store.layer(from: descriptor, in: gate, to: forced(.zstd))
            async let second = store.layer(from: descriptor, in: gate, to: forced(.zstd, level: 3))
            async let third = store.layer(from: descriptor, in: gate, to: forced(.zstd, level: 0))
            await gate.untilLookedAt(3)
            gate.open()
            let digests = try await [first, second, third].map(\.descriptor.digest)
            #expect(Set(digests).count == 1)
            #expect(gate.base.wholeBlobOpens == 1)
        }
    }

    @Test("goes on for the others when one who asked is cancelled")
    func survivesOneCancellation() async throws {
        let bytes = try await stored(.gzip)
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        let gate = Gate(MemorySource(bytes))
        try await ScratchStore.withTemporary { store in
            let first = Task { try await store.layer(from: descriptor, in: gate, to: forced(.zstd)) }
            await gate.untilLookedAt(1)
            let second = Task { try await store.layer(from: descriptor, in: gate, to: forced(.zstd)) }
            await gate.untilLookedAt(2)
            first.cancel()
            await #expect(throws: CancellationError.self) { _ = try await first.value }
            gate.open()
            let layer = try await second.value
            #expect(layer.descriptor.mediaType == .layer(.zstd))
            #expect(gate.base.wholeBlobOpens == 1)
        }
    }

    @Test("stops and leaves nothing behind when all who asked are cancelled", arguments: Compression.allCases)
    func stops(_ type: Compression) async throws {
        let endless = EndlessSource()
        let descriptor = Descriptor(
            mediaType: .layer(type == .uncompressed ? .gzip : .uncompressed), digest: Digest(of: tar), size: .max)
        try await withDirectory { directory in
            let store = try await ScratchStore.open(at: directory)
            let tasks = (0..<3).map { _ in
                Task { try await store.layer(from: descriptor, in: endless, to: forced(type)) }
            }
            await endless.untilRead(5)
            for task in tasks { task.cancel() }
            for task in tasks { await #expect(throws: CancellationError.self) { _ = try await task.value } }
            #expect(files(below: directory) == [])
        }
    }

    @Test("whose directory somebody removed fails as such, and not as if the layer were lost")
    func directoryGone() async throws {
        let bytes = try await stored(.gzip)
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        try await withDirectory { directory in
            let store = try await ScratchStore.open(at: directory)
            let converted = try await store.layer(from: descriptor, in: MemorySource(bytes), to: forced(.zstd))
            try FileManager.default.removeItem(atPath: directory)
            let reading = await #expect(throws: CacheError.self) {
                _ = try await converted.source.open(converted.descriptor, range: nil)
            }
            #expect(reading?.code == .unavailable)
            let converting = await #expect(throws: CacheError.self) {
                _ = try await store.layer(from: descriptor, in: MemorySource(bytes), to: forced(.uncompressed))
            }
            #expect(converting?.code == .unavailable)
        }
    }

    // MARK: Remembering

    @Test("reuses what an earlier process converted, as long as the blob is there")
    func remembers() async throws {
        let bytes = try await stored(.gzip)
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        try await withDirectory { directory in
            let before = try await ScratchStore.open(at: directory).layer(
                from: descriptor, in: MemorySource(bytes), to: forced(.zstd))
            let blob = "\(directory)/blobs/sha256/\(before.descriptor.digest.hex)"

            let source = MemorySource(bytes)
            let again = try await ScratchStore.open(at: directory).layer(
                from: descriptor, in: source, to: forced(.zstd))
            #expect(again.descriptor == before.descriptor)
            #expect(source.wholeBlobOpens == 0)

            let other = try await ScratchStore.open(at: directory).layer(
                from: descriptor, in: source, to: forced(.zstd, level: 7))
            #expect(other.descriptor.digest != before.descriptor.digest)
            #expect(source.wholeBlobOpens == 1, "another level is another conversion")

            // A blob that was cut off or removed is made again.
            #expect(truncate(blob, 10) == 0)
            _ = try await ScratchStore.open(at: directory).layer(from: descriptor, in: source, to: forced(.zstd))
            #expect(source.wholeBlobOpens == 2)
            try FileManager.default.removeItem(atPath: blob)
            let last = try await ScratchStore.open(at: directory).layer(from: descriptor, in: source, to: forced(.zstd))
            #expect(source.wholeBlobOpens == 3)
            #expect(
                try await VerifiedSource(last.source).open(last.descriptor, range: nil).value().size
                    == last.descriptor.size)
        }
    }

    @Test("ignores notes that it cannot read")
    func ignoresBrokenNotes() async throws {
        let bytes = try await stored(.gzip)
        let descriptor = Descriptor(layer: bytes, .layer(.gzip))
        try await withDirectory { directory in
            let store = try await ScratchStore.open(at: directory)
            let first = try await store.layer(from: descriptor, in: MemorySource(bytes), to: forced(.zstd))
            let note = "\(directory)/conversions/\(try #require(files(below: "\(directory)/conversions").first))"
            let good = try #require(FileManager.default.contents(atPath: note))
            for broken in [Data(), good.dropLast(), good + good, Data("x".utf8) + good, Data(count: 10_000)] {
                try broken.write(to: URL(fileURLWithPath: note))
                let source = MemorySource(bytes)
                #expect(
                    try await store.layer(from: descriptor, in: source, to: forced(.zstd)).descriptor
                        == first.descriptor)
                #expect(source.wholeBlobOpens == 1)
            }
        }
    }

    @Test("checks a remembered conversion against the descriptor too")
    func checksRemembered() async throws {
        let bytes = try await stored(.gzip)
        var descriptor = Descriptor(layer: bytes, .layer(.gzip))
        try await ScratchStore.withTemporary { store in
            _ = try await store.layer(from: descriptor, in: MemorySource(bytes), to: forced(.zstd))
            descriptor.annotations[Annotation.uncompressed] = "\(Digest(of: bytes))"
            let error = await #expect(throws: CacheError.self) {
                _ = try await store.layer(from: descriptor, in: MemorySource(bytes), to: forced(.zstd))
            }
            #expect(error?.code == .corrupted)
        }
    }

    @Test("that is temporary is gone afterwards, with or without an error")
    func removesItself() async throws {
        struct Stop: Error {}
        let bytes = try await stored(.gzip)
        try await withDirectory { directory in
            try await ScratchStore.withTemporary(in: directory) { store in
                _ = try await store.layer(
                    from: Descriptor(layer: bytes, .layer(.gzip)), in: MemorySource(bytes), to: forced(.zstd))
                #expect(!files(below: directory).isEmpty)
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
            await #expect(throws: Stop.self) {
                try await ScratchStore.withTemporary(in: directory) { _ in throw Stop() }
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
        }
    }

    @Test("in a directory that is no directory is refused")
    func refusesPlaces() async throws {
        try await withDirectory { directory in
            try Data().write(to: URL(fileURLWithPath: "\(directory)/file"))
            let error = await #expect(throws: CacheError.self) {
                _ = try await ScratchStore.open(at: "\(directory)/file/store")
            }
            #expect(error?.code == .notFound)
        }
    }
}

extension Compression {
    /// What keeps the tar as it is: the diffID of eStargz is another one.
    static let writable = [Compression.uncompressed, .gzip, .zstd]
}

/// Holds back whole blobs until it is opened, and counts those who looked at a blob's end.
private final class Gate: BlobSource {
    let base: MemorySource
    private let looks = Mutex(0)
    private let isOpen = Mutex(false)

    init(_ base: MemorySource) { self.base = base }

    func open() { isOpen.withLock { $0 = true } }
    func untilLookedAt(_ times: Int) async { while looks.withLock({ $0 < times }) { await Task.yield() } }

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        if range != nil {
            looks.withLock { $0 += 1 }
        } else {
            while !isOpen.withLock({ $0 }) {
                try Task.checkCancellation()
                await Task.yield()
            }
        }
        return try await base.open(descriptor, range: range)
    }
}

/// A blob that never ends: of zeros, or, for a layer that is to be compressed, of gzip members.
private final class EndlessSource: BlobSource {
    private let reads = Mutex(0)

    func untilRead(_ chunks: Int) async { while reads.withLock({ $0 < chunks }) { await Task.yield() } }

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        guard range == nil else { return BlobStream(ByteBuffer.zeros(51)) }
        let isGzip = descriptor.mediaType.layer?.compression == .gzip
        let chunk =
            isGzip ? try await LayerEncoder(CompressionOptions()).encode(.random(1 << 20)).bytes : .zeros(1 << 20)
        return BlobStream(length: nil) {
            {
                self.reads.withLock { $0 += 1 }
                return chunk
            }
        }
    }
}
