// A backend of one's own, here in memory, and the proof that it keeps every promise that the library's backends keep.
//
//     swift run own-backend
//
//     ok  has no cache before the first export
//     ok  gives back the graph that was exported
//     …
import BuildCache
import BuildCacheTesting

/// Keeps blobs and names in memory. A real one has a store of files, objects or rows instead.
actor Storage {
    private var configs: [String: [UInt8]] = [:]

    func config(_ name: String) -> [UInt8]? { configs[name] }
    func publish(_ bytes: [UInt8], as name: String) { configs[name] = bytes }
}

struct MemoryCache: CacheBackend {
    let name: String
    let export: ExportOptions
    let blobs: MemoryStore
    let storage: Storage
    let scratch: ScratchStore

    var traits: BackendTraits { BackendTraits(name: "memory", transfersInFlight: 4, envelope: .bareConfig) }

    func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        // Selects, converts and stores the layers; no name leads to them yet.
        var done = try await BareExport(
            graph, from: source, options: export, scratch: scratch, limits: CacheConfigLimits(),
            limit: traits.transfersInFlight, progress: progress
        ) { layer, bytes in try await blobs.put(layer, from: bytes) }
        if let config = done.config {
            // The last moment to leave the cache as it was.
            try Task.checkCancellation()
            await storage.publish(config.bytes, as: name)
            done.published(as: name, progress)
        }
        return done.receipt
    }

    func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        guard let bytes = await storage.config(name) else { return nil }
        var cache = try ImportedCache(configs: [(name, bytes)], layers: blobs)
        try await cache.removeMissing(from: blobs)
        return cache
    }
}

@main
struct OwnBackend {
    static func main() async throws {
        let (blobs, storage) = (MemoryStore(), Storage())
        try await ScratchStore.withTemporary { scratch in
            let suite = BackendConformance { setup in
                MemoryCache(
                    name: setup.cache, export: ExportOptions(mode: setup.mode, compression: setup.compression),
                    blobs: blobs, storage: storage, scratch: scratch)
            }
            for check in BackendConformance.checks {
                try await check.run(suite)
                print("ok  \(check.name)")
            }
        }
    }
}
