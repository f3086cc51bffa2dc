@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGitHubActions
@testable import BuildCacheHTTP
@testable import BuildCacheSpec
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
@testable import BuildCacheClient
@testable import TestTools

/// Gives `body` a cache at a server, in one version of the protocol.
func withCache(
    _ server: GitHubCacheServer, _ url: ServiceURL, _ version: Int, client: GitHubActionsClient? = nil,
    writePolicy: WritePolicy = .replace, options change: (inout GitHubActionsOptions) -> Void = { _ in },
    _ body: @escaping @Sendable (GitHubActionsCache) async throws -> Void
) async throws {
    var options = server.options(url, version)
    change(&options)
    let changed = options
    try await ScratchStore.withTemporary { scratch in
        try await body(
            GitHubActionsCache(
                changed, export: ExportOptions(mode: .max, writePolicy: writePolicy), scratch: scratch,
                client: client ?? .immediate()))
    }
}

extension CacheBackend {
    func imported() async throws -> ImportedCache? { try await importCache(progress: .discarded) }
}

extension ImportedCache {
    /// Whether every layer can be read and is what it should be.
    func verifies(_ sample: SampleCache) async throws -> Bool {
        guard graph == sample.graph else { return false }
        for layer in sample.layers where try await blobs.bytes(of: layer.descriptor) != layer.stored { return false }
        return true
    }
}
