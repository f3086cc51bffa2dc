@testable import BuildCacheTesting
@testable import TestServers
@testable import TestTools
import Testing

@Suite("A cache at SeaweedFS", .seaweedFS, .enabled(if: Tool.weed.isInstalled, "weed is not installed"))
struct SeaweedFSTests {
    @Test(
        "keeps a promise: it",
        arguments: BackendConformance.checks + BackendConformance.mergeChecks + BackendConformance.pruneChecks)
    func conforms(_ check: BackendConformance.Check) async throws { try await conformance(check) }

    @Test("is pruned: it", arguments: PruneChecks.all)
    func prunes(_ check: PruneChecks.Check) async throws { try await check.run() }
}
