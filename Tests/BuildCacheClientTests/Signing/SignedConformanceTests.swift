import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheTesting
import TestTools
import Testing

/// The promises of all backends, with exports that are signed and imports that require it.
@Suite("A signed backend")
struct SignedConformanceTests {
    private static let checks =
        BackendConformance.checks + BackendConformance.mergeChecks + BackendConformance.pruneChecks

    @Test("in memory keeps a promise: it", arguments: checks)
    func memory(_ check: BackendConformance.Check) async throws {
        try await ScratchStore.withTemporary { scratch in
            let (store, trust) = (MemoryStore(), try CacheTrust.test())
            try await check.run(
                BackendConformance { setup in
                    SignedCache(
                        MemoryCache(setup.cache, export: setup.export, in: store, scratch: scratch), trust: trust)
                })
        }
    }

    @Test("in a directory keeps a promise: it", arguments: checks)
    func local(_ check: BackendConformance.Check) async throws {
        let directory = try TemporaryDirectory()
        try await ScratchStore.withTemporary { scratch in
            let trust = try CacheTrust.test(TestKeys.p256)
            try await check.run(
                BackendConformance { setup in
                    SignedCache(
                        try LocalCache(
                            LocalOptions(dest: directory.path, tag: setup.cache, reset: true), export: setup.export,
                            scratch: scratch), trust: trust)
                })
        }
    }
}
