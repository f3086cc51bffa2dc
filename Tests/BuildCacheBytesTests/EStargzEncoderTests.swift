import BuildCacheBytes
import BuildCacheCore
import NIOCore
import Synchronization
import Testing

@Suite("The eStargz encoder")
struct EStargzEncoderTests {
    @Test(
        "writes the very bytes that BuildKit wrote, given the gzip members of BuildKit's compressor",
        .enabled(if: Fixtures.areThere), arguments: Fixtures.layers.filter(\.isEStargz))
    func writesAsBuildKit(_ layer: Fixtures.Layer) async throws {
        let blob = try await layer.source.open(layer.descriptor, range: nil).bytes()
        let reference = try EStargzReader(blob)
        // What each member holds, and the member: all that Go's compressor does other than ours.
        let members = try reference.members()
        let tar = members.dropLast(2).reduce(ByteBuffer()) { $0 + $1.content }
        let unknown = Mutex(0)
        let encoder = EStargzEncoder(parallelism: 2) { pieces throws(CacheError) in
            let compressed = pieces.map { piece in
                let member = members.first { $0.content == piece }?.stored
                if member == nil { unknown.withLock { $0 += 1 } }
                return member ?? ByteBuffer()
            }
            return (compressed.reduce(ByteBuffer(), +), compressed.map(\.readableBytes))
        }
        var written = ByteBuffer()
        let encoded = try await encoder.encode(.chunks(tar, of: 10_000)) { written.writeImmutableBuffer($0) }
        #expect(unknown.withLock { $0 } == 0)
        #expect(written == blob)
        #expect(encoded.tocDigest?.description == layer.descriptor.annotations[Annotation.estargzTOCDigest])
        #expect(DiffID(encoded.uncompressed.digest) == layer.descriptor.diffID)
        let size = layer.descriptor.annotations[Annotation.estargzUncompressedSize]
        #expect(encoded.uncompressed.size.description == size)
    }
}
