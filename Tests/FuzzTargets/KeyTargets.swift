import BuildCacheCore
import BuildCacheDockerfile
import BuildCacheGraph
@testable import BuildCacheKeys

extension FuzzTarget {
    /// The inputs of keys: definitions, Dockerfiles, patterns, trees.
    static let keys = [llb, dockerfile, patterns, tree]

    /// A definition, which is the same when it is read again, and whose keys and records can be made.
    private static let llb = FuzzTarget("llb", seeds: { _, _ in false }) { input in
        let definition = try LLB.Definition(decoding: input.bytes)
        let again = try LLB.Definition(decoding: definition.encoded())
        try check(again.vertices.map(\.digest) == definition.vertices.map(\.digest), "operations change when written")
        for vertex in definition.vertices {
            let written = vertex.op.encoded()
            try check(try LLB.Op(decoding: written).encoded() == written, "an operation changes when written again")
        }
        _ = try await LayerGraph.records(of: definition, contents: FuzzContents())
    }

    /// A Dockerfile, whose definition a daemon could read.
    private static let dockerfile = FuzzTarget("dockerfile", seeds: { path, _ in path.hasSuffix("Dockerfile") }) {
        input in
        let build = try await Dockerfile(input.bytes).build(images: FuzzContents())
        let bytes = build.definition.encoded()
        try check(try LLB.Definition(decoding: bytes).encoded() == bytes, "a definition changes when written again")
        _ = try await LayerGraph.records(of: build.definition, contents: FuzzContents())
    }

    /// Patterns and a name, between bytes of 0.
    private static let patterns = FuzzTarget("patterns", seeds: { path, _ in path.hasSuffix("ignore") }) { input in
        let name = Array(input.text(1).utf8.prefix(4096))
        let list = try PatternList(ignoreFile: Array(input.text(0).utf8))
        var parent = PatternList.Matches()
        let parts = BytePath.parts(name)
        for depth in 1..<max(2, min(parts.count, 64)) {
            var matches = PatternList.Matches()
            let path = Array(parts.prefix(depth).joined(separator: [BytePath.slash]))
            _ = list.matches(path, below: parent, &matches)
            parent = matches
        }
        _ = list.matches(name)
        _ = try WildcardPattern(Array(input.text(0).utf8)).matches(name)
    }

    /// A layer, whose tree has a digest for every selector.
    private static let tree = FuzzTarget(
        "tree", seeds: { _, bytes in bytes.dropFirst(257).starts(with: "ustar".utf8) }
    ) { input in
        var builder = ContentTreeBuilder()
        try builder.addLayer(tar: input.bytes)
        try builder.addLayer(tar: input.bytes)
        let tree = builder.finish()
        for epoch in KeyEpoch.allCases {
            _ = try tree.digest(of: .everything, epoch: epoch)
            var wildcard = ContentSelector("/*", followsLinks: true)
            wildcard.isWildcard = true
            // A link may lead nowhere.
            _ = try? tree.digest(of: wildcard, epoch: epoch)
            var filtered = ContentSelector("/")
            filtered.exclude = ["**/b*"]
            _ = try tree.digest(of: filtered, epoch: epoch)
        }
    }
}

/// An image for every name, and sources of this build alone.
private struct FuzzContents: BuildContents, DockerfileImages {
    func keys(of source: LLB.SourceOp, platform: LLB.Platform) async throws -> SourceKeys {
        source.identifier.hasPrefix("local://")
            ? .local : SourceKeys(image: Digest(of: source.identifier.utf8), diffIDs: [], platform: platform)
    }

    func tree(of output: LLB.Output, selectors: [ContentSelector], steps: [StepKeys]) async throws -> ContentTree? {
        nil
    }

    func image(named name: String, platform: LLB.Platform) async throws -> DockerfileImage {
        var settings = ImageSettings()
        settings.environment = ["PATH=/bin", "A=b"]
        settings.onBuild = ["RUN a"]
        return DockerfileImage(
            digest: Digest(of: name.utf8), diffIDs: [DiffID(Digest(of: name.utf8))], settings: settings)
    }
}
