@testable import BuildCache
import Foundation
@testable import TestServers
@testable import TestTools
import Testing

@Suite(
    "At docker-registry, a cache that BuildKit wrote",
    .enabled(if: Tool.dockerRegistry.isInstalled, "docker-registry is not installed"))
struct RegistryTests {
    private static let folders = Set(Fixture.all.map(\.folder)).sorted()
    private static let images = Fixture.all.filter(\.isInline)

    @Test(
        "has the manifest and the config that it had in a directory, and again in the next directory",
        arguments: folders)
    func keepsDigests(_ folder: String) async throws {
        try await DockerRegistry.run { address in
            try await ScratchStore.withTemporary { scratch in
                for (number, fixture) in Fixture.standalone.filter({ $0.folder == folder }).enumerated() {
                    let expected = try #require(fixture.expected.caches.first)
                    let export = ExportOptions(mode: fixture.mode, layout: fixture.layout)
                    let remote = try registryCache("\(address)/build/\(folder):v\(number)", export, scratch)
                    let cache = try await importCache(fixture, scratch: scratch)
                    let pushed = try await remote.exportCache(
                        cache.graph, from: LayerSource(blobs: cache.blobs), progress: .discarded)
                    #expect(pushed.published.values.map(\.digest.description) == [expected.manifestDigest])

                    let pulled = try #require(try await remote.importCache(progress: .discarded))
                    try fixture.compare(pulled)
                    let directory = try TemporaryDirectory()
                    let stored = try await copy(pulled, to: directory.path + "/copy", export, scratch: scratch)
                    #expect(stored.published.values.map(\.digest.description) == [expected.manifestDigest])
                    #expect(stored.problems == [])
                }
            }
        }
    }

    @Test(
        "is read by skopeo", .enabled(if: Tool.skopeo.isInstalled, "skopeo is not installed"),
        arguments: ManifestLayout.allCases)
    func skopeoInspects(_ layout: ManifestLayout) async throws {
        let fixtures = Fixture.standalone.filter { $0.name.hasSuffix("local-max-gzip-oci-imagemanifest") }
        try #require(!fixtures.isEmpty)
        try await DockerRegistry.run { address in
            try await ScratchStore.withTemporary { scratch in
                for fixture in fixtures {
                    let name = "\(address)/build/\(fixture.folder):cache"
                    let cache = try await importCache(fixture, scratch: scratch)
                    let receipt = try await registryCache(name, ExportOptions(mode: .max, layout: layout), scratch)
                        .exportCache(cache.graph, from: LayerSource(blobs: cache.blobs), progress: .discarded)
                    let manifest = try await Tool.skopeo.output(
                        "inspect", "--tls-verify=false", "--raw", "docker://\(name)")
                    #expect(receipt.published["cache"]?.digest == Digest(of: manifest))
                }
            }
        }
    }

    @Test("is found in the image that it is inside of, for every platform", arguments: images)
    func importsInline(_ fixture: Fixture) async throws {
        try await DockerRegistry.run { address in
            try await ScratchStore.withTemporary { scratch in
                let digest = fixture.expected.caches[0].manifestDigest
                let name = try #require(fixture.isTaggedLatest ? "latest" : digest)
                let directory = LocalImages(path: fixture.path)
                let repository = try await RegistryRepository(
                    try Reference("\(address)/build/image"), client: .anonymous())
                let root = try #require(try await directory.resolve(name))
                try await push(root, as: "image", from: directory, to: repository)
                let pulled = try await registryCache("\(address)/build/image:image", ExportOptions(), scratch)
                    .importCache(progress: .discarded)
                try fixture.compare(try #require(pulled))
            }
        }
    }
}

extension RegistryClient {
    fileprivate static func anonymous() -> RegistryClient {
        RegistryClient(settings: RegistrySettings(credentials: .anonymous))
    }
}

private func registryCache(_ name: String, _ export: ExportOptions, _ scratch: ScratchStore) throws -> RegistryCache {
    RegistryCache(RegistryOptions(ref: try Reference(name)), export: export, scratch: scratch, client: .anonymous())
}

/// Copies an image, or an index and all that it leads to, byte for byte.
private func push(
    _ descriptor: Descriptor, as name: String?, from source: LocalImages, to target: RegistryRepository
) async throws {
    let document = try await source.document(descriptor)
    let decoded = try Document(decoding: document.bytes)
    for reference in decoded.references {
        if case .index = decoded {
            try await push(reference, as: nil, from: source, to: target)
        } else {
            try await target.put(reference, from: source)
        }
    }
    try await target.publish(document, as: name)
}
