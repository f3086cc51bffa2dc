import BuildCache
import BuildCacheTestServers
import Foundation
import TestServers
import TestTools
import Testing

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

@Suite("A cache that BuildKit wrote, copied from every backend to every backend")
struct CopyMatrixTests {
    /// Two caches per build, in the form that all backends can hold unchanged.
    private static let fixtures = Fixture.standalone.filter { $0.name.hasSuffix("-gzip-oci-imagemanifest") }

    @Test("is the same at the end, the digests of its layers too", arguments: fixtures)
    func matrix(_ fixture: Fixture) async throws {
        // The build with mode=min is the one whose layers are also those of the image.
        let images = fixture.mode == .min ? Fixture.root.path + "/" + fixture.folder + "/inline" : ""
        try await Backends.run(images: images) { backends in
            let original = try await importCache(fixture, scratch: backends.scratch)
            // Stores without manifests keep less of a layer than a descriptor may say: what is in it counts.
            let everything = try original.graph.withDiffIDs()
            for source in backends.kinds {
                try await backends.put(original, source, "first")
                let first = try await backends.get(source, "first")
                // An image holds what its own layers are results of, and all other backends hold everything.
                let expected = source == .inline ? try first.graph.withDiffIDs() : everything
                for destination in backends.kinds {
                    let name = "\(source)-\(destination)"
                    try await backends.put(first, destination, name)
                    let copy = try await backends.get(destination, name)
                    #expect(copy.warnings == [], "\(name)")
                    var wanted = expected
                    if destination == .inline {
                        try await backends.put(original, .inline, "reference")
                        wanted = try await backends.get(.inline, "reference").graph.withDiffIDs()
                    }
                    let isSame = try copy.graph.withDiffIDs() == wanted
                    #expect(isSame, "\(name)")
                }
            }
        }
    }
}

/// All backends, each at a server or in a directory of its own.
private struct Backends: Sendable {
    enum Kind: CaseIterable { case inline, registry, local, gha, s3, azblob }

    let scratch: ScratchStore
    /// Those for which there is what they need.
    let kinds: [Kind]
    private let directory: TemporaryDirectory
    private let images: String
    private let registry: String
    private let azure: AzureBlobOptions
    private let github: GitHubActionsOptions
    private let s3: S3Options?

    /// Runs the servers until `body` returns.
    ///
    /// - Parameter images: An image to put caches into, as an OCI layout with the tag `latest`; without it `inline` is left out.
    static func run(images: String, _ body: @escaping @Sendable (Backends) async throws -> Void) async throws {
        let fake = FakeRegistry()
        try await withServer(fake.respond) { registry in
            try await AzureBlobServer().run { azure, azureURL in
                try await GitHubCacheServer().run { github, githubURL in
                    let azure = AzureBlobOptions(
                        accountURL: azureURL, accountName: azure.account, secretAccessKey: azure.key)
                    let github = GitHubActionsOptions(token: github.token(), urlV2: githubURL, version: 2)
                    @Sendable func run(_ s3: S3Options?) async throws {
                        try await ScratchStore.withTemporary { scratch in
                            try await body(
                                Backends(
                                    images: images, registry: registry, azure: azure, github: github, s3: s3,
                                    scratch: scratch))
                        }
                    }
                    guard Tool.moto.isInstalled else { return try await run(nil) }
                    try await Moto.run { address in try await run(try await bucket(at: address)) }
                }
            }
        }
    }

    /// Makes a bucket.
    private static func bucket(at address: String) async throws -> S3Options {
        var options = S3Options(bucket: "cache", region: "us-east-1")
        options.endpointURL = try ServiceURL("http://\(address)")
        options.usePathStyle = true
        options.accessKeyID = "any"
        options.secretAccessKey = Secret("any")
        var request = URLRequest(url: try #require(URL(string: "http://\(address)/cache")))
        request.httpMethod = "PUT"
        let (_, response) = try await URLSession.shared.data(for: request)
        try #require((response as? HTTPURLResponse)?.statusCode == 200)
        return options
    }

    private init(
        images: String, registry: String, azure: AzureBlobOptions, github: GitHubActionsOptions, s3: S3Options?,
        scratch: ScratchStore
    ) throws {
        (self.images, self.registry, self.azure, self.github, self.s3) = (images, registry, azure, github, s3)
        self.scratch = scratch
        directory = try TemporaryDirectory()
        let hasImages = FileManager.default.fileExists(atPath: images)
        kinds = Kind.allCases.filter { kind in
            switch kind {
            case .inline: hasImages
            case .s3: s3 != nil
            default: true
            }
        }
    }

    /// The cache of this name.
    private func backend(_ kind: Kind, _ name: String) throws -> any CacheBackend {
        let export = ExportOptions(mode: .max)
        switch kind {
        case .inline: return try LocalCache(LocalOptions(src: imagePath, tag: name), scratch: scratch)
        case .local:
            return try LocalCache(
                LocalOptions(dest: directory.path + "/local", tag: name), export: export, scratch: scratch)
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

    private var imagePath: String { directory.path + "/images" }

    /// Stores a cache under a name.
    func put(_ cache: ImportedCache, _ kind: Kind, _ name: String) async throws {
        guard kind == .inline else {
            let receipt = try await backend(kind, name).exportCache(
                cache.graph, from: LayerSource(blobs: cache.blobs), progress: .discarded)
            let isPublished = !receipt.published.isEmpty
            try #require(isPublished, "\(kind) \(name): \(receipt.warnings) of \(cache.graph.recordCount) records")
            return
        }
        if !FileManager.default.fileExists(atPath: imagePath) {
            try FileManager.default.copyItem(atPath: images, toPath: imagePath)
        }
        try await InlineCache(scratch: scratch).embed(
            cache.graph, into: "latest", as: name, in: try await LocalImages(path: imagePath))
    }

    /// The cache under a name, which must be there.
    func get(_ kind: Kind, _ name: String) async throws -> ImportedCache {
        try #require(try await backend(kind, name).importCache(progress: .discarded), "\(kind) \(name)")
    }
}
