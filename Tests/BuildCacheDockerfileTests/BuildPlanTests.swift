import BuildCacheCore
import BuildCacheDockerfile
import BuildCacheGraph
import BuildCacheKeys
import Foundation
import TestTools
import Testing

@Suite("A plan of a build")
struct BuildPlanTests {
    @Test("finds every step of a fixture in its cache without reading a layer", arguments: FixtureBuildTests.builds)
    func allCached(_ name: String) async throws {
        let folder = FixtureArchive.buildkit.appending(path: name)
        let cache = FixtureCache(folder: folder.appending(path: "local-max-uncompressed-oci-index"))
        let dockerfile = try Dockerfile(Data(contentsOf: folder.appending(path: "context/Dockerfile")))
        let context = try FixtureCache.context(folder.appending(path: "context"))
        for platform in name == "06-platforms" ? ["linux/amd64", "linux/arm64"] : ["linux/amd64"] {
            var options = DockerfileOptions()
            options.platform = try LLB.Platform(platform)
            options.buildPlatform = try LLB.Platform("linux/amd64")
            let build = try await dockerfile.build(options)
            let contents = CacheContents(build: build, context: context, cache: try cache.graph()) { _ in
                throw CacheError(.invalidSpec, "a layer was read")
            }
            let plan = try await BuildPlan(of: build.definition, in: contents.cache, contents: contents)
            #expect(plan.steps.count == build.definition.vertices.count)
            for step in plan.steps {
                switch step.state {
                case .source, .cached: break
                // Only what is made of nothing has no result.
                case .known: #expect(build.definition[step.vertex]?.op.inputs.isEmpty == true)
                default: Issue.record("\(build.steps(of: step.vertex).first?.text ?? "") is not cached")
                }
            }
        }
    }

    @Test("names the first step that a changed file makes run, and finds none after it")
    func changedFile() async throws {
        let folder = FixtureArchive.buildkit.appending(path: "01-single")
        let cache = FixtureCache(folder: folder.appending(path: "local-max-uncompressed-oci-index"))
        var text = try String(contentsOf: folder.appending(path: "context/Dockerfile"), encoding: .utf8)
        var context = ContentTreeBuilder(.localContext)
        for file in ["data.bin", "text.txt"] {
            try context.add(
                Array(file.utf8), FileMetadata(), data: Data(contentsOf: folder.appending(path: "context/\(file)")))
        }
        let busybox = try Digest("sha256:a24009f3f92c83319f80b61209878a57fac799a5690951a94d84997f8c635142")
        try context.add(Array("busybox".utf8), FileMetadata(permissions: 0o755), digest: busybox)
        var options = DockerfileOptions()
        options.platform = try LLB.Platform("linux/amd64")

        // Another command: the step before it is cached, those behind it are not.
        text = text.replacingOccurrences(of: "echo one", with: "echo 1")
        var build = try await Dockerfile(text.utf8).build(options)
        var states = try await Self.states(build, context.finish(), cache)
        #expect(states.first == "COPY data.bin text.txt /d/: cached")
        #expect(states.dropFirst().allSatisfy { $0.hasSuffix(": missing") })

        // Another file: nothing is cached.
        build = try await Dockerfile(Data(contentsOf: folder.appending(path: "context/Dockerfile"))).build(options)
        try context.add(Array("text.txt".utf8), FileMetadata(), data: Array("x".utf8))
        states = try await Self.states(build, context.finish(), cache)
        #expect(states.count == 5)
        #expect(states.allSatisfy { $0.hasSuffix(": missing") })
    }

    private static func states(
        _ build: DockerfileBuild, _ context: ContentTree, _ cache: FixtureCache
    ) async throws -> [String] {
        let contents = CacheContents(build: build, context: context, cache: try cache.graph()) { try cache.tree($0) }
        let plan = try await BuildPlan(of: build.definition, in: contents.cache, contents: contents)
        return plan.steps.compactMap { step in
            guard let text = build.steps(of: step.vertex).first?.text else { return nil }
            switch step.state {
            case .cached: return "\(text): cached"
            case .missing(let why): return why == nil ? "\(text): missing without a reason" : "\(text): missing"
            default: return nil
            }
        }
    }
}
