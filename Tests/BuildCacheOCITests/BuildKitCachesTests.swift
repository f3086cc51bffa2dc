import BuildCacheCore
import BuildCacheOCI
import Foundation
import Testing

@Suite("Every OCI layout that BuildKit wrote")
struct BuildKitCachesTests {
    @Test("has an index.json that is encoded again to its bytes", arguments: Fixtures.layouts)
    func indexes(_ layout: String) throws {
        let bytes = try Fixtures.file("\(layout)/index.json")
        let index = try OCILayoutIndex(decoding: bytes)
        #expect(text(index.encode()) == text(compact(bytes)))
    }

    @Test("has an index.json that a fresh index becomes by putting its tag", arguments: Fixtures.layouts)
    func freshIndexes(_ layout: String) throws {
        // The others were copied into a layout by another tool, after BuildKit had pushed them to a registry.
        guard layout.contains("/local-") else { return }
        let bytes = try Fixtures.file("\(layout)/index.json")
        let entry = try #require(try OCILayoutIndex(decoding: bytes).entry(tag: "latest")?.descriptor())
        let document = RawDocument(mediaType: entry.mediaType, bytes: try Fixtures.blob(entry.digest, in: layout))
        var fresh = OCILayoutIndex()
        fresh.put(document.descriptor, tag: "latest")
        #expect(text(fresh.encode()) == text(bytes))
        #expect(try Fixtures.file("\(layout)/oci-layout") == OCILayoutIndex.layoutFile)
    }

    @Test("has manifests and indexes that are encoded again to their bytes", arguments: Fixtures.layouts)
    func documents(_ layout: String) throws {
        let index = try OCILayoutIndex(decoding: try Fixtures.file("\(layout)/index.json"))
        var pending = try index.entries.map { try $0.descriptor() }
        var kinds: Set<String> = []
        while let descriptor = pending.popLast() {
            let bytes = try Fixtures.blob(descriptor.digest, in: layout)
            let document = try Document(decoding: bytes)
            switch document {
            case .cache(let cache):
                kinds.insert("cache")
                let encoded = CacheManifest(config: cache.config, layers: cache.layers, layout: cache.layout).encode()
                #expect(text(encoded.bytes) == text(bytes))
                #expect(encoded.digest == descriptor.digest)
                #expect(encoded.mediaType == descriptor.mediaType)
                #expect(cache.layout == Self.layout(named: layout))
                #expect(encoded.buildKitLimitWarning == nil)
            case .image(let manifest):
                kinds.insert("image")
                let encoded = manifest.encode()
                #expect(encoded.mediaType == descriptor.mediaType)
                if manifest.mediaType == .dockerManifest {
                    // Docker wrote the size of a descriptor before its digest.
                    #expect(try Document(decoding: encoded.bytes) == document)
                } else {
                    // Attestations have their empty config inlined, which is not kept.
                    let kept = text(compact(bytes)).replacing(#","data":"e30=""#, with: "")
                    #expect(text(encoded.bytes) == kept)
                }
            case .index(let index):
                kinds.insert("index")
                #expect(text(index.encode().bytes) == text(compact(bytes)))
                #expect(index.encode().mediaType == descriptor.mediaType)
                pending += index.manifests
            }
        }
        #expect(kinds.contains("cache") != layout.contains("/inline"))
    }

    @Test("has the inline caches, layers and times that an independent reader found", arguments: Fixtures.layouts)
    func inlineCaches(_ layout: String) throws {
        guard layout.contains("/inline") else { return }
        let index = try OCILayoutIndex(decoding: try Fixtures.file("\(layout)/index.json"))
        var pending = try index.entries.map { try $0.descriptor() }
        var found: [Digest: [Descriptor]] = [:]
        while let descriptor = pending.popLast() {
            switch try Document(decoding: try Fixtures.blob(descriptor.digest, in: layout)) {
            case .cache: Issue.record("an image was taken for a cache")
            case .index(let index): pending += index.manifests
            case .image(let manifest):
                let config = try #require(manifest.config)
                let bytes = try Fixtures.blob(config.digest, in: layout)
                let imageConfig = try ImageConfig(decoding: bytes)
                guard let records = imageConfig.inlineCache else { continue }
                #expect(records.first == UInt8(ascii: "[") && records.last == UInt8(ascii: "]"))
                let layers: [Descriptor] = try #require(imageConfig.cacheLayers(of: manifest))
                found[config.digest] = layers

                // BuildKit patched the config just so: without its cache and with it again it has the same bytes.
                let without = try ImageConfig.settingInlineCache(nil, in: bytes)
                #expect(try ImageConfig(decoding: without).inlineCache == nil)
                #expect(text(try ImageConfig.settingInlineCache(records, in: without)) == text(bytes))
            }
        }

        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let expected = try decoder.decode(Expected.self, from: Data(try Fixtures.file("\(layout).expected.json")))
        #expect(Set(found.keys.map(\.description)) == Set(expected.caches.map(\.configDigest)))
        for cache in expected.caches {
            let positions = try #require(found[try Digest(cache.configDigest)])
            // That reader knows a blob once, with the time of its last place, as BuildKit does; here each place has its own.
            let layers = positions.map { layer in positions.last { $0.digest == layer.digest } ?? layer }
            #expect(layers.map(Expected.Layer.init) == cache.layerList)
        }
    }

    private static func layout(named name: String) -> ManifestLayout {
        if name.hasSuffix("docker-index") { return .dockerList }
        return name.hasSuffix("oci-index") ? .ociIndex : .imageManifest
    }

    /// What the fixtures say of themselves.
    private struct Expected: Decodable {
        struct Cache: Decodable {
            var configDigest: String
            var layerList: [Layer]
        }
        struct Layer: Decodable, Equatable {
            var digest: String
            var size: Int64
            var mediaType: String
            var diffID: String
            var createdAt: String?

            init(_ layer: Descriptor) {
                digest = layer.digest.description
                size = layer.size
                mediaType = layer.mediaType.text
                diffID = layer.diffID?.description ?? ""
                createdAt = layer.createdAt?.description
            }
        }
        var caches: [Cache]
    }
}
