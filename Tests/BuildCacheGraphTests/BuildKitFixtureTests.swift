import BuildCacheCore
import BuildCacheGraph
import Foundation
import TestTools
import Testing

/// Every cache config that BuildKit wrote for the fixtures.
private enum Fixtures {
    static let configs: [String] = {
        let folder = FixtureArchive.buildkit
        let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: [.fileSizeKey])
        var found: [String] = []
        while let file = files?.nextObject() as? URL {
            guard file.path.contains("/blobs/sha256/") || file.path.contains("/objects/"),
                let size = try? file.resourceValues(forKeys: [.fileSizeKey]).fileSize, size < 1 << 20,
                let handle = try? FileHandle(forReadingFrom: file), let start = try? handle.read(upToCount: 10),
                String(decoding: start, as: UTF8.self) == #"{"layers":"#
            else { continue }
            found.append(file.path)
        }
        return found.sorted()
    }()
}

@Suite("A cache config written by BuildKit")
struct BuildKitFixtureTests {
    @Test("comes back byte for byte, as it is and selected in either mode", arguments: Fixtures.configs)
    func roundTrips(_ path: String) throws {
        let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        let isAnnotated = String(decoding: bytes, as: UTF8.self).contains(#""annotations""#)
        let graph = try LayerGraph(decodingConfig: bytes, layers: isAnnotated ? .annotated : .undescribed)
        let form: EncodedCacheConfig.Form = isAnnotated ? .annotated : .plain
        #expect(try graph.encodeConfig(form).bytes == bytes)
        #expect(try graph.selected(.min).encodeConfig(form).bytes == bytes)
        #expect(try graph.selected(.max).encodeConfig(form).bytes == bytes)
    }

    @Test("does not change when it is merged with itself", arguments: Fixtures.configs)
    func mergesWithItself(_ path: String) throws {
        let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        var graph = try LayerGraph(decodingConfig: bytes, layers: .undescribed)
        let once = graph
        try graph.merge(once)
        #expect(graph == once)
        #expect(try graph.encodeConfig().bytes == once.encodeConfig().bytes)
    }
}
