import BuildCacheBytes
import BuildCacheCore
import BuildCacheRegistry
import BuildCacheSpec
import BuildCacheTesting
import Testing
import TestServers
import TestTools

@Suite("A cache in a registry")
struct ConformanceTests {
    @Test(
        "keeps a promise at docker-registry: it",
        .enabled(if: Tool.dockerRegistry.isInstalled, "docker-registry is not installed"),
        arguments: BackendConformance.checks, ManifestLayout.allCases)
    func atDockerRegistry(_ check: BackendConformance.Check, _ layout: ManifestLayout) async throws {
        try await DockerRegistry.run { address in
            try await conformance(
                at: address, layout: layout, check, RegistryClient(settings: .init(credentials: .anonymous)))
        }
    }
}

/// Runs one check on caches of a registry.
func conformance(
    at address: String, layout: ManifestLayout = .imageManifest, _ check: BackendConformance.Check,
    _ client: RegistryClient
) async throws {
    try await ScratchStore.withTemporary { scratch in
        try await check.run(
            BackendConformance { setup in
                let options = RegistryOptions(ref: try Reference("\(address)/conformance:\(setup.cache)"))
                let export = ExportOptions(mode: setup.mode, compression: setup.compression, layout: layout)
                return RegistryCache(options, export: export, scratch: scratch, client: client)
            })
    }
}
