public import BuildCacheCore
public import BuildCacheGraph

/// Looks up the steps of a build in a cache, each after those that it uses.
///
/// ```swift
/// var matcher = StepMatcher(imported.graph)
/// for step in steps {
///     let matches = try matcher.matches(step)
///     if let result = try matcher.lookup.results(of: matches).first { … }
/// }
/// ```
public struct StepMatcher: Sendable {
    /// The cache that is asked.
    public let lookup: CacheLookup
    private var known: [LLB.Output: [RecordID]] = [:]

    /// Indexes a cache.
    public init(_ graph: LayerGraph) { lookup = CacheLookup(graph) }

    /// The records that an output was found to be, after ``matches(_:output:)``.
    public func matches(of output: LLB.Output) -> [RecordID] { known[output] ?? [] }

    /// The records of the cache that one output of a step is, given what its inputs were found to be.
    ///
    /// A second call with more links, once content keys are known, adds to the matches.
    ///
    /// - Throws: `CacheError` as `CacheLookup.matches(_:inputs:)`.
    @discardableResult
    public mutating func matches(_ step: StepKeys, output index: Int = 0) throws(CacheError) -> [RecordID] {
        let inputs = try links(of: step)
        var found: [RecordID] = []
        for digest in step.digests {
            found += try lookup.matches(.record(operation: digest, output: index), inputs: inputs)
        }
        let output = LLB.Output(step.vertex, index: index)
        known[output] = Array(Set((known[output] ?? []) + found)).sorted()
        return matches(of: output)
    }

    /// Why a step was not found.
    ///
    /// - Throws: `CacheError` as `CacheLookup.matches(_:inputs:)`.
    public func explainMiss(_ step: StepKeys, output index: Int = 0) throws(CacheError) -> MissExplanation? {
        guard let digest = step.digests.first else { return nil }
        return try lookup.explainMiss(.record(operation: digest, output: index), inputs: try links(of: step))
    }

    /// The records of the cache that each input of a step may be.
    private func links(of step: StepKeys) throws(CacheError) -> [[Link]] {
        var inputs: [[Link]] = []
        for alternatives in step.inputs {
            var links: [Link] = []
            for link in alternatives {
                switch link.source {
                case .output(let output): links += matches(of: output).map { Link($0, selector: link.selector) }
                case .content(let content):
                    links += try lookup.matches(.record(content: content)).map { Link($0, selector: link.selector) }
                }
            }
            inputs.append(links)
        }
        return inputs
    }
}
