@testable import BuildCache
import Foundation
@testable import TestTools
import Testing

/// A cache that BuildKit wrote, as an OCI layout, and what a correct reader finds in it.
struct Fixture: Sendable, CustomTestStringConvertible {
    /// Folder and variant, as in `04-diamond/inline`.
    let name: String
    let expected: Expected

    /// What an independent program found, see the fixtures' README.
    struct Expected: Decodable, Sendable {
        struct Cache: Decodable, Sendable {
            var form: String
            var layers: Int
            var records: Int
            var recordsWithResult: Int
            var results: Int
            var links: Int
            var roots: Int
            var selectors: Set<String>
            /// Where there is a config of its own, and a manifest.
            var configDigest: String?
            var manifestDigest: String?
            var imageManifestDigest: String?
            var platform: [String: String]?
            var layerList: [Layer]
        }
        struct Layer: Decodable, Hashable, Sendable {
            var digest: String
            var size: Int64
            var mediaType: String
            var parent: Int
            var diffID: String
            var createdAt: String?
        }
        var caches: [Cache]
    }

    static let root = FixtureArchive.buildkit

    /// Every OCI layout among the fixtures.
    static let all: [Fixture] = {
        let files = FileManager.default
        let folders = ((try? files.contentsOfDirectory(atPath: root.path)) ?? []).sorted()
        return folders.flatMap { folder in
            let variants = ((try? files.contentsOfDirectory(atPath: root.path + "/" + folder)) ?? []).sorted()
            return variants.compactMap { try? Fixture(name: folder + "/" + $0) }
        }
    }()

    /// Caches of their own, not inside images.
    static let standalone = all.filter { !$0.isInline }

    init?(name: String) throws {
        let path = Fixture.root.path + "/" + name
        guard FileManager.default.fileExists(atPath: path + "/oci-layout"),
            let json = FileManager.default.contents(atPath: path + ".expected.json")
        else { return nil }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        self.name = name
        expected = try decoder.decode(Expected.self, from: json)
    }

    var path: String { Fixture.root.path + "/" + name }
    var testDescription: String { name }
    /// The build that it is of.
    var folder: String { String(name.prefix { $0 != "/" }) }
    var isInline: Bool { name.contains("/inline") }
    var isTaggedLatest: Bool { !name.contains("/registry-") && !name.hasSuffix("/inline-docker-20.10") }

    /// `max` or `min`, from the name.
    var mode: CacheMode { name.contains("-max-") ? .max : .min }

    /// The layout that the name says, as in `local-max-gzip-oci-index`.
    var layout: ManifestLayout {
        if name.hasSuffix("docker-index") { return .dockerList }
        return name.hasSuffix("oci-index") ? .ociIndex : .imageManifest
    }

    var compression: Compression? { Compression.allCases.last { name.contains("-\($0.rawValue)-") } }

    /// The same build with other compression, if the fixtures have it in any layout.
    func sibling(_ compression: Compression) -> Fixture? {
        Fixture.standalone.first {
            $0.name.hasPrefix("\(folder)/local-") && $0.mode == mode && $0.compression == compression
        }
    }
}
