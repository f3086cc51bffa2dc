@testable import BuildCache
import Testing

@Suite("A cache that BuildKit wrote", .fewAtOnce)
struct ImportTests {
    @Test("has the layers, records, links and results that another reader found in it", arguments: Fixture.all)
    func matchesExpectation(_ fixture: Fixture) async throws {
        try await ScratchStore.withTemporary { scratch in
            try fixture.compare(try await importCache(fixture, scratch: scratch))
        }
    }

    @Test("gives every layer back with the digest it says", arguments: Fixture.all)
    func layersVerify(_ fixture: Fixture) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(fixture, scratch: scratch)
            for descriptor in cache.graph.descriptors.values {
                let bytes = try await cache.blobs.bytes(of: descriptor)
                #expect(Digest(of: bytes) == descriptor.digest)
                #expect(Int64(bytes.count) == descriptor.size)
            }
        }
    }
}

extension Fixture {
    /// Expects in `cache` what another reader found in this.
    func compare(_ cache: ImportedCache) throws {
        #expect(cache.problems == [])
        try #require(cache.parts.count == expected.caches.count)
        for (part, expected) in zip(cache.parts, expected.caches) { try expected.compare(part) }
    }

}

extension Fixture.Expected.Cache {
    /// Expects in `part` what another reader found.
    func compare(_ part: ImportedCache.Part) throws {
        let expected = self
        let graph = part.graph
        let records = try graph.recordIDs.map { try graph[$0] }
        if let manifest = expected.imageManifestDigest ?? expected.manifestDigest {
            #expect(part.manifest?.digest.description == manifest)
        }
        #expect(part.manifest?.platform?.os == expected.platform?["os"])
        #expect(part.manifest?.platform?.architecture == expected.platform?["architecture"])
        #expect(records.count == expected.records)
        #expect(records.reduce(0) { $0 + $1.inputs.reduce(0) { $0 + $1.count } } == expected.links)
        #expect(records.reduce(0) { $0 + $1.results.count } == expected.results)
        #expect(records.count { !$0.results.isEmpty } == expected.recordsWithResult)
        #expect(records.count { $0.inputs.isEmpty } == expected.roots)
        let selectors = records.flatMap { $0.inputs.flatMap { $0.map(\.selector) } }.filter { !$0.isEmpty }
        #expect(Set(selectors) == expected.selectors)
        try compareLayers(of: graph)
    }

    private func compareLayers(of graph: LayerGraph) throws {
        let expected = self
        for (digest, descriptor) in graph.descriptors {
            let layer = try #require(expected.layerList.first { $0.digest == digest.description })
            #expect(descriptor.size == layer.size)
            #expect(descriptor.mediaType.text == layer.mediaType)
            #expect(descriptor.diffID?.description == layer.diffID)
            #expect(descriptor.createdAt?.description == layer.createdAt)
        }
        // In the other list a layer is a row with a parent, here it is the chain that leads up to it.
        var expectedChains: [[String]] = []
        for layer in expected.layerList {
            var chain = [layer.digest]
            var parent = layer.parent
            while parent >= 0 {
                chain.insert(expected.layerList[parent].digest, at: 0)
                parent = expected.layerList[parent].parent
            }
            expectedChains.append(chain)
        }
        let chains = try graph.layerIDs.map { try graph.digests(of: $0) }
        if expected.form == "inline" {
            // An image has its layers in one chain; merged layers are chains of some of them.
            #expect(Set(chains.joined()).isSubset(of: Set(expected.layerList.map(\.digest))))
            #expect(graph.descriptors.count == Set(expected.layerList.map(\.digest)).count)
        } else {
            #expect(Set(chains) == Set(expectedChains))
            #expect(graph.layerIDs.count == expected.layers)
            let encoded = try graph.encodeConfig()
            #expect(encoded.layers.map(\.description) == expected.layerList.map(\.digest))
            if let digest = expected.configDigest { #expect(encoded.digest.description == digest) }
        }
    }
}
