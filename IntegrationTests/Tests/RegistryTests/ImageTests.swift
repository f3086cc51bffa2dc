@testable import BuildCacheBytes
@testable import BuildCacheClient
@testable import BuildCacheCore
@testable import BuildCacheOCI
@testable import BuildCacheRegistry
@testable import BuildCacheTesting
import Foundation
@testable import TestServers
@testable import TestTools
import Testing

@Suite("An image in a registry")
struct ImageTests {
    @Test("is read by platform, gets a layer more, and is stored under another name with what it lacks there")
    func appending() async throws {
        let fixture = LocalImages(path: FixtureArchive.buildkit.appending(path: "06-platforms/inline").path)
        try await withRepository(FakeRegistry()) { images, _, _ in
            try await ScratchStore.withTemporary { scratch in
                var entries: [Descriptor] = []
                for architecture in ["amd64", "arm64"] {
                    let platform = Platform(os: "linux", architecture: architecture)
                    var entry = try await images.publish(fixture.image("latest", platform: platform), as: nil)
                    entry.platform = platform
                    entries.append(entry)
                }
                try await images.publish(ImageIndex(manifests: entries).encode(), as: "base")

                let base = try await images.image("base", platform: Platform(os: "linux", architecture: "arm64"))
                #expect(base.descriptor.digest == entries[1].digest)
                let sample = SampleLayer("one more", isCompressed: false)
                let layer = try await scratch.layer { BlobStream(sample.tar) }
                let log = ProgressLog()
                let root = try await images.publish(
                    base.appending(layer, createdBy: "test"), as: "app", progress: log.sink)
                // The base's layers are there.
                let sent = log.events.compactMap { if case .started(let sent) = $0 { sent.digest } else { nil } }
                #expect(sent == [layer.descriptor.digest])

                let read = try await images.image("app")
                #expect(read.descriptor.digest == root.digest)
                #expect(read.config.diffIDs.dropLast() == base.config.diffIDs[...])
                for layer in read.layers { for try await _ in try await read.blobs.openTar(of: layer) {} }
            }
        }
    }
}
