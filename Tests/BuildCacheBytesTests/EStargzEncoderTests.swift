import BuildCacheBytes
import BuildCacheCore
import NIOCore
import Testing

@Suite("The eStargz encoder")
struct EStargzEncoderTests {
    @Test(
        "writes the very bytes that BuildKit wrote, given the gzip members of BuildKit's compressor",
        arguments: Fixtures.layers.filter(\.isEStargz))
    func writesAsBuildKit(_ layer: Fixtures.Layer) async throws {
        let blob = try await layer.source.open(layer.descriptor, range: nil).bytes()
        let reference = try EStargzReader(blob)
        // What each member holds, and the member: all that Go's compressor does other than ours.
        let members = try reference.members()
        let tar = members.dropLast(2).reduce(ByteBuffer()) { $0 + $1.content }
        let compressor = ReplayingCompressor(members)
        let encoder = EStargzEncoder(parallelism: 2, compressor: compressor)
        var written = ByteBuffer()
        let encoded = try await encoder.encode(.chunks(tar, of: 10_000)) { written.writeImmutableBuffer($0) }
        #expect(written == blob)
        #expect(encoded.tocDigest?.description == layer.descriptor.annotations[Annotation.estargzTOCDigest])
        #expect(DiffID(encoded.uncompressed.digest) == layer.descriptor.diffID)
        let size = layer.descriptor.annotations[Annotation.estargzUncompressedSize]
        #expect(encoded.uncompressed.size.description == size)
    }
}

/// Knows gzip members and what they hold, and "compresses" only that.
private struct ReplayingCompressor: MemberCompressor {
    private let members: [(stored: ByteBuffer, content: ByteBuffer)]

    init(_ members: [(stored: ByteBuffer, content: ByteBuffer)]) { self.members = members }

    func compress(_ pieces: [ByteBuffer]) throws(CacheError) -> (members: ByteBuffer, sizes: [Int]) {
        let stored = try pieces.map { piece throws(CacheError) in
            guard let member = members.first(where: { $0.content == piece }) else {
                throw CacheError(.notFound, "no member holds these \(piece.readableBytes) bytes")
            }
            return member.stored
        }
        return (stored.reduce(ByteBuffer(), +), stored.map(\.readableBytes))
    }
}
