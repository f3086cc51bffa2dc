import BuildCacheBytes
import BuildCacheCore
import BuildCacheTesting
import BuildCacheClient
import Testing

@Suite("The tar of a layer")
struct LayerReadingTests {
    private func descriptor(_ layer: SampleLayer, diffID: String?) -> Descriptor {
        var descriptor = layer.descriptor
        descriptor.annotations[Annotation.uncompressed] = diffID
        return descriptor
    }

    private func code(_ body: () async throws -> Void) async -> CacheError.Code? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? CacheError)?.code
        }
    }

    @Test("is given out whole only if it has the diffID that its descriptor claims", arguments: [true, false])
    func diffIDs(_ isCompressed: Bool) async throws {
        let layer = SampleLayer("a", isCompressed: isCompressed)
        let source = MemorySource([layer.stored])
        let right = Digest(of: layer.tar).description
        let wrong = Digest(of: "of another image".utf8).description
        for (diffID, expected) in [(right, CacheError.Code?.none), (nil, nil), (wrong, .corrupted)] {
            let claim = descriptor(layer, diffID: diffID)
            let opened = await code { for try await _ in try await source.openTar(of: claim) {} }
            #expect(opened == expected)
            let checked = await code { try await source.checkDiffID(of: claim) }
            #expect(checked == expected)
        }
    }

    @Test("is not read where its descriptor claims no diffID, or is not of a layer")
    func unclaimed() async throws {
        let layer = SampleLayer("a")
        try await MemorySource([]).checkDiffID(of: descriptor(layer, diffID: nil))
        var other = layer.descriptor
        other.mediaType = "application/vnd.example.disk"
        try await MemorySource([]).checkDiffID(of: other)
        let missing = await code { try await MemorySource([]).checkDiffID(of: layer.descriptor) }
        #expect(missing == .notFound)
    }
}
