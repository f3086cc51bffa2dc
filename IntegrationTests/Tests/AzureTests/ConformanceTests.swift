@testable import BuildCacheAzure
@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheSpec
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
import Testing

@Suite("A cache in Azure")
struct ConformanceTests {
    @Test(
        "keeps a promise: it",
        arguments: BackendConformance.checks + BackendConformance.mergeChecks + BackendConformance.pruneChecks)
    func promises(_ check: BackendConformance.Check) async throws {
        try await AzureBlobServer().run { server, url in
            try await ScratchStore.withTemporary { scratch in
                try await check.run(
                    BackendConformance { setup in
                        // One name: of several that are written at the same time, each may be another export's in the end.
                        AzureBlobCache(
                            server.options(url, names: [setup.cache]),
                            export: setup.export, scratch: scratch)
                    })
            }
        }
    }
}

extension AzureBlobServer {
    /// The options of a cache here, with the account's key.
    func options(_ url: ServiceURL, prefix: String = "a/b", names: [String] = ["buildkit"]) -> AzureBlobOptions {
        AzureBlobOptions(
            accountURL: url, accountName: account, container: "cache", prefix: prefix, names: names,
            secretAccessKey: key)
    }
}
