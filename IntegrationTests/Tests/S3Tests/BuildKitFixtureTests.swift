@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGraph
@testable import BuildCacheS3
@testable import BuildCacheClient
import Foundation
import NIOCore
@testable import TestServers
@testable import TestTools
import Testing

/// Objects that BuildKit wrote, and what a correct reader finds in them.
struct ObjectFixture: Sendable, CustomTestStringConvertible {
    struct Dump: Decodable, Sendable {
        struct Object: Decodable, Sendable { var file: String }
        var blobPrefix: String
        var manifestKeys: [String]
        var objects: [String: Object]
    }
    struct Expected: Decodable, Sendable {
        struct Cache: Decodable, Sendable {
            var layers: Int
            var records: Int
            var recordsWithResult: Int
            var results: Int
            var links: Int
            var roots: Int
            var layerList: [Layer]
        }
        struct Layer: Decodable, Sendable {
            var digest: String
            var size: Int64
            var mediaType: String
            var diffID: String
            var createdAt: String?
        }
        var caches: [Cache]
    }

    /// Folder and variant, as in `04-diamond/s3-max`.
    let testDescription: String
    let folder: URL
    let dump: Dump
    let expected: Expected

    static let all: [ObjectFixture] = {
        let root = FixtureArchive.buildkit
        let files = FileManager.default
        return ((try? files.contentsOfDirectory(atPath: root.path)) ?? []).sorted().flatMap { build in
            ["s3-max", "s3-min"].compactMap { try? ObjectFixture(root, "\(build)/\($0)") }
        }
    }()

    private init(_ root: URL, _ name: String) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        testDescription = name
        folder = root.appending(path: name)
        dump = try decoder.decode(Dump.self, from: Data(contentsOf: folder.appending(path: "dump.json")))
        expected = try decoder.decode(
            Expected.self, from: Data(contentsOf: root.appending(path: name + ".expected.json")))
    }

    func bytes(_ key: String) throws -> [UInt8] {
        Array(try Data(contentsOf: folder.appending(path: try #require(dump.objects[key]).file)))
    }

    var mode: CacheMode { testDescription.hasSuffix("max") ? .max : .min }
    /// What stands before `blobs/` in all keys.
    var prefix: String { String(dump.blobPrefix.dropLast("blobs/".count)) }
}

extension SeaweedFSTests {
    @Test(
        "reads what BuildKit wrote, and writes the same bytes under the same keys",
        arguments: ObjectFixture.all)
    func buildKit(_ fixture: ObjectFixture) async throws {
        let name = try #require(fixture.dump.manifestKeys.first).dropFirst((fixture.prefix + "manifests/").count)
        let theirs = try S3TestServer.options(prefix: fixture.prefix, names: [String(name)])
        let bucket = try await S3Bucket(theirs, client: S3TestServer.client)
        for key in fixture.dump.objects.keys.sorted() { try await bucket.putObject(key, try fixture.bytes(key)) }

        try await ScratchStore.withTemporary { scratch in
            let cache = try #require(
                try await S3Cache(theirs, scratch: scratch, client: S3TestServer.client)
                    .importCache(progress: .discarded))
            #expect(cache.problems == [])
            try compare(cache.graph, try #require(fixture.expected.caches.first))
            for descriptor in cache.graph.descriptors.values {
                var bytes: [UInt8] = []
                for try await chunk in try await cache.blobs.open(descriptor, range: nil) {
                    bytes += Array(buffer: chunk)
                }
                #expect(Digest(of: bytes) == descriptor.digest)
            }

            let ours = try S3TestServer.options(prefix: "again/" + fixture.prefix, names: [String(name), "second"])
            let receipt = try await S3Cache(
                ours, export: ExportOptions(mode: .max), scratch: scratch, client: S3TestServer.client
            ).exportCache(cache.graph, from: LayerSource(blobs: cache.blobs), progress: .discarded)
            #expect(Set(receipt.published.keys) == [String(name), "second"])
            for name in ours.names {
                let written = try await bucket.object(ours.prefix + "manifests/" + name, limit: 1 << 20)
                #expect(written == (try fixture.bytes(try #require(fixture.dump.manifestKeys.first))))
            }
            try await expectListed(fixture, "again/" + fixture.prefix)
        }
    }

    private func compare(_ graph: LayerGraph, _ expected: ObjectFixture.Expected.Cache) throws {
        let records = try graph.recordIDs.map { try graph[$0] }
        #expect(records.count == expected.records)
        #expect(records.flatMap { $0.inputs.joined() }.count == expected.links)
        #expect(records.reduce(0) { $0 + $1.results.count } == expected.results)
        #expect(records.count { !$0.results.isEmpty } == expected.recordsWithResult)
        #expect(records.count { $0.inputs.isEmpty } == expected.roots)
        #expect(graph.layerIDs.count == expected.layers)
        for layer in expected.layerList {
            let descriptor = try #require(graph.descriptors[try Digest(layer.digest)])
            #expect(descriptor.size == layer.size)
            #expect(descriptor.mediaType.text == layer.mediaType)
            #expect(descriptor.diffID?.description == layer.diffID)
            #expect(descriptor.createdAt?.description == layer.createdAt)
        }
    }

    /// Amazon's own tool finds the objects that BuildKit would have written.
    private func expectListed(_ fixture: ObjectFixture, _ prefix: String) async throws {
        guard Tool.aws.isInstalled, let server = S3TestServer.current else { return }
        let list = try await Tool.aws.output(
            ["s3", "ls", "--recursive", "--endpoint-url", "http://\(server.address)", "s3://cache/\(prefix)"],
            environment: [
                "AWS_ACCESS_KEY_ID": "ours", "AWS_SECRET_ACCESS_KEY": "oursecret", "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            ])
        let keys = String(decoding: list, as: UTF8.self).split(separator: "\n").compactMap {
            $0.split(separator: " ").last.map { String($0) }
        }
        // Layers that nothing leads to are not exported again.
        let wanted = fixture.dump.objects.keys.map { "again/" + $0 } + [prefix + "manifests/second"]
        #expect(Set(keys).isSubset(of: wanted))
        let layers = Set(fixture.expected.caches.flatMap { $0.layerList.map(\.digest) })
        #expect(Set(keys).count == layers.count + 2)
    }
}
