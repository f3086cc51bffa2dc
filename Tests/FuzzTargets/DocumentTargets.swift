import BuildCacheBytes
import BuildCacheCore
@testable import BuildCacheGraph
import BuildCacheOCI
@testable import BuildCacheClient

extension FuzzTarget {
    /// Documents of a cache: its config, manifests, image configs, the index of a directory, and all of them for a prune.
    static let documents = [config, manifest, image, layout, prune]

    private static let limits = CacheConfigLimits(maximumBytes: 1 << 20, maximumEntries: 1 << 14)
    private static let layer = Descriptor(
        mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: Digest(of: "layer".utf8), size: 5)

    /// Two configs, united; what they become is read and written again without a change.
    private static let config = FuzzTarget("config", seeds: { _, bytes in contains("\"records\"", bytes) }) { input in
        let parts = input.parts
        var graph = LayerGraph()
        for part in parts.prefix(3) {
            let inline = part.bytes.first == UInt8(ascii: "[")
            let read = try LayerGraph(
                decodingConfig: part.bytes,
                layers: inline ? .image(Array(repeating: layer, count: 4)) : .annotated, limits: limits)
            for mode in CacheMode.allCases { _ = read.selected(mode) }
            do {
                try graph.merge(read, maximumSteps: 1 << 16)
            } catch let error as CacheError where error.code == .limitExceeded {
                return
            }
        }
        let lookup = CacheLookup(graph)
        for id in graph.recordIDs.prefix(64) {
            let record = try graph[id]
            _ = try lookup.results(of: [id])
            for result in record.results { _ = try graph.chain(result.layer) }
        }
        let encoded = try graph.encodeConfig(.annotated).bytes
        let again = try LayerGraph(decodingConfig: encoded, layers: .annotated)
        let bytes = try again.encodeConfig(.annotated).bytes
        try check(bytes == encoded, "a config that we wrote is written again with other bytes")
    }

    private static let manifest = FuzzTarget("manifest", seeds: { _, bytes in contains("\"schemaVersion\"", bytes) }) {
        input in
        let document = try Document(decoding: input.bytes, limit: 1 << 20)
        _ = document.references.map(\.digest)
        switch document {
        case .cache(let cache): _ = try Document(decoding: cache.encode().bytes)
        case .image(let image): _ = try Document(decoding: image.encode().bytes)
        case .index(let index): _ = try Document(decoding: index.encode().bytes)
        }
    }

    private static let image = FuzzTarget("image", seeds: { _, bytes in contains("\"rootfs\"", bytes) }) { input in
        let config = try ImageConfig(decoding: input.bytes, limit: 1 << 20)
        let manifest = ImageManifest(config: layer, layers: config.diffIDs.map { _ in layer })
        if let records = config.inlineCache, let layers = config.cacheLayers(of: manifest) {
            _ = try? LayerGraph(decodingConfig: records, layers: .image(layers), limits: limits)
        }
        let changed = try ImageConfig.settingInlineCache(Array("[]".utf8), in: input.bytes)
        let again = try ImageConfig(decoding: changed)
        try check(again.diffIDs == config.diffIDs, "putting a cache into an image changes its layers")
        let layers = again.history.count { !$0.isEmptyLayer }
        try check(layers >= again.diffIDs.count, "an image with a cache has a shorter history than layers")
    }

    private static let layout = FuzzTarget("layout", seeds: { path, _ in path.hasSuffix("index.json") }) { input in
        var index = try OCILayoutIndex(decoding: input.bytes, limit: 1 << 20)
        let entries = index.entries.count
        index.put(layer, tag: "a tag of ours")
        let again = try OCILayoutIndex(decoding: index.encode())
        try check(again.entries.count <= entries + 1, "one put adds several entries")
        let found = try again.entry(tag: "a tag of ours")?.descriptor().digest
        try check(found == layer.digest, "a tag that was just put leads elsewhere")
    }

    /// Names and blobs as a store lists them.
    private static let prune = FuzzTarget("prune", seeds: { _, bytes in contains("\"records\"", bytes) }) { input in
        let now = Timestamp.zero
        let names = input.parts.prefix(8).enumerated().map { number, part in
            StoredName(
                "name-\(number)", version: "\(number)", modifiedAt: number % 3 == 0 ? nil : now, config: part.bytes,
                limits: limits)
        }
        let reached = names.flatMap {
            ($0.blobs ?? [:]).map { StoredBlob(digest: $0.key, size: $0.value, modifiedAt: nil) }
        }
        let orphan = StoredBlob(digest: layer.digest, size: .max, modifiedAt: Timestamp(seconds: -1_000_000_000))
        let plan = PrunePlan(
            backend: "fuzz", Retention(maximumCount: 100), now: now, names: Array(names),
            blobs: .listed(reached + [orphan]), removesSharedVersions: false)
        try check(plan.removedNames.isEmpty, "a prune removes names that its retention keeps")
        let keptDigests = Set(reached.compactMap(\.digest))
        try check(
            plan.blobs.allSatisfy { blob in blob.digest.map { !keptDigests.contains($0) } ?? true },
            "a prune removes a blob that a name reaches")
        _ = plan.description
    }

    private static func contains(_ text: StaticString, _ bytes: [UInt8]) -> Bool {
        isJSON(bytes) && String(decoding: bytes, as: UTF8.self).contains("\(text)")
    }
}
