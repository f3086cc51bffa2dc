@testable import BuildCache
import Foundation
@testable import TestTools
import Testing

@Suite("A cache that BuildKit wrote and something damaged", .fewAtOnce)
struct DamageTests {
    enum Damage: CaseIterable { case removed, cut, changed }

    private let directory: TemporaryDirectory
    private var path: String { directory.path + "/damaged" }

    init() throws { directory = try TemporaryDirectory() }

    @Test("is imported without the results that need the blob", arguments: Fixture.all, Damage.allCases)
    func losesOneBlob(_ fixture: Fixture, damage: Damage) async throws {
        try await ScratchStore.withTemporary { scratch in
            let whole = try await importCache(fixture, scratch: scratch).graph
            try FileManager.default.copyItem(atPath: fixture.path, toPath: path)
            let layers = whole.descriptors.values.sorted { $0.digest < $1.digest }
            let victim = try #require(layers.dropFirst(layers.count / 2).first)
            try apply(damage, to: path + "/blobs/sha256/" + victim.digest.hex)
            let rest = whole.removingResults { $0.content == .blob(victim.digest) }
            try #require(rest != whole)

            var cache = try await importCache(fixture, at: path, scratch: scratch)
            if damage == .changed {
                // That bytes are other ones shows when they are read: then it is an error of this blob …
                let error = await #expect(throws: CacheError.self) { _ = try await cache.blobs.bytes(of: victim) }
                #expect(error?.code == .corrupted)
                // … and a cache copied from here goes without it.
                guard try !rest.layersInUse.isEmpty else {
                    let error = await #expect(throws: CacheError.self) {
                        try await copy(cache, to: path + "-copy", ExportOptions(mode: .max), scratch: scratch)
                    }
                    #expect(error?.code == .corrupted)
                    return
                }
                try await copy(cache, to: path + "-copy", ExportOptions(mode: .max), scratch: scratch)
                cache = try await importCache(path + "-copy", scratch: scratch)
                // A copy describes only the layers it needs.
                #expect(try cache.graph.withDiffIDs() == rest.selected(.max).withDiffIDs())
            } else {
                #expect(cache.problems.count == 1)
                #expect(cache.graph.resultCount < whole.resultCount)
                // The descriptor of what is gone stays: it tells what the layer was.
                #expect(try cache.graph.withDiffIDs() == rest.withDiffIDs())
            }
            #expect(cache.graph.recordCount == whole.recordCount)
        }
    }

    private func apply(_ damage: Damage, to file: String) throws {
        switch damage {
        case .removed: try FileManager.default.removeItem(atPath: file)
        case .cut, .changed:
            var bytes = try #require(FileManager.default.contents(atPath: file))
            if damage == .cut { bytes.removeLast() } else { bytes[bytes.count / 2] ^= 1 }
            try FileManager.default.removeItem(atPath: file)
            try bytes.write(to: URL(fileURLWithPath: file))
        }
    }
}

extension LayerGraph {
    fileprivate var resultCount: Int { recordIDs.reduce(0) { $0 + ((try? self[$1].results.count) ?? 0) } }

    /// The layers that some result has.
    fileprivate var layersInUse: Set<LayerID> {
        get throws { Set(try recordIDs.flatMap { try self[$0].results.flatMap { try chain($0.layer) } }) }
    }
}
