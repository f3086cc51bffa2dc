public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph

/// A step of a build that is done: found in a cache, or run.
public struct CachedStep: Sendable {
    /// The step among the records of its session.
    public let record: RecordID
    /// The layers of the result, the lowest first.
    ///
    /// Those of a step that was cached are in the session's store.
    public let layers: [CacheSession.ResultLayer]
    /// Whether a cache had the result, so that the step did not run.
    public let isCached: Bool
    /// The name of the cache that had the result; `nil` if the step ran.
    public let source: String?
    /// The time that it took to fetch the result, or to look for it and run the step.
    public let duration: Duration
}

extension CachedStep {
    /// Something that a step is built from.
    public struct Input: Sendable {
        fileprivate enum Kind {
            case content(Digest)
            case tree(LayerPacker)
            case step(RecordID)
        }
        fileprivate let kind: Kind

        /// Content that the step reads, such as a directory of sources.
        ///
        /// - Parameter digest: The digest of all that the step can see of it.
        public static func content(_ digest: Digest) -> Input { Input(kind: .content(digest)) }

        /// The files of a directory that the step reads: their names, contents and modes, without times and owners.
        ///
        /// - Parameters:
        ///   - path: The directory; it must stay as it is until the step has run.
        ///   - ignore: The files that the step does not see.
        public static func directory(_ path: String, ignore: IgnorePatterns = .none) -> Input {
            var options = LayerPacker.Options()
            options.fixedTime = .zero
            options.ignore = ignore
            return Input(kind: .tree(LayerPacker(.directory(path), options: options)))
        }

        /// The result of another step of the session.
        public static func step(_ step: CachedStep) -> Input { Input(kind: .step(step.record)) }
    }
}

extension CacheSession {
    /// Finds the result of a step in the caches, or else runs the step.
    ///
    /// ```swift
    /// let sources = try await session.step("copy", inputs: [.directory("src")]) { [try await .directory("src")] }
    /// let program = try await session.step("make all", inputs: [.step(sources)]) {
    ///     try await make()
    ///     return sources.layers + [try await .directory("out")]
    /// }
    /// ```
    ///
    /// For selectors, alternative inputs and several outputs of one operation, use ``record(_:inputs:)``, ``fetch(_:)`` and
    /// ``addResult(_:createdAt:to:)``.
    ///
    /// - Parameters:
    ///   - operation: A text that changes whenever the step would do something else: the command, its environment, the platform, the version
    ///     of the tool.
    ///   - inputs: Everything else that decides the result, in an order that does not change; at least one.
    ///   - run: Runs the step, and returns all layers of its result, the lowest first.
    /// - Returns: The step, with its layers.
    /// - Throws: `CacheError` `.invalidSpec` without inputs, without layers, and for a step of another session; what the store and `run` throw.
    public func step(
        _ operation: String, inputs: [CachedStep.Input], run: () async throws -> [ResultLayer]
    ) async throws -> CachedStep {
        let start = ContinuousClock.now
        var links: [[Link]] = []
        for input in inputs {
            switch input.kind {
            case .content(let digest): links.append([Link(try record(.record(content: digest)))])
            case .tree(let packer):
                links.append([Link(try record(.record(content: try await packer.diffID().digest)))])
            case .step(let record): links.append([Link(record)])
            }
        }
        guard !links.isEmpty else {
            throw CacheError(
                .invalidSpec,
                "step \(operation.quoted) has no inputs: name the content or the steps that decide its result")
        }
        let id = try record(.record(operation: Digest(of: operation.utf8), output: 0), inputs: links)
        if let hit = try await fetch(id) {
            return CachedStep(
                record: id, layers: hit.layers.map { .stored($0) }, isCached: true, source: hit.source,
                duration: start.duration(to: .now))
        }
        let layers = try await run()
        try addResult(layers, to: id)
        return CachedStep(
            record: id, layers: layers, isCached: false, source: nil, duration: start.duration(to: .now))
    }
}

extension CacheClient {
    /// Runs a build in a session: loads the caches while `body` begins, exports what it noted when it has succeeded, and closes the session in
    /// any case.
    ///
    /// A build that throws exports nothing; call ``CacheSession/exportCaches(from:targets:)`` in `body` for a checkpoint.
    ///
    /// - Parameters:
    ///   - store: The store that layers are fetched to, and read from first.
    ///   - options: The options of the session.
    ///   - body: The build.
    /// - Returns: The value of `body`.
    /// - Throws: Errors of `body`; the error of a destination that was not written, unless it ignores errors; `CancellationError`.
    public func withSession<Value>(
        store: any BlobStore, options: CacheSession.Options = CacheSession.Options(),
        _ body: (CacheSession) async throws -> Value
    ) async throws -> Value {
        let session = openSession(store: store, options: options)
        defer { session.close() }
        let value = try await body(session)
        try await session.exportCaches().check()
        return value
    }
}
