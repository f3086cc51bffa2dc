public import BuildCacheCore

/// The keys by which a step of a build is found: its digests, and for each input all records that the input may be.
///
/// It names inputs by the build's own outputs, so that it can be looked up in any cache (``StepMatcher``) and added to any graph
/// (`LayerGraph.addRecords(of:)`).
public struct StepKeys: Sendable {
    /// One way to recognise an input.
    public struct Link: Hashable, Sendable {
        /// The target of a link.
        public enum Source: Hashable, Sendable {
            /// Any record of an output of this build.
            case output(LLB.Output)
            /// The record of a content key.
            case content(Digest)
        }
        /// The target.
        public var source: Source
        /// The selector: the part of the input that is used; empty for content.
        public var selector: String

        /// Links to an output or to content.
        public init(_ source: Source, selector: String = "") {
            self.source = source
            self.selector = selector
        }
    }

    /// The digest of the operation's bytes.
    public var vertex: Digest
    /// The operation's digests in keys, which are alternatives; none for a source that only this build can know.
    public var digests: [Digest]
    /// Per input, the links of which one must match.
    public var inputs: [[Link]]

    /// The keys of a source.
    public init(_ vertex: LLB.Definition.Vertex, source: SourceKeys) {
        self.vertex = vertex.digest
        digests = source.digests
        inputs = []
    }

    /// The keys of any other operation.
    ///
    /// - Parameter contents: The content keys of inputs, by index, as far as they are known: one for each epoch.
    public init(_ vertex: LLB.Definition.Vertex, operation: OperationKeys, contents: [Int: [Digest]] = [:]) {
        self.vertex = vertex.digest
        digests = [operation.digest]
        inputs = vertex.op.inputs.enumerated().map { index, output in
            let selector = operation.inputs.indices.contains(index) ? operation.inputs[index].selector : nil
            var links = [Link(.output(output), selector: selector.map { "\($0)" } ?? "")]
            links += (contents[index] ?? []).map { Link(.content($0)) }
            return links
        }
    }
}

/// The facts about a build that its operations do not hold: the keys of its sources, and the files that content keys are made of.
public protocol BuildContents: Sendable {
    /// The keys of a source; ``SourceKeys/local`` for a directory of the client.
    ///
    /// - Parameter platform: That of the operation, normalised.
    func keys(of source: LLB.SourceOp, platform: LLB.Platform) async throws -> SourceKeys

    /// The files of an output; `nil` if they are not known, which leaves out the links of steps to their content.
    ///
    /// Trees that only making files and directories on nothing has made are known without a question.
    ///
    /// - Parameters:
    ///   - output: The output.
    ///   - selectors: What is used of the files.
    ///   - steps: The keys of all steps so far, inputs before their users, for a ``StepMatcher``.
    func tree(of output: LLB.Output, selectors: [ContentSelector], steps: [StepKeys]) async throws -> ContentTree?
}
