import BuildCacheBytes
import BuildCacheCore
import Foundation
import TestTools
import Testing

/// The caches that BuildKit wrote; see their README.
enum Fixtures {
    static let root = FixtureArchive.buildkit.path

    /// A layer of a fixture and where it lies.
    struct Layer: CustomTestStringConvertible {
        var layout: String
        var descriptor: Descriptor
        var source: FileBlobSource
        var testDescription: String { "\(layout) \(descriptor.digest.hex.prefix(8))" }
        var isEStargz: Bool { descriptor.annotations[Annotation.estargzTOCDigest] != nil }
    }

    /// Every layer of every OCI layout, each blob once per layout.
    static let layers: [Layer] = {
        guard let fixtures = try? FileManager.default.contentsOfDirectory(atPath: root) else { return [] }
        var layers: [Layer] = []
        for fixture in fixtures.sorted() {
            let variants = (try? FileManager.default.contentsOfDirectory(atPath: "\(root)/\(fixture)")) ?? []
            for variant in variants.sorted() {
                let layout = "\(root)/\(fixture)/\(variant)"
                guard FileManager.default.fileExists(atPath: "\(layout)/oci-layout") else { continue }
                let source = FileBlobSource(directory: "\(layout)/blobs/sha256")
                var seen: Set<String> = []
                var documents = ["\(layout)/index.json"]
                while let path = documents.popLast() {
                    guard let data = FileManager.default.contents(atPath: path),
                        let document = try? JSONDecoder().decode(Document.self, from: data)
                    else { continue }
                    for entry in (document.manifests ?? []) + (document.layers ?? [])
                    where seen.insert(entry.digest).inserted {
                        guard let descriptor = try? entry.descriptor else { continue }
                        if descriptor.mediaType.layer != nil {
                            layers.append(
                                Layer(layout: "\(fixture)/\(variant)", descriptor: descriptor, source: source))
                        } else {
                            documents.append(source.path(of: descriptor.digest))
                        }
                    }
                }
            }
        }
        return layers
    }()

    /// Every layer once, wherever it lies.
    static let distinctLayers: [Layer] = {
        var seen: Set<Digest> = []
        return layers.filter { seen.insert($0.descriptor.digest).inserted }
    }()

    private struct Document: Decodable {
        var manifests: [Entry]?
        var layers: [Entry]?
    }
    private struct Entry: Decodable {
        var mediaType: String
        var digest: String
        var size: Int64
        var annotations: [String: String]?
        var descriptor: Descriptor {
            get throws {
                Descriptor(
                    mediaType: MediaType(mediaType), digest: try Digest(digest), size: size,
                    annotations: annotations ?? [:])
            }
        }
    }
}
