@testable import BuildCache
import Foundation
@testable import TestTools
import Testing

@Suite("Another tool")
struct ToolTests {
    private let directory: TemporaryDirectory
    private var path: String { directory.path + "/copy" }

    init() throws { directory = try TemporaryDirectory() }

    /// One variant of each build: skopeo reads manifests, and these do not depend on what is in the layers.
    private static let builds = Fixture.standalone.filter { $0.name.hasSuffix("local-max-gzip-oci-imagemanifest") }

    @Test(
        // Of BuildKit's own directories, too, it reads no Docker manifest lists: it sees no tag there.
        "reads the manifest of a copy: skopeo", .enabled(if: Tool.skopeo.isInstalled, "skopeo is not installed"),
        arguments: builds, [ManifestLayout.imageManifest, .ociIndex])
    func skopeoInspects(_ fixture: Fixture, layout: ManifestLayout) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(fixture, scratch: scratch)
            let options = ExportOptions(
                mode: .max, compression: CompressionOptions(type: .zstd, force: true), layout: layout)
            let receipt = try await copy(cache, to: path, options, scratch: scratch)
            let manifest = try await Tool.skopeo.output("inspect", "--raw", "oci:\(path):latest")
            #expect(Digest(of: manifest) == receipt.published["latest"]?.digest)
        }
    }

    @Test(
        "lists the tags of a copy: umoci", .enabled(if: Tool.umoci.isInstalled, "umoci is not installed"),
        arguments: builds)
    func umociLists(_ fixture: Fixture) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(fixture, scratch: scratch)
            try await copy(cache, to: path, ExportOptions(mode: .max), scratch: scratch)
            let tags = try await Tool.umoci.output("list", "--layout", path)
            #expect(String(decoding: tags, as: UTF8.self) == "latest\n")
        }
    }
}
