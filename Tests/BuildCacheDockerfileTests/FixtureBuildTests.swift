import BuildCacheCore
import BuildCacheDockerfile
import BuildCacheGraph
import BuildCacheKeys
import Foundation
import TestTools
import Testing

@Suite("A build of the fixtures")
struct FixtureBuildTests {
    /// The builds, with how many records, links and selectors BuildKit wrote for each.
    static let builds = [
        "01-single", "02-multistage", "03-link-merge", "04-diamond", "05-mounts", "06-platforms", "07-empty-layers",
        "08-duplicate-content", "09-weird-files", "10-many-steps", "11-selectors",
    ]

    @Test("has all records, links and selectors that BuildKit wrote, and no others", arguments: builds)
    func records(_ name: String) async throws {
        let (records, expected) = try await Self.records(name)
        let (made, wanted) = (try GraphParts(records.graph), try GraphParts(expected))
        var report: [String] = []
        for (title, part) in [("records", \GraphParts.records), ("links", \.links), ("selectors", \.selectors)] {
            let (matched, expected, count) = made.matched(wanted, part)
            report.append("\(matched) of \(expected) \(title)")
            #expect(
                matched == expected && count == expected, "\(name): \(matched) of \(expected) \(title), made \(count)")
        }
        print("\(name): \(report.joined(separator: ", "))")
    }

    @Test("is one of eleven with 143 records, 197 links and 70 selectors")
    func totals() async throws {
        var totals = (records: 0, links: 0, selectors: 0)
        for name in Self.builds {
            let (records, expected) = try await Self.records(name)
            let (made, wanted) = (try GraphParts(records.graph), try GraphParts(expected))
            totals.records += made.matched(wanted, \.records).matched
            totals.links += made.matched(wanted, \.links).matched
            totals.selectors += made.matched(wanted, \.selectors).matched
        }
        #expect(totals == (143, 197, 70))
    }

    /// The records that are computed, and those that BuildKit wrote.
    private static func records(_ name: String) async throws -> (BuildRecords, LayerGraph) {
        let folder = FixtureArchive.buildkit.appending(path: name)
        let cache = FixtureCache(folder: folder.appending(path: "local-max-uncompressed-oci-index"))
        let graph = try cache.graph()
        let dockerfile = try Dockerfile(Data(contentsOf: folder.appending(path: "context/Dockerfile")))
        let context = try FixtureCache.context(folder.appending(path: "context"))
        var records = BuildRecords()
        for platform in name == "06-platforms" ? ["linux/amd64", "linux/arm64"] : ["linux/amd64"] {
            var options = DockerfileOptions()
            options.platform = try LLB.Platform(platform)
            options.buildPlatform = try LLB.Platform("linux/amd64")
            let build = try await dockerfile.build(options)
            let contents = CacheContents(build: build, context: context, cache: graph) { try cache.tree($0) }
            try await records.add(build.definition, contents: contents)
        }
        return (records, graph)
    }
}

/// A cache of uncompressed layers in a folder.
struct FixtureCache: Sendable {
    let folder: URL

    private func blob(_ digest: String) throws -> Data {
        try Data(contentsOf: folder.appending(path: "blobs/sha256/\(digest.dropFirst(7))"))
    }

    func graph() throws -> LayerGraph {
        let index = try JSONValue(Data(contentsOf: folder.appending(path: "index.json")))
        let manifest = try JSONValue(blob(index["manifests"].array.first?["digest"].string ?? ""))
        let config = manifest["manifests"].array.first {
            $0["mediaType"].string == "application/vnd.buildkit.cacheconfig.v0"
        }
        return try LayerGraph(
            decodingConfig: Array(blob(config?["digest"].string ?? "")), layers: .undescribed)
    }

    /// The tree of a chain of layers, bottom first.
    func tree(_ layers: [Digest]) throws -> ContentTree {
        var builder = ContentTreeBuilder()
        for layer in layers { try builder.addLayer(tar: try blob(layer.description)) }
        return builder.finish()
    }

    /// The context of a build, whose files were 0644 and directories 0755, with the program that is not stored.
    static func context(_ folder: URL) throws -> ContentTree {
        var builder = ContentTreeBuilder(.localContext)
        for path in try FileManager.default.subpathsOfDirectory(atPath: folder.path) {
            let file = folder.appending(path: path)
            let isFolder = try file.resourceValues(forKeys: [.isDirectoryKey]).isDirectory == true
            if isFolder {
                try builder.add(Array(path.utf8), FileMetadata(.directory, permissions: 0o755))
            } else {
                try builder.add(Array(path.utf8), FileMetadata(), data: Data(contentsOf: file))
            }
        }
        let busybox = try Digest("sha256:a24009f3f92c83319f80b61209878a57fac799a5690951a94d84997f8c635142")
        try builder.add(Array("busybox".utf8), FileMetadata(permissions: 0o755, size: 1_982_256), digest: busybox)
        return builder.finish()
    }
}
