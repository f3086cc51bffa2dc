@testable import BuildCache
@testable import BuildCacheClient
@testable import BuildCacheS3
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
import Foundation
@testable import TestServers
@testable import TestTools
import Testing

/// All backends, each at a server or in a directory of its own.
struct Backends: Sendable {
    enum Kind: CaseIterable { case inline, registry, local, gha, s3, azblob }

    let scratch: ScratchStore
    /// Those for which there is what they need.
    let kinds: [Kind]
    let directory: TemporaryDirectory
    private let registry: String
    private let azure: AzureBlobOptions
    private let azureServer: AzureBlobServer
    private let github: GitHubActionsOptions
    private let githubServer: GitHubCacheServer
    private let s3: S3Options?

    /// Runs servers without anything in them until `body` returns.
    static func run(
        s3: S3Options?, _ body: @escaping @Sendable (Backends) async throws -> Void
    ) async throws {
        let fake = FakeRegistry()
        try await withServer(fake.respond) { registry in
            try await AzureBlobServer().run { azure, azureURL in
                try await GitHubCacheServer().run { github, githubURL in
                    try await ScratchStore.withTemporary { scratch in
                        try await body(
                            Backends(
                                registry: registry,
                                azure: AzureBlobOptions(
                                    accountURL: azureURL, accountName: azure.account, secretAccessKey: azure.key),
                                azureServer: azure,
                                github: GitHubActionsOptions(token: github.token(), urlV2: githubURL, version: 2),
                                githubServer: github, s3: s3, scratch: scratch))
                    }
                }
            }
        }
    }

    private init(
        registry: String, azure: AzureBlobOptions, azureServer: AzureBlobServer,
        github: GitHubActionsOptions, githubServer: GitHubCacheServer, s3: S3Options?, scratch: ScratchStore
    ) throws {
        (self.registry, self.azure, self.github, self.s3) = (registry, azure, github, s3)
        (self.azureServer, self.githubServer, self.scratch) = (azureServer, githubServer, scratch)
        directory = try TemporaryDirectory()
        kinds = Kind.allCases.filter { $0 != .s3 || s3 != nil }
    }

    /// The cache of this name.
    func backend(
        _ kind: Kind, _ name: String, export: ExportOptions = ExportOptions(mode: .max)
    ) throws -> any CacheBackend {
        switch kind {
        case .inline:
            return LocalCache(
                LocalOptions(src: images.path, tag: name), export: export, scratch: scratch, layout: images)
        case .local:
            let layout = OCILayout(path: directory.path + "/local", fileSystem: PosixFileSystem(syncs: false))
            return LocalCache(
                LocalOptions(dest: layout.path, tag: name), export: export, scratch: scratch, layout: layout)
        case .registry:
            let options = RegistryOptions(ref: try Reference("\(registry)/cache:\(name)"))
            return RegistryCache(options, export: export, scratch: scratch)
        case .gha:
            var options = github
            options.scope = name
            return GitHubActionsCache(
                options, export: export, scratch: scratch, client: GitHubActionsClient(environment: .empty))
        case .s3:
            var options = try #require(s3)
            options.names = [name]
            return S3Cache(options, export: export, scratch: scratch, client: S3Client(environment: .empty))
        case .azblob:
            var options = azure
            options.names = [name]
            return AzureBlobCache(options, export: export, scratch: scratch)
        }
    }

    /// The images that caches are put into.
    private var images: OCILayout {
        OCILayout(path: directory.path + "/images", fileSystem: PosixFileSystem(syncs: false))
    }

    /// Puts what BuildKit wrote to a service there, and imports it, for as long as `body` runs.
    func withCache(
        of fixture: ServiceFixture, _ body: @escaping @Sendable (ImportedCache) async throws -> Void
    ) async throws {
        switch fixture.kind {
        case .gha:
            // A server of its own: both versions of the protocol use the same keys.
            try await GitHubCacheServer().run { server, url in
                for entry in fixture.entries { server.put(entry) }
                let options = GitHubActionsOptions(
                    token: server.token(), url: url, urlV2: fixture.version == 2 ? url : nil, version: fixture.version)
                let cache = GitHubActionsCache(
                    options, scratch: scratch, client: GitHubActionsClient(environment: .empty))
                try await body(try #require(try await cache.importCache(progress: .discarded), "\(fixture.name)"))
            }
        case .azblob:
            for (name, bytes) in fixture.objects { azureServer.put(bytes, as: name, in: azure.container) }
            var options = azure
            options.prefix = fixture.prefix
            let cache = AzureBlobCache(options, scratch: scratch)
            try await body(try #require(try await cache.importCache(progress: .discarded), "\(fixture.name)"))
        case .s3:
            guard var options = s3 else { return }
            let bucket = try await S3Bucket(options, client: S3Client(environment: .empty))
            for (name, bytes) in fixture.objects { try await bucket.putObject(name, bytes) }
            options.prefix = fixture.prefix + "/"
            let cache = S3Cache(options, scratch: scratch, client: S3Client(environment: .empty))
            try await body(try #require(try await cache.importCache(progress: .discarded), "\(fixture.name)"))
        }
    }

    /// Stores a cache under a name.
    func put(_ cache: ImportedCache, _ kind: Kind, _ name: String) async throws {
        guard kind == .inline else {
            let receipt = try await backend(kind, tag(name)).exportCache(
                cache.graph, from: LayerSource(blobs: cache.blobs), progress: .discarded)
            let isPublished = !receipt.published.isEmpty
            try #require(isPublished, "\(name): \(receipt.problems) of \(cache.graph.recordCount) records")
            return
        }
        try await InlineCache(scratch: scratch).embed(
            cache.graph, into: "image", as: tag(name), in: LocalImages(images))
    }

    /// Makes an image of the longest chain of layers, for caches to be put into.
    func makeImage(of cache: ImportedCache) async throws {
        let graph = cache.graph
        let chains = try graph.recordIDs.flatMap { try graph[$0].results.map { try graph.chain($0.layer) } }
        let longest = try #require(chains.max { $0.count < $1.count })
        let layers = try longest.compactMap { try graph.descriptor(of: $0) }
        let images = LocalImages(images)
        for layer in layers { try await images.put(layer, from: cache.blobs) }
        let diffIDs = try layers.map { "\"\(try #require($0.diffID).digest)\"" }.joined(separator: ",")
        let json = #"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[\#(diffIDs)]}}"#
        let config = RawDocument(mediaType: .ociConfig, bytes: Array(json.utf8))
        try await images.publish(config, as: nil)
        try await images.publish(ImageManifest(config: config.descriptor, layers: layers).encode(), as: "image")
    }

    /// Puts something under the name of a cache, which must be there, that is not a cache.
    func occupy(_ kind: Kind, _ name: String) async throws {
        let other = Array("a program of somebody else".utf8)
        switch kind {
        case .inline, .local:
            let layout = kind == .inline ? images : OCILayout(path: directory.path + "/local")
            let images = LocalImages(layout)
            try await images.publish(RawDocument(mediaType: "text/plain", bytes: other), as: tag(name))
            images.close()
        case .registry:
            let repository = try await RegistryRepository(Reference("\(registry)/cache:\(tag(name))"))
            let config = RawDocument(mediaType: .ociConfig, bytes: Array("{}".utf8))
            try await repository.put(config.descriptor, from: MemorySource([config.bytes]))
            try await repository.publish(ImageManifest(config: config.descriptor, layers: []).encode(), as: tag(name))
        case .gha:
            let entry = try #require(githubServer.entries.last { $0.key.hasPrefix("index-\(tag(name))-") })
            let hash = try #require(entry.key.lastIndex(of: "#"))
            let number = try #require(Int(entry.key[hash...].dropFirst()))
            var next = entry
            next.key = "\(entry.key[..<hash])#\(number + 1)"
            next.bytes = other
            githubServer.put(next)
        case .s3:
            let options = try #require(s3)
            let bucket = try await S3Bucket(options, client: S3Client(environment: .empty))
            try await bucket.putObject(options.prefix + options.manifestsPrefix + tag(name), other)
        case .azblob:
            azureServer.put(other, as: "\(azure.manifestsPrefix)/\(tag(name))", in: azure.container)
        }
    }

    /// The cache under a name, which must be there.
    func get(_ kind: Kind, _ name: String) async throws -> ImportedCache {
        try #require(try await backend(kind, tag(name)).importCache(progress: .discarded), "\(name)")
    }

    /// A name that all backends can use.
    private func tag(_ name: String) -> String { name.replacing("/", with: "-") }
}

/// Runs an S3 server, `nil` where none is installed; it takes some seconds to begin.
func withS3(_ body: @escaping @Sendable (S3Options?) async throws -> Void) async throws {
    guard Tool.weed.isInstalled else {
        Issue.record("weed is not installed, so s3 is left out", severity: .warning)
        return try await body(nil)
    }
    try await SeaweedFS.run([.init("ours", "oursecret", ["Admin"])]) { address in
        try await body(try await s3Options(at: address))
    }
}
