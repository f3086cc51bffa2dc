import BuildCacheBytes
import BuildCacheCore
import Foundation
import NIOCore
import Synchronization

/// Blobs in memory, which count how often they were opened.
final class MemorySource: BlobSource {
    private let blobs: [Digest: ByteBuffer]
    private let chunkSize: Int
    private let opened = Mutex(0)

    init(_ blobs: [Digest: ByteBuffer], chunkSize: Int = 1 << 20) {
        self.blobs = blobs
        self.chunkSize = chunkSize
    }

    /// One blob under a digest that need not be its own.
    convenience init(_ bytes: ByteBuffer, as digest: Digest? = nil, chunkSize: Int = 1 << 20) {
        self.init([digest ?? Digest(of: bytes): bytes], chunkSize: chunkSize)
    }

    var wholeBlobOpens: Int { opened.withLock { $0 } }

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        guard let blob = blobs[descriptor.digest] else { throw CacheError(.notFound, "no such blob") }
        if range == nil { opened.withLock { $0 += 1 } }
        let range = range ?? 0..<Int64(blob.readableBytes)
        guard let part = blob.getSlice(at: Int(range.lowerBound), length: range.count) else {
            throw CacheError(.corrupted, "no such bytes")
        }
        return .chunks(part, of: chunkSize)
    }
}

/// One blob in memory, which counts how much of it was read.
final class RecordingSource: BlobSource {
    private let base: MemorySource
    private let counted = Mutex<Int64>(0)

    init(_ bytes: ByteBuffer) { base = MemorySource(bytes) }

    var bytesRead: Int64 { counted.withLock { $0 } }

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        counted.withLock { $0 += Int64(range?.count ?? Int(descriptor.size)) }
        return try await base.open(descriptor, range: range)
    }
}

extension BlobStream {
    /// Streams `bytes` in chunks of `size`.
    static func chunks(_ bytes: ByteBuffer, of size: Int = 1 << 20) -> BlobStream {
        BlobStream(length: Int64(bytes.readableBytes)) {
            var rest = bytes
            return { rest.readableBytes > 0 ? rest.readSlice(length: Swift.min(size, rest.readableBytes)) : nil }
        }
    }

    /// All bytes.
    func bytes() async throws -> ByteBuffer {
        var all = ByteBuffer()
        for try await chunk in self { all.writeImmutableBuffer(chunk) }
        return all
    }

    /// Reads to the end, keeping nothing.
    func value() async throws -> StreamDigest.Value {
        let digest = StreamDigest()
        for try await chunk in self { await digest.update(chunk) }
        return digest.finish()
    }
}

extension LayerEncoder {
    /// The stored bytes of a tar and what the encoder says of them.
    func encode(_ tar: ByteBuffer, chunks: Int = 1 << 20) async throws -> (bytes: ByteBuffer, layer: EncodedLayer) {
        var bytes = ByteBuffer()
        let layer = try await encode(.chunks(tar, of: chunks)) { bytes.writeImmutableBuffer($0) }
        return (bytes, layer)
    }
}

extension LayerDecoder {
    /// A decoder with the default limits.
    init() { self.init(DecompressionLimit(), stored: 0) }
}

extension Digest {
    init(of bytes: ByteBuffer) { self = bytes.withUnsafeReadableBytes { Digest(of: $0) } }
}

extension Descriptor {
    /// A layer with these stored bytes.
    init(layer bytes: ByteBuffer, _ type: MediaType, annotations: [String: String] = [:]) {
        self.init(
            mediaType: type, digest: Digest(of: bytes), size: Int64(bytes.readableBytes), annotations: annotations)
    }
}

extension ByteBuffer {
    /// The first bytes.
    func prefix(_ count: Int) -> ByteBuffer { getSlice(at: readerIndex, length: count) ?? self }

    /// All but the first bytes.
    func dropFirst(_ count: Int) -> ByteBuffer {
        getSlice(at: readerIndex + count, length: readableBytes - count) ?? ByteBuffer()
    }

    /// The same bytes with one of them changed.
    func flipping(_ index: Int) -> ByteBuffer {
        var copy = self
        copy.setInteger(copy.getInteger(at: index, as: UInt8.self).map { $0 ^ 0x55 } ?? 0, at: index)
        return copy
    }

    static func + (left: ByteBuffer, right: ByteBuffer) -> ByteBuffer {
        var sum = left
        sum.writeImmutableBuffer(right)
        return sum
    }

    static func zeros(_ count: Int) -> ByteBuffer { ByteBuffer(repeating: 0, count: count) }

    /// Bytes that look random, the same for the same seed.
    static func random(_ count: Int, seed: UInt64 = 1) -> ByteBuffer {
        var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
        var bytes = ByteBuffer()
        bytes.reserveCapacity(count + 8)
        while bytes.readableBytes < count {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            bytes.writeInteger(state &* 0x2545_F491_4F6C_DD1D)
        }
        return bytes.prefix(count)
    }

    /// Bytes that compress about as well as programs do, the same for the same seed.
    static func text(_ count: Int, seed: UInt64 = 1) -> ByteBuffer {
        let words = random(4096, seed: seed)
        var state = seed
        var bytes = ByteBuffer()
        bytes.reserveCapacity(count + 64)
        while bytes.readableBytes < count {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            if let word = words.getSlice(at: Int(state >> 33) % 4000, length: 8 + Int(state >> 60) * 3) {
                bytes.writeImmutableBuffer(word)
            }
        }
        return bytes.prefix(count)
    }
}

/// Gives `body` the path of a new directory that is removed afterwards.
func withDirectory<Value>(_ body: (String) async throws -> Value) async throws -> Value {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("bytes-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    return try await body(directory)
}

/// The paths of all files below a directory, relative to it.
func files(below directory: String) -> [String] {
    guard let all = FileManager.default.enumerator(atPath: directory) else { return [] }
    return all.compactMap { $0 as? String }.filter {
        var isDirectory: ObjCBool = false
        return FileManager.default.fileExists(atPath: "\(directory)/\($0)", isDirectory: &isDirectory)
            && !isDirectory.boolValue
    }.sorted()
}
