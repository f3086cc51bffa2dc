import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheRegistry
import BuildCacheSpec
import BuildCacheTesting
import BuildCacheTransfer
import TestServers
import TestTools
import Testing

@Suite("A cache in a registry")
struct ConformanceTests {
    @Test(
        "keeps a promise at docker-registry: it",
        .enabled(if: Tool.dockerRegistry.isInstalled, "docker-registry is not installed"),
        arguments: BackendConformance.checks, ManifestLayout.allCases)
    func atDockerRegistry(_ check: BackendConformance.Check, _ layout: ManifestLayout) async throws {
        try await DockerRegistry.run { address in
            try await check.run(
                at: address, layout: layout, RegistryClient(settings: .init(credentials: .anonymous)))
        }
    }
}

extension BackendConformance.Check {
    /// Runs the check on caches of a registry.
    func run(
        at address: String, layout: ManifestLayout = .imageManifest, _ client: RegistryClient
    ) async throws {
        try await ScratchStore.withTemporary { scratch in
            try await run(
                BackendConformance { setup in
                    let options = RegistryOptions(ref: try Reference("\(address)/conformance:\(setup.cache)"))
                    let export = ExportOptions(mode: setup.mode, compression: setup.compression, layout: layout)
                    let cache = RegistryCache(options, export: export, scratch: scratch, client: client)
                    return layout.usesDockerTypes ? OCITypes(base: cache) : cache
                })
        }
    }
}

/// A cache whose layers come back with OCI's media types, whichever they are stored with: a Docker manifest list knows only its own.
private struct OCITypes<Base: CacheBackend>: CacheBackend {
    let base: Base

    var traits: BackendTraits { base.traits }

    func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        try await base.exportCache(graph, from: source, progress: progress)
    }

    func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        guard let cache = try await base.importCache(progress: progress) else { return nil }
        let parts = try cache.parts.map { part in
            let blobs = part.graph.descriptors.mapValues { descriptor in
                var descriptor = descriptor
                descriptor.mediaType = descriptor.mediaType.asLayer(docker: false)
                return descriptor
            }
            return ImportedCache.Part(manifest: part.manifest, graph: try part.graph.replacing(blobs: blobs))
        }
        return try ImportedCache(parts: parts, blobs: cache.blobs, warnings: cache.warnings)
    }
}
