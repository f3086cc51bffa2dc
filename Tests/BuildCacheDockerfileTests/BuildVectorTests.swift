import BuildCacheCore
import BuildCacheDockerfile
import BuildCacheGraph
import BuildCacheKeys
import Foundation
import TestTools
import Testing

@Suite("A build of the vectors")
struct BuildVectorTests {
    struct Vector: Sendable, CustomTestStringConvertible {
        let value: JSONValue
        var testDescription: String { value["name"].string ?? "" }

        static let all: [Vector] = {
            let document = try? FixtureArchive.document("cache-keys/builds.json")
            return document?["vectors"].array.map { Vector(value: $0) } ?? []
        }()
    }

    @Test("has the records and links that BuildKit wrote", arguments: Vector.all)
    func records(_ vector: Vector) async throws {
        let value = vector.value
        let (expected, trees) = try Self.expected(value)
        let images = VectorImages(images: value["images"].object)
        var records = BuildRecords()
        for platform in value["platforms"].strings {
            var options = DockerfileOptions()
            options.platform = try LLB.Platform(platform)
            options.buildPlatform = try LLB.Platform("linux/amd64")
            let build = try await Dockerfile((value["dockerfile"].string ?? "").utf8).build(options, images: images)
            var contents = CacheContents(
                build: build, context: try Self.context(value), cache: expected
            ) { digests in
                guard let tree = trees[try #require(digests.first)] else { throw CacheError(.notFound, "no tree") }
                return try tree.tree()
            }
            for (name, image) in images.images {
                contents.images["docker-image://\(name)@\(image["digest"].string ?? "")"] = try image["tree"].tree()
            }
            try await records.add(build.definition, contents: contents)
        }
        let (made, wanted) = (try GraphParts(records.graph), try GraphParts(expected))
        for part in [\GraphParts.records, \.links, \.selectors] {
            let (matched, expected, count) = made.matched(wanted, part)
            #expect(matched == expected && count == expected, "\(matched) of \(expected), made \(count)")
        }
    }

    @Test("is one of nine")
    func count() { #expect(Vector.all.count == 9) }

    /// BuildKit's records, with a layer for each tree that is known, and the trees by these layers.
    private static func expected(_ value: JSONValue) throws -> (LayerGraph, [Digest: JSONValue]) {
        var rows: [String] = []
        var layers: [String] = []
        var trees: [Digest: JSONValue] = [:]
        for (index, result) in value["results"].array.enumerated() {
            let digest = Digest(of: "tree \(index)".utf8)
            trees[digest] = result["tree"]
            layers.append(#"{"blob":"\#(digest)","parent":-1}"#)
        }
        for (index, record) in value["records"].array.enumerated() {
            let results = value["results"].array.enumerated().filter {
                $0.element["records"].array.contains(.number(Int64(index)))
            }
            let layers = results.map { #"{"layer":\#($0.offset),"createdAt":"2026-01-01T00:00:00Z"}"# }
            let inputs = record["inputs"].array.map { links in
                let links = links.array.map { link in
                    let selector = link["selector"].string.map { #""selector":"\#($0)","# } ?? ""
                    return #"{\#(selector)"link":\#(link["link"].number ?? -1)}"#
                }
                return "[\(links.joined(separator: ","))]"
            }
            rows.append(
                #"{"layers":[\#(layers.joined(separator: ","))],"digest":"\#(record["digest"].string ?? "")","#
                    + #""inputs":[\#(inputs.joined(separator: ","))]}"#)
        }
        let config = #"{"layers":[\#(layers.joined(separator: ","))],"records":[\#(rows.joined(separator: ","))]}"#
        return (try LayerGraph(decodingConfig: Array(config.utf8), layers: .undescribed), trees)
    }

    /// The context without what its ignore file leaves out.
    private static func context(_ value: JSONValue) throws -> ContentTree {
        let files = value["context"].array
        let ignoreFile = files.first { $0["path"].string == "/.dockerignore" }?["data"].base64 ?? []
        let ignored = try PatternList(ignoreFile: ignoreFile)
        var builder = ContentTreeBuilder(.localContext)
        for file in files {
            let path = Array((file["path"].string ?? "").utf8.dropFirst())
            let isIgnored = ignored.matches(path)
            let isParent = files.contains { other in
                let other = Array((other["path"].string ?? "").utf8.dropFirst())
                return other.starts(with: path + [47]) && !ignored.matches(other)
            }
            if !isIgnored || isParent { try builder.add(file) }
        }
        return builder.finish()
    }
}

/// Images of a vector.
struct VectorImages: DockerfileImages {
    let images: [String: JSONValue]

    func image(named name: String, platform: LLB.Platform) async throws -> DockerfileImage {
        let image = try #require(images[name])
        var settings = ImageSettings()
        settings.environment = image["config"]["Env"].strings
        settings.workingDirectory = image["config"]["WorkingDir"].string ?? ""
        settings.user = image["config"]["User"].string ?? ""
        settings.onBuild = image["config"]["OnBuild"].strings
        return DockerfileImage(
            digest: try Digest(image["digest"].string ?? ""),
            diffIDs: try image["diffIDs"].strings.map { try DiffID($0) }, settings: settings)
    }
}

extension JSONValue {
    /// A tree of files, as the vectors list them.
    func tree() throws -> ContentTree {
        var builder = ContentTreeBuilder()
        for file in array { try builder.add(file) }
        return builder.finish()
    }
}

extension ContentTreeBuilder {
    mutating func add(_ file: JSONValue) throws {
        let path = file["pathBase64"].base64 ?? Array((file["path"].string ?? "").utf8)
        var metadata = FileMetadata()
        switch file["type"].string {
        case "dir": metadata.kind = .directory
        case "symlink": metadata.kind = .symlink(Array((file["link"].string ?? "").utf8))
        case "char": metadata.kind = .characterDevice
        case "block": metadata.kind = .blockDevice
        case "fifo": metadata.kind = .fifo
        default: metadata.kind = .regular
        }
        metadata.permissions = UInt32(file["mode"].string ?? "0644", radix: 8) ?? 0
        metadata.uid = UInt32(file["uid"].number ?? 0)
        metadata.gid = UInt32(file["gid"].number ?? 0)
        for (name, value) in file["xattrs"].object { metadata.attributes[Array(name.utf8)] = value.base64 ?? [] }
        try add(path, metadata, data: file["data"].base64 ?? [])
    }
}
