import BuildCacheCore
import BuildCacheDockerfile
import BuildCacheGraph
import BuildCacheKeys
import Foundation
import TestTools

/// The files of a build, from its context and from the layers of a cache that BuildKit wrote.
struct CacheContents: BuildContents {
    var build: DockerfileBuild
    var context: ContentTree
    /// The trees of images by the names of their sources.
    var images: [String: ContentTree] = [:]
    var cache: LayerGraph
    /// The tree of a chain of layers, bottom first.
    var tree: @Sendable ([Digest]) async throws -> ContentTree

    func keys(of source: LLB.SourceOp, platform: LLB.Platform) async throws -> SourceKeys {
        try build.keys(of: source, platform: platform)
    }

    func tree(of output: LLB.Output, selectors: [ContentSelector], steps: [StepKeys]) async throws -> ContentTree? {
        if case .source(let source) = build.definition[output.vertex]?.op.kind {
            return source.identifier == "local://context" ? context : images[source.identifier]
        }
        var matcher = StepMatcher(cache)
        for step in steps { try matcher.matches(step) }
        guard let result = try matcher.lookup.results(of: matcher.matches(of: output)).first else { return nil }
        var digests: [Digest] = []
        for layer in try cache.chain(result.layer) {
            if case .blob(let digest) = try cache[layer].content { digests.append(digest) }
        }
        return try await tree(digests)
    }
}

/// The records, links and selectors of a graph, each as text that does not depend on the order in which they were added.
struct GraphParts: Equatable {
    var records: [String: Int] = [:]
    var links: [String: Int] = [:]
    var selectors: [String: Int] = [:]

    init(_ graph: LayerGraph) throws {
        var names: [RecordID: String] = [:]
        // Links may point to records that come later.
        var rest = Array(graph.recordIDs.reversed())
        while let id = rest.popLast() {
            guard names[id] == nil else { continue }
            let record = try graph[id]
            let missing = record.inputs.joined().map(\.record).filter { names[$0] == nil }
            if !missing.isEmpty {
                rest += [id] + missing
                continue
            }
            let inputs = record.inputs.map { links in links.map { "\($0.selector)>\(names[$0.record] ?? "")" }.sorted()
            }
            let name = Digest(of: "\(record.digest) \(inputs)".utf8).description
            names[id] = name
            records[name, default: 0] += 1
            for (index, links) in record.inputs.enumerated() {
                for link in links {
                    self.links["\(name) \(index) \(link.selector) \(names[link.record] ?? "")", default: 0] += 1
                    if !link.selector.isEmpty { selectors["\(name) \(index) \(link.selector)", default: 0] += 1 }
                }
            }
        }
    }

    /// The number of expected parts that are here, of all expected parts, and of all parts that are here.
    func matched(
        _ expected: GraphParts, _ parts: KeyPath<GraphParts, [String: Int]>
    ) -> (matched: Int, expected: Int, made: Int) {
        let wanted = expected[keyPath: parts]
        let made = self[keyPath: parts]
        let matched = wanted.reduce(0) { $0 + min($1.value, made[$1.key] ?? 0) }
        return (matched, wanted.values.reduce(0, +), made.values.reduce(0, +))
    }
}
