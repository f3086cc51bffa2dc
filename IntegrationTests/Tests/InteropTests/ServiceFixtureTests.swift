@testable import BuildCache
@testable import BuildCacheTestServers
import Foundation
import Testing

/// What BuildKit wrote to Azure, to GitHub or to S3, object by object.
struct ServiceFixture: Sendable, CustomTestStringConvertible {
    private struct Dump: Decodable {
        struct Object: Decodable {
            var file: String
            var scope: String?
            var version: String?
        }
        var kind: Service
        var objects: [String: Object]
    }

    enum Service: String, Decodable { case azblob, gha, s3 }

    /// Folder and variant, as in `04-diamond/gha2-max`.
    let name: String
    let kind: Service
    let expected: Fixture.Expected.Cache
    private let dump: Dump

    static let all: [ServiceFixture] = {
        let files = FileManager.default
        let folders = ((try? files.contentsOfDirectory(atPath: Fixture.root.path)) ?? []).sorted()
        return folders.flatMap { folder in
            let variants = ((try? files.contentsOfDirectory(atPath: Fixture.root.path + "/" + folder)) ?? []).sorted()
            return variants.compactMap { try? ServiceFixture(name: folder + "/" + $0) }
        }
    }()

    static let azure = all.filter { $0.kind == .azblob }
    static let github = all.filter { $0.kind == .gha }

    private init?(name: String) throws {
        let path = Fixture.root.path + "/" + name
        guard let dump = FileManager.default.contents(atPath: path + "/dump.json"),
            let json = FileManager.default.contents(atPath: path + ".expected.json")
        else { return nil }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        // Keys of objects must stay as they are.
        self.dump = try JSONDecoder().decode(Dump.self, from: dump)
        kind = self.dump.kind
        guard let expected = try decoder.decode(Fixture.Expected.self, from: json).caches.first else { return nil }
        self.expected = expected
        self.name = name
    }

    var testDescription: String { name }
    var version: Int { name.contains("/gha1-") ? 1 : 2 }
    var mode: CacheMode { name.hasSuffix("-max") ? .max : .min }
    /// As in `fx-04-diamond-max`.
    var prefix: String { String(dump.objects.keys.sorted().first?.prefix { $0 != "/" } ?? "") }

    /// All objects by name.
    var objects: [String: [UInt8]] {
        dump.objects.compactMapValues { object in
            FileManager.default.contents(atPath: "\(Fixture.root.path)/\(name)/\(object.file)").map { Array($0) }
        }
    }

    /// The objects that the cache needs: an earlier build of a fixture may have left others.
    var usedObjects: [String: [UInt8]] {
        let layers = Set(expected.layerList.map(\.digest))
        return objects.filter { name, _ in !name.contains("sha256:") || layers.contains { name.hasSuffix($0) } }
    }

    /// All objects as entries of GitHub's cache.
    var entries: Set<GitHubCacheServer.Entry> {
        let bytes = objects
        return Set(
            dump.objects.map { key, object in
                GitHubCacheServer.Entry(
                    key: key, scope: object.scope ?? "", version: object.version ?? "", bytes: bytes[key] ?? [])
            })
    }
}

@Suite("A cache that BuildKit wrote to a service", .fewAtOnce)
struct ServiceFixtureTests {
    private static let container = "buildkit-cache"

    @Test(
        "is imported from Azure as it should be, and exported again as it was",
        arguments: ServiceFixture.azure)
    func azure(_ fixture: ServiceFixture) async throws {
        try await AzureBlobServer().run { server, url in
            for (name, bytes) in fixture.objects { server.put(bytes, as: name, in: Self.container) }
            try await AzureBlobServer().run { other, otherURL in
                try await ScratchStore.withTemporary { scratch in
                    func options(_ server: AzureBlobServer, _ url: ServiceURL) -> AzureBlobOptions {
                        AzureBlobOptions(
                            accountURL: url, accountName: server.account, prefix: fixture.prefix,
                            secretAccessKey: server.key)
                    }
                    try await copy(
                        AzureBlobCache(options(server, url), scratch: scratch),
                        to: AzureBlobCache(
                            options(other, otherURL), export: ExportOptions(mode: fixture.mode), scratch: scratch),
                        fixture)
                    let objects = fixture.usedObjects
                    #expect(other.names(in: Self.container) == objects.keys.sorted())
                    for (name, bytes) in objects { #expect(other.bytes(name, in: Self.container) == bytes, "\(name)") }
                }
            }
        }
    }

    @Test(
        "is imported from GitHub as it should be, and exported again as it was",
        arguments: ServiceFixture.github)
    func github(_ fixture: ServiceFixture) async throws {
        try await GitHubCacheServer().run { server, url in
            for entry in fixture.entries { server.put(entry) }
            try await GitHubCacheServer().run { other, otherURL in
                try await ScratchStore.withTemporary { scratch in
                    func options(_ server: GitHubCacheServer, _ url: ServiceURL) -> GitHubActionsOptions {
                        GitHubActionsOptions(
                            token: server.token(), url: url, urlV2: fixture.version == 2 ? url : nil,
                            version: fixture.version)
                    }
                    try await copy(
                        GitHubActionsCache(options(server, url), scratch: scratch),
                        to: GitHubActionsCache(
                            options(other, otherURL), export: ExportOptions(mode: fixture.mode), scratch: scratch),
                        fixture)
                    #expect(Set(other.entries) == fixture.entries)
                    #expect(other.reservedKeys == [])
                }
            }
        }
    }

    /// Imports, compares with what another reader found, reads every layer, and exports what was found.
    private func copy(_ cache: any CacheBackend, to other: any CacheBackend, _ fixture: ServiceFixture) async throws {
        let found = try #require(try await cache.importCache(progress: .discarded))
        #expect(found.problems == [])
        try #require(found.parts.count == 1)
        try fixture.expected.compare(found.parts[0])
        for descriptor in found.graph.descriptors.values {
            #expect(Digest(of: try await found.blobs.bytes(of: descriptor)) == descriptor.digest)
        }
        let receipt = try await other.exportCache(
            found.graph, from: LayerSource(blobs: found.blobs), progress: .discarded)
        #expect(receipt.problems == [])
        #expect(receipt.converted == [])
    }
}
