@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGitHubActions
@testable import BuildCacheSpec
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
@testable import TestTools
import Testing

@Suite("A cache at GitHub")
struct ConformanceTests {
    @Test(
        "keeps a promise in both versions of the protocol: it",
        arguments: BackendConformance.checks + BackendConformance.mergeChecks, [1, 2])
    func promises(_ check: BackendConformance.Check, _ version: Int) async throws {
        // Some checks upload more in a second than GitHub takes in a minute.
        try await GitHubCacheServer(uploadsPerMinute: .max).run { server, url in
            let client = GitHubActionsClient.immediate()
            try await ScratchStore.withTemporary { scratch in
                try await check.run(
                    BackendConformance { setup in
                        GitHubActionsCache(
                            server.options(url, version, scope: setup.cache),
                            export: setup.export, scratch: scratch,
                            client: client)
                    })
            }
        }
    }
}

extension GitHubCacheServer {
    /// The options of a cache here.
    func options(
        _ url: ServiceURL, _ version: Int, scope: String = "buildkit", _ permissions: [Permission]? = nil
    ) -> GitHubActionsOptions {
        GitHubActionsOptions(
            token: permissions.map { token($0) } ?? token(), url: url, urlV2: version == 2 ? url : nil,
            version: version, scope: scope)
    }
}

extension GitHubActionsClient {
    /// A client for which waiting takes no time.
    static func immediate(_ clock: ImmediateClock = ImmediateClock()) -> GitHubActionsClient {
        var client = GitHubActionsClient(environment: .empty)
        client.clock = clock
        // Longer than any machine is busy with other tests: an upload that is given up blocks its key.
        client.grace = .seconds(3600)
        return client
    }
}
