public import BuildCacheCore
public import BuildCacheGraph

/// The steps of a build that a cache has, and the reasons why the others must run.
///
/// Steps are looked up as BuildKit does: by what their inputs are made of first, and by the content of their inputs only if that finds no
/// result. So no layer is read unless a content key needs it.
public struct BuildPlan: Sendable {
    /// The answer of the cache about a step.
    @nonexhaustive
    public enum State: Sendable {
        /// An image, a repository, or a directory of the client.
        case source
        /// The step has a result.
        case cached(CacheResult)
        /// The step is known without a result: what uses it can be found, and its files must be made if anything needs them.
        case known
        /// The step must run.
        case missing(MissExplanation?)
    }

    /// A step of the build.
    public struct Step: Sendable {
        /// The digest of the operation's bytes.
        public var vertex: Digest
        /// The keys of the step, with as many links as its lookup needed.
        public var keys: StepKeys
        /// The answer of the cache.
        public var state: State
        /// The inputs, by index, whose content was hashed.
        public var hashedInputs: [Int] = []
    }

    /// The steps, inputs before their users.
    public private(set) var steps: [Step] = []
    /// The lookups, to which steps that have run can be added.
    public private(set) var matcher: StepMatcher

    /// Looks up the steps of a build.
    ///
    /// - Parameters:
    ///   - definition: The build for one platform.
    ///   - cache: The records that are looked up.
    ///   - contents: What the operations do not say themselves. A step's files are asked for only where content must be hashed.
    ///   - epochs: The versions of BuildKit whose content keys count. Default the newest alone.
    ///   - defaultPlatform: The platform of processes that name none. Default that of this machine.
    /// - Throws: As `BuildRecords.add(_:contents:epochs:defaultPlatform:)`.
    public init(
        of definition: LLB.Definition, in cache: LayerGraph, contents: some BuildContents,
        epochs: [KeyEpoch] = [.current], defaultPlatform: LLB.Platform = .host
    ) async throws {
        matcher = StepMatcher(cache)
        let used = definition.usedOutputs
        var known: [StepKeys] = []
        for vertex in definition.vertices {
            try Task.checkCancellation()
            let outputs = (used[vertex.digest] ?? []).sorted()
            if case .source(let source) = vertex.op.kind {
                let platform = (vertex.op.platform ?? defaultPlatform).normalized
                let keys = StepKeys(vertex, source: try await contents.keys(of: source, platform: platform))
                for output in outputs { try matcher.matches(keys, output: output) }
                steps.append(Step(vertex: vertex.digest, keys: keys, state: .source))
                known.append(keys)
                continue
            }
            let operation = try OperationKeys(of: vertex.op, defaultPlatform: defaultPlatform)
            var step = Step(
                vertex: vertex.digest, keys: StepKeys(vertex, operation: operation), state: .missing(nil))
            step.state = try state(of: step.keys, outputs, isLast: false)
            // The inputs that nothing else can find first; the others only if that is not enough.
            let hashable = operation.inputs.indices.filter { operation.inputs[$0].content != nil }
            let unknown = hashable.filter { matcher.matches(of: vertex.op.inputs[$0]).isEmpty }
            var digests: [Int: [Digest]] = [:]
            for (isLast, inputs) in [(false, unknown), (true, hashable.filter { !unknown.contains($0) })] {
                if case .cached = step.state { break }
                for index in inputs {
                    digests[index] = try await definition.contentKeys(
                        of: vertex.op.inputs[index], operation.inputs[index].content ?? [], contents, epochs,
                        known)
                }
                step.hashedInputs = digests.keys.sorted()
                step.keys = StepKeys(vertex, operation: operation, contents: digests)
                step.state = try state(of: step.keys, outputs, isLast: isLast)
            }
            steps.append(step)
            known.append(step.keys)
        }
    }

    /// The answer of the cache about a step; an explanation is made only if no other lookup follows.
    private mutating func state(of keys: StepKeys, _ outputs: [Int], isLast: Bool) throws(CacheError) -> State {
        var isKnown = true
        var best: CacheResult?
        for output in outputs {
            let matches = try matcher.matches(keys, output: output)
            isKnown = isKnown && !matches.isEmpty
            // The first output is the step's file system; others are of mounts that few steps have.
            if best == nil { best = try matcher.lookup.results(of: matches).first }
        }
        if let best, isKnown { return .cached(best) }
        if isKnown, !outputs.isEmpty { return .known }
        return .missing(isLast ? try matcher.explainMiss(keys, output: outputs.first ?? 0) : nil)
    }
}
