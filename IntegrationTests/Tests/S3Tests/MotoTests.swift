@testable import BuildCacheTesting
@testable import TestServers
@testable import TestTools
import Testing

@Suite("A cache at moto", .moto, .enabled(if: Tool.moto.isInstalled, "moto_server is not installed"))
struct MotoTests {
    @Test(
        "keeps a promise: it",
        arguments: BackendConformance.checks + BackendConformance.pruneChecks)
    func conforms(_ check: BackendConformance.Check) async throws { try await conformance(check) }

    @Test("is pruned: it", arguments: PruneChecks.all)
    func prunes(_ check: PruneChecks.Check) async throws { try await check.run() }
}
