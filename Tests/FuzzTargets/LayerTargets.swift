@testable import BuildCacheBytes
import BuildCacheCore
import NIOCore

extension FuzzTarget {
    /// Layers: compressed in each way, as a tar that becomes eStargz, and read lazily.
    static let layers = [gzip, zstd, tar, toc]

    private static let limit = DecompressionLimit(maximumBytes: 8 << 20, maximumRatio: 1, maximumWindowBytes: 8 << 20)

    private static let gzip = FuzzTarget("gzip", seeds: { _, bytes in bytes.starts(with: [0x1F, 0x8B]) }) { input in
        try await decode(input.bytes, "application/vnd.oci.image.layer.v1.tar+gzip")
    }

    private static let zstd = FuzzTarget(
        "zstd", seeds: { _, bytes in bytes.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) }
    ) { input in
        try await decode(input.bytes, "application/vnd.oci.image.layer.v1.tar+zstd")
    }

    private static func decode(_ bytes: [UInt8], _ type: MediaType) async throws {
        let decoder = LayerDecoder(limit, stored: Int64(bytes.count))
        var size: Int64 = 0
        for try await chunk in try decoder.decode(BlobStream(ByteBuffer(bytes: bytes)), mediaType: type) {
            size += Int64(chunk.readableBytes)
        }
        try check(size <= limit.maximum(stored: Int64(bytes.count)), "a layer is decompressed past its limit")
    }

    /// A tar that becomes an eStargz layer, which is the same tar again and can be read lazily.
    private static let tar = FuzzTarget("tar", seeds: { _, bytes in bytes.dropFirst(257).starts(with: "ustar".utf8) }) {
        input in
        let encoder = EStargzEncoder(parallelism: 1, compressor: try GzipMember(level: 1))
        var stored: [UInt8] = []
        let tar = BlobStream(ByteBuffer(bytes: input.bytes))
        let encoded = try await encoder.encode(tar) { stored += $0.readableBytesView }
        let digest = encoded.stored.digest
        guard let toc = encoded.tocDigest else { throw FuzzFault("an eStargz layer has no table of contents") }
        let layer = Descriptor(
            mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: digest, size: Int64(stored.count),
            annotations: [Annotation.estargzTOCDigest: "\(toc)"])
        let lazy = try await LazyLayer.open(layer, in: Held(bytes: stored), limit: limit)
        for entry in lazy.entries.prefix(16) where entry.kind == .file {
            var size: Int64 = 0
            for try await chunk in try await lazy.read(entry.path) { size += Int64(chunk.readableBytes) }
            try check(size == entry.size, "a file of an eStargz layer has \(size) bytes, not \(entry.size)")
        }
    }

    /// A table of contents of another writer, over a layer that is one file.
    private static let toc = FuzzTarget("toc", seeds: { _, bytes in isTOC(bytes) }) { input in
        let member = try GzipMember(level: 1)
        var stored = Array(try member.compress(ByteBuffer(repeating: 0x61, count: 4096)).readableBytesView)
        let offset = Int64(stored.count)
        let size = Int64(input.bytes.count)
        var file = TarBlock.header(ofFile: EStargz.tocName, size: size)
        file.writeBytes(input.bytes)
        file.writeRepeatingByte(0, count: TarBlock.padding(behind: size) + 1024)
        stored += try member.compress(file).readableBytesView
        stored += EStargz.footer(tocOffset: offset).readableBytesView
        let layer = Descriptor(
            mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: Digest(of: stored),
            size: Int64(stored.count),
            annotations: [Annotation.estargzTOCDigest: "\(Digest(of: input.bytes))"])
        let lazy = try await LazyLayer.open(layer, in: Held(bytes: stored), limit: limit)
        for entry in lazy.entries.prefix(16) {
            do {
                for try await _ in try await lazy.read(entry.path) {}
            } catch is CacheError {}
        }
    }

    private static func isTOC(_ bytes: [UInt8]) -> Bool {
        isJSON(bytes) && String(decoding: bytes.prefix(200), as: UTF8.self).contains("\"entries\"")
    }

    /// One blob in memory.
    private struct Held: BlobSource {
        let bytes: [UInt8]

        func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
            let range = (range ?? 0..<Int64(bytes.count)).clamped(to: 0..<Int64(bytes.count))
            return BlobStream(ByteBuffer(bytes: bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
        }
    }
}
