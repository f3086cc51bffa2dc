public import BuildCacheCore
public import BuildCacheGraph

/// The records of a build, and which output is which.
public struct BuildRecords: Sendable {
    /// The graph of the records, to which results are added.
    public internal(set) var graph: LayerGraph
    /// The keys of each step, inputs before their users.
    public internal(set) var steps: [StepKeys] = []
    var records: [LLB.Output: [RecordID]] = [:]

    /// Continues a graph: that of the same build for another platform, or an empty one.
    public init(_ graph: LayerGraph = LayerGraph()) { self.graph = graph }

    /// The records of an output: none if an input of the step cannot be recognised, as for a process directly on a local directory;
    /// several for an image.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if the graph was replaced.
    public func records(of output: LLB.Output) throws(CacheError) -> [RecordID] {
        var found: [RecordID] = []
        for record in records[output] ?? [] { found.append(try graph.canonicalID(record)) }
        return found
    }

    /// Adds the records of a step, after those of the steps that it uses.
    ///
    /// - Parameter outputs: The outputs that others use. Default the first.
    /// - Throws: `CacheError` as `LayerGraph.addRecord(_:inputs:results:)`.
    public mutating func add(_ step: StepKeys, outputs: [Int] = [0]) throws(CacheError) {
        steps.append(step)
        // An input that nothing can recognise leaves the step without a record; BuildKit does not export it either.
        let isFound = step.inputs.allSatisfy { links in
            links.contains { link in
                switch link.source {
                case .output(let output): records[output] != nil
                case .content: true
                }
            }
        }
        guard isFound else { return }
        var inputs: [[Link]] = []
        for alternatives in step.inputs {
            var links: [Link] = []
            for link in alternatives {
                switch link.source {
                case .output(let output): links += (records[output] ?? []).map { Link($0, selector: link.selector) }
                case .content(let content):
                    links.append(Link(try graph.addRecord(.record(content: content)), selector: link.selector))
                }
            }
            inputs.append(links)
        }
        for output in outputs {
            for digest in step.digests {
                let record = try graph.addRecord(.record(operation: digest, output: output), inputs: inputs)
                records[LLB.Output(step.vertex, index: output), default: []].append(record)
            }
        }
    }
}

extension BuildRecords {
    /// Adds the records of all steps of a definition.
    ///
    /// Every link is made that can be: both to the records of an input and to its content.
    ///
    /// - Parameters:
    ///   - definition: The build for one platform.
    ///   - contents: What the operations do not say themselves.
    ///   - epochs: The versions of BuildKit that shall find the content. Default the newest alone.
    ///   - defaultPlatform: The platform of processes that name none. Default that of this machine.
    /// - Throws: `CacheError` `.notFound` if a step uses a file that does not exist, which fails the build; as ``OperationKeys`` and
    ///   ``ContentTree``; the errors of `contents`, and `CancellationError`.
    /// - Source: `Documentation/Spec/cache-keys.md` §1.
    public mutating func add(
        _ definition: LLB.Definition, contents: some BuildContents, epochs: [KeyEpoch] = [.current],
        defaultPlatform: LLB.Platform = .host
    ) async throws {
        let used = definition.usedOutputs
        for vertex in definition.vertices {
            try Task.checkCancellation()
            let outputs = (used[vertex.digest] ?? []).sorted()
            if case .source(let source) = vertex.op.kind {
                let platform = (vertex.op.platform ?? defaultPlatform).normalized
                try add(
                    StepKeys(vertex, source: try await contents.keys(of: source, platform: platform)), outputs: outputs)
                continue
            }
            let keys = try OperationKeys(of: vertex.op, defaultPlatform: defaultPlatform)
            var digests: [Int: [Digest]] = [:]
            for (index, input) in keys.inputs.enumerated() {
                guard let selectors = input.content else { continue }
                digests[index] = try await definition.contentKeys(
                    of: vertex.op.inputs[index], selectors, contents, epochs, steps)
            }
            try add(StepKeys(vertex, operation: keys, contents: digests), outputs: outputs)
        }
    }
}

extension LLB.Definition {
    /// The content keys of an output, one for each epoch in which it differs; `nil` if its files are not known.
    func contentKeys(
        of output: LLB.Output, _ selectors: [ContentSelector], _ contents: some BuildContents, _ epochs: [KeyEpoch],
        _ steps: [StepKeys]
    ) async throws -> [Digest]? {
        var tree = try self[output.vertex].flatMap { try ContentTree(madeBy: $0.op) }
        if tree == nil { tree = try await contents.tree(of: output, selectors: selectors, steps: steps) }
        guard let tree else { return nil }
        var keys: [Digest] = []
        for epoch in epochs {
            let key = try tree.contentKey(of: selectors, epoch: epoch)
            if !keys.contains(key) { keys.append(key) }
        }
        return keys
    }

    /// The outputs that operations use, and the result.
    var usedOutputs: [Digest: Set<Int>] {
        var used: [Digest: Set<Int>] = [:]
        for input in vertices.map(\.op.inputs).joined() + (result.map { [$0] } ?? []) {
            used[input.vertex, default: []].insert(input.index)
        }
        return used
    }
}

extension LayerGraph {
    /// The records, links and selectors that BuildKit would make of a build, without results.
    ///
    /// - Throws: As ``BuildRecords/add(_:contents:epochs:defaultPlatform:)``.
    public static func records(
        of definition: LLB.Definition, contents: some BuildContents, epochs: [KeyEpoch] = [.current],
        defaultPlatform: LLB.Platform = .host
    ) async throws -> BuildRecords {
        var records = BuildRecords()
        try await records.add(definition, contents: contents, epochs: epochs, defaultPlatform: defaultPlatform)
        return records
    }
}
