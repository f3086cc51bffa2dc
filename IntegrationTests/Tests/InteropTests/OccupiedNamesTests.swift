@testable import BuildCache
@testable import BuildCacheTesting
import Testing

@Suite("A name that leads to something that is not a cache", .serialized)
struct OccupiedNamesTests {
    @Test("is not replaced on any backend, merging or not, unless the program says so", arguments: WritePolicy.allCases)
    func isNotReplaced(_ policy: WritePolicy) async throws {
        try await withS3 { s3 in
            try await Backends.run(s3: s3) { backends in
                let sample = try SampleCache.diamond()
                // An inline cache is written with its image, which is replaced anyway.
                for kind in backends.kinds where kind != .inline {
                    let name = "occupied-\(kind)"
                    try await backends.backend(kind, name).export(sample)
                    try await backends.occupy(kind, name)
                    let backend = try backends.backend(
                        kind, name, export: ExportOptions(mode: .max, writePolicy: policy))
                    let error = await #expect(throws: CacheError.self, "\(kind)") { try await backend.export(sample) }
                    #expect(error?.code == .occupied, "\(kind): \(String(describing: error))")
                    #expect(error?.message.contains("replacesOtherContent") == true, "\(kind)")

                    let careless = ExportOptions(mode: .max, writePolicy: policy, replacesOtherContent: true)
                    try await backends.backend(kind, name, export: careless).export(sample)
                    let isBack = try await backends.get(kind, name).graph.withDiffIDs() == sample.graph.withDiffIDs()
                    #expect(isBack, "\(kind)")
                }
            }
        }
    }
}
