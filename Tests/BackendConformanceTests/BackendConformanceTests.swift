import BuildCache
import BuildCacheTesting
import Foundation
import Testing

/// A backend to check: one line for each that there is.
struct CheckedBackend: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let makeBackend:
        @Sendable (BackendConformance.Setup, _ folder: String, ScratchStore) async throws -> any CacheBackend

    static let all = [
        CheckedBackend(testDescription: "local, a directory each") { setup, folder, scratch in
            try LocalCache(LocalOptions(dest: folder + "/" + setup.cache), export: setup.export, scratch: scratch)
        },
        CheckedBackend(testDescription: "local, a tag each in one directory") { setup, folder, scratch in
            var export = setup.export
            export.layout = .ociIndex
            return try LocalCache(
                LocalOptions(dest: folder, tag: setup.cache, reset: true), export: export, scratch: scratch)
        },
    ]
}

@Suite("Every backend")
struct BackendConformanceTests {
    @Test(
        "keeps a promise: it", arguments: CheckedBackend.all,
        BackendConformance.checks + BackendConformance.mergeChecks + BackendConformance.pruneChecks)
    func keepsPromise(_ checked: CheckedBackend, _ check: BackendConformance.Check) async throws {
        let folder = NSTemporaryDirectory() + "build-cache-conformance-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try await ScratchStore.withTemporary { scratch in
            try await check.run(BackendConformance { try await checked.makeBackend($0, folder, scratch) })
        }
    }
}
