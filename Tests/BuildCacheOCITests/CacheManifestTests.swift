import BuildCacheCore
import BuildCacheOCI
import Foundation
import Testing

@Suite("A cache manifest")
struct CacheManifestTests {
    /// The manifest of `spec/cache-format.md` §5, in the layout asked for.
    private func manifest(_ layout: ManifestLayout) throws -> CacheManifest {
        func layer(_ digest: String, _ size: Int64, _ created: String, _ type: MediaType) throws -> Descriptor {
            Descriptor(
                mediaType: type, digest: try Digest(digest), size: size,
                annotations: [
                    Annotation.uncompressed: Digest(of: created.utf8).description, Annotation.createdAt: created,
                ])
        }
        return CacheManifest(
            config: Descriptor(
                mediaType: .cacheConfig,
                digest: try Digest("sha256:709b7e262ef6294e2f60d359079044a0ec4ef47faccd60cabaf72f33613ca447"),
                size: 574),
            layers: [
                try layer(
                    "sha256:0ad52e338662c923b15fd45a73c6e97336efccf28a7aef9449443cc6dd7415fb", 2_811_969,
                    "2026-01-02T03:04:00.123456789Z",
                    .layer(.gzip)),
                try layer(
                    "sha256:8b53639f152c8fc6ef30802fde462ba0be9cf085f7580dc69efd72e002abbb35", 173,
                    "2026-01-02T03:04:01.123456789Z",
                    .layer(.zstd, docker: true)),
            ], layout: layout)
    }

    @Test("puts the cache config where its layout has it, and names layers as its layout does")
    func layouts() throws {
        let image = try manifest(.imageManifest).encode()
        let text = String(decoding: image.bytes, as: UTF8.self)
        #expect(image.mediaType == .ociManifest)
        #expect(
            text.hasPrefix(
                #"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"sha256:709b7e26"#
            ))
        #expect(text.contains(#""mediaType":"application/vnd.oci.image.layer.v1.tar+zstd""#))

        let index = try manifest(.ociIndex).encode()
        #expect(index.mediaType == .ociIndex)
        #expect(String(decoding: index.bytes, as: UTF8.self).hasSuffix(#""size":574}]}"#))

        let list = try manifest(.dockerList).encode()
        let listText = String(decoding: list.bytes, as: UTF8.self)
        #expect(list.mediaType == .dockerManifestList)
        #expect(listText.contains(#""mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip""#))
        #expect(!listText.contains("vnd.oci"))
        #expect(
            listText.hasSuffix(
                #"{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"sha256:709b7e262ef6294e2f60d359079044a0ec4ef47faccd60cabaf72f33613ca447","size":574}]}"#
            ))
    }

    @Test("is read back as it was written", arguments: ManifestLayout.allCases)
    func roundTrips(_ layout: ManifestLayout) throws {
        let document = try manifest(layout).encode()
        guard case .cache(let read) = try ManifestDocument(decoding: document.bytes) else {
            Issue.record("it was not taken for a cache")
            return
        }
        #expect(read.layout == layout)
        #expect(read.encode() == document)
    }

    @Test("keeps a layer that stands in it twice, and every field of a descriptor")
    func keepsDuplicates() throws {
        var manifest = try manifest(.ociIndex)
        manifest.layers[0].urls = ["https://example.com/<layer>"]
        manifest.layers[0].platform = Platform(
            os: "windows", architecture: "arm", variant: "v7", osVersion: "10.0", osFeatures: ["win32k"])
        manifest.layers[0].artifactType = "text/plain"
        manifest.layers.append(manifest.layers[0])
        guard case .cache(let read) = try ManifestDocument(decoding: manifest.encode().bytes) else {
            Issue.record("it was not taken for a cache")
            return
        }
        #expect(read.layers.count == 3)
        #expect(read.layers[2] == manifest.layers[0])
    }

    @Test("cut anywhere is refused, never a crash", arguments: ManifestLayout.allCases)
    func truncated(_ layout: ManifestLayout) throws {
        let bytes = try manifest(layout).encode().bytes
        for length in 0..<bytes.count {
            #expect(throws: CacheError.self) { try ManifestDocument(decoding: Array(bytes[..<length])) }
        }
    }
}

/// Every manifest in the OCI layouts of the fixtures.
private let fixtureManifests: [String] = {
    let root =
        ProcessInfo.processInfo.environment["BUILD_CACHE_FIXTURES"].map { URL(fileURLWithPath: $0) }
        ?? URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
        .appending(path: "../shared/fixtures").standardized
    let files = FileManager.default.enumerator(
        at: root.appending(path: "buildkit"), includingPropertiesForKeys: [.fileSizeKey])
    var found: [String] = []
    while let file = files?.nextObject() as? URL {
        guard file.path.contains("/blobs/sha256/"), let handle = try? FileHandle(forReadingFrom: file),
            let start = try? handle.read(upToCount: 17),
            String(decoding: start, as: UTF8.self).hasPrefix(#"{"schemaVersion""#)
        else { continue }
        found.append(file.path)
    }
    return found.sorted()
}()

@Suite("A cache manifest written by BuildKit", .enabled(if: !fixtureManifests.isEmpty))
struct BuildKitManifestTests {
    @Test("comes back byte for byte", arguments: fixtureManifests)
    func roundTrips(_ path: String) throws {
        let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        guard case .cache(let manifest) = try ManifestDocument(decoding: bytes) else { return }
        #expect(String(decoding: manifest.encode().bytes, as: UTF8.self) == String(decoding: bytes, as: UTF8.self))
    }
}
