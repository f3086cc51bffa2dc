import BuildCacheCore
import Foundation
import TestTools
import Testing

@testable import BuildCacheBytes

/// The chains of layers that BuildKit wrote.
struct FixtureChains: CustomTestStringConvertible {
    var fixture: String
    /// The layers from the lowest to the top, for each layer of the cache.
    var chains: [[Descriptor]]
    var blobs: FileBlobSource
    var testDescription: String { fixture }

    private struct Expected: Decodable {
        struct Cache: Decodable {
            struct Layer: Decodable {
                var digest: String
                var diffID: String
                var mediaType: String
                var parent: Int
                var size: Int64
            }
            var layers: [Layer]

            enum CodingKeys: String, CodingKey { case layers = "layer_list" }
        }
        var caches: [Cache]
    }

    static let all: [FixtureChains] = {
        do {
            return try FileManager.default.contentsOfDirectory(atPath: Fixtures.root).sorted().compactMap { fixture in
                let layout = "\(Fixtures.root)/\(fixture)/local-max-gzip-oci-imagemanifest"
                guard let data = FileManager.default.contents(atPath: "\(layout).expected.json") else { return nil }
                let layers = try JSONDecoder().decode(Expected.self, from: data).caches.flatMap(\.layers)
                let chains = try layers.indices.map { index in
                    var chain: [Descriptor] = []
                    var next = index
                    while next >= 0 {
                        let layer = layers[next]
                        chain.append(
                            Descriptor(
                                mediaType: MediaType(layer.mediaType), digest: try Digest(layer.digest),
                                size: layer.size, annotations: [Annotation.uncompressed: layer.diffID]))
                        next = layer.parent
                    }
                    return Array(chain.reversed())
                }
                return FixtureChains(
                    fixture: fixture, chains: chains, blobs: FileBlobSource(directory: "\(layout)/blobs/sha256"))
            }
        } catch { fatalError("the fixtures cannot be read: \(error)") }
    }()
}

@Suite("Every layer that BuildKit wrote", .enabled(if: geteuid() == 0, "keeping owners takes root"))
struct FixtureRoundTripTests {
    /// Layers in which a file was written again with the same bytes in the same second: the fraction that told BuildKit of it is not in
    /// the tar.
    static let differing: Set<String> = ["08-duplicate-content 2", "08-duplicate-content 3", "08-duplicate-content 4"]

    @Test("becomes the same layer again when it is unpacked and packed", arguments: FixtureChains.all)
    func roundTrip(_ fixture: FixtureChains) async throws {
        for (index, chain) in fixture.chains.enumerated() {
            let folder = try TemporaryDirectory()
            var options = LayerUnpacker.Options()
            options.devices = .made
            let unpacker = LayerUnpacker(options: options)
            try await unpacker.unpack(chain, from: fixture.blobs, to: folder.path + "/new")
            try await unpacker.unpack(chain.dropLast(), from: fixture.blobs, to: folder.path + "/base")
            var packing = LayerPacker.Options()
            packing.owners = .kept
            let tree = LayerPacker.Tree.difference(of: folder.path + "/new", from: folder.path + "/base")
            let diffID = try await LayerPacker(tree, options: packing).diffID()
            let isEqual = diffID == chain.last?.diffID
            #expect(isEqual != Self.differing.contains("\(fixture.fixture) \(index)"), "\(index)")
        }
    }

    @Test("counts 99, of which three differ")
    func count() {
        #expect(FixtureChains.all.map(\.chains.count).reduce(0, +) == 99)
        #expect(Self.differing.count == 3)
    }
}

@Suite("The files of a COPY")
struct CopyFixtureTests {
    /// A COPY of a fixture, with the dates that the files had when BuildKit ran.
    struct Copy: CustomTestStringConvertible, Sendable {
        var fixture: String
        /// Names in the context and in the layer.
        var files: [String: String]
        var modified: Int64
        /// The directory that COPY made, and the time of the build.
        var directory: (path: String, modified: Int64)?
        var testDescription: String { fixture }
    }

    static let copies = [
        Copy(
            fixture: "01-single", files: ["data.bin": "data.bin", "text.txt": "text.txt"], modified: 1_795_407_640,
            directory: ("d", 1_795_407_642)),
        Copy(fixture: "02-multistage", files: ["a.txt": "a"], modified: 1_795_407_646),
        Copy(fixture: "07-empty-layers", files: ["a.txt": "a"], modified: 1_795_407_678),
    ]

    @Test("become the layer that BuildKit wrote", arguments: copies)
    func copy(_ copy: Copy) async throws {
        let folder = try TemporaryDirectory()
        for (source, name) in copy.files {
            let file = "\(folder.path)/\(name)"
            try FileManager.default.copyItem(
                atPath: "\(Fixtures.root)/\(copy.fixture)/context/\(source)", toPath: file)
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: file)
        }
        var options = LayerPacker.Options()
        options.fixedTime = Timestamp(seconds: copy.modified)
        if let directory = copy.directory {
            options.prefix = LayerPacker.Prefix(
                directory.path, modified: try #require(Timestamp(seconds: directory.modified)))
        }
        let diffID = try await LayerPacker(.directory(folder.path), options: options).diffID()
        let layers = try #require(FixtureChains.all.first { $0.fixture == copy.fixture }).chains.compactMap(\.last)
        #expect(layers.contains { $0.diffID == diffID })
    }
}
