import BuildCacheBytes
import BuildCacheCore
import NIOCore
import Testing

@Suite("An eStargz layer")
struct EStargzTests {
    @Test("is told from plain gzip by its content")
    func recognized() async throws {
        for layer in Fixtures.layers {
            let toc = try await EStargz.tocOffset(of: layer.descriptor, in: layer.source, limit: DecompressionLimit())
            #expect((toc != nil) == layer.isEStargz, "\(layer.layout) \(layer.descriptor.digest)")
        }
    }

    @Test("converted to another type is the tar it was made of", arguments: [Compression.uncompressed, .gzip, .zstd])
    func restoresTar(_ type: Compression) async throws {
        let options = CompressionOptions(type: type, force: true)
        var converted = 0
        try await ScratchStore.withTemporary { store in
            // The layers of one build, as eStargz and as tar.
            for fixture in Set(Fixtures.layers.map { $0.layout.prefix(3) }) {
                let all = Fixtures.layers.filter { $0.layout.hasPrefix(fixture) && $0.layout.contains("/local-max-") }
                let tars = Set(all.filter { !$0.isEStargz }.compactMap(\.descriptor.diffID))
                for layer in all where layer.isEStargz {
                    let restored = try await store.layer(from: layer.descriptor, in: layer.source, to: options)
                    let diffID = try #require(restored.descriptor.diffID)
                    #expect(tars.contains(diffID), "\(layer.layout) \(layer.descriptor.digest)")
                    #expect(restored.descriptor.annotations == [Annotation.uncompressed: "\(diffID)"])
                    let toc = try await EStargz.tocOffset(
                        of: restored.descriptor, in: restored.source, limit: DecompressionLimit())
                    #expect(toc == nil)
                    converted += 1
                }
            }
        }
        #expect(converted > 50)
    }
}
