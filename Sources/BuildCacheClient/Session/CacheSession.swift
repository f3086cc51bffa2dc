public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
public import Logging
import Synchronization

/// The caches of one build, from its first step to its last.
///
/// ```swift
/// let session = client.openSession(store: scratch)
/// let sources = try session.record(.record(content: contents))
/// let step = try session.record(.record(operation: command, output: 0), inputs: [[Link(sources)]])
/// if let hit = try await session.fetch(step) {
///     // Its layers are in the store.
/// } else {
///     // Run the step, then:
///     try session.addResult([.tar(at: "out.tar")], to: step)
/// }
/// try await session.exportCaches().check()
/// ```
///
/// Caches are loaded in the background from the moment the session opens, and asked as soon as one of them has arrived. All of them are
/// one graph: what several know is one record, its newest result is asked for first, and of equally new ones that of the first source. A
/// source that is slow, down or damaged is a cache without hits, and never holds anything up longer than its deadline.
///
/// The session notes what the build does: its records are those of ``graph``, and a hit becomes the result of its record. Export it at the
/// end, or at any time before, as after a failure: what was noted so far is then a checkpoint for the next build.
///
/// Safe to use from any number of tasks. It ends with ``close()`` or with the last reference to it; what is being fetched ahead holds one.
public final class CacheSession: Sendable {
    /// How a session behaves.
    public struct Options: Sendable {
        /// How long a source may take to load.
        ///
        /// From the opening of the session; default 30 seconds. Then it is given up, and what it knew is a miss.
        public var deadline: Duration
        /// Layers of one result that are fetched at once.
        ///
        /// Default 4.
        public var fetchesInFlight: Int
        /// Where hits, misses and sources that fail are logged; default nowhere.
        public var logger: Logger?
        /// Called with the name of a source or destination and what happened there.
        public var progress: @Sendable (_ name: String, ProgressEvent) -> Void
        /// What the deadline is measured with.
        package var clock: any Clock<Duration> = ContinuousClock()

        /// Makes options.
        public init(
            deadline: Duration = .seconds(30), fetchesInFlight: Int = 4, logger: Logger? = nil,
            progress: @escaping @Sendable (_ name: String, ProgressEvent) -> Void = { _, _ in }
        ) {
            self.deadline = deadline
            self.fetchesInFlight = fetchesInFlight
            self.logger = logger
            self.progress = progress
        }
    }

    /// One layer of a result.
    ///
    /// A value stands for one layer: keep it to name the layer again, as the base of another step's result. Two values are two layers, also
    /// if they were made in the same way.
    @nonexhaustive
    public enum ResultLayer: Hashable, Sendable {
        /// Its blob is in the store, or in one of the caches.
        case stored(Descriptor)
        /// It exists, and its tar is made when an export asks for it.
        case pending(PendingLayer)

        /// A layer whose tar is made when an export asks for it.
        ///
        /// - Parameters:
        ///   - name: A label for messages and progress.
        ///   - open: Opens the tar, each time afresh and with the same bytes, however much later.
        public static func tar(
            name: String = "layer", _ open: @escaping @Sendable () async throws -> BlobStream
        ) -> ResultLayer {
            .pending(PendingLayer(name: name, tar: open))
        }

        /// A layer of a tar file, which must stay as it is until it was exported; a result whose file has changed by then is left out.
        ///
        /// - Throws: `CacheError` as `PendingLayer.init(name:tarAt:)`.
        public static func tar(at path: String) throws(CacheError) -> ResultLayer {
            .pending(try PendingLayer(tarAt: path))
        }
    }

    struct State {
        /// The names of the sources.
        let names: [String]
        var graph = LayerGraph()
        /// What records are called in the caches, as far as was asked; good for one version of what they know.
        var matches: [RecordID: [RecordID]] = [:]
        var matchesVersion = -1
        /// Blobs that were not there although a cache has them.
        var lost: Set<Digest> = []
        /// The diffIDs of fetched layers, computed from their bytes.
        var diffIDs: [Digest: DiffID] = [:]
        var hits: [RecordID: CacheHit] = [:]
        var misses: Set<RecordID> = []
        /// What is being fetched ahead.
        var prefetches: [RecordID: Task<Void, Never>] = [:]
        /// Steps that were fetched ahead, until they are fetched.
        var ready: [RecordID: CacheHit] = [:]
        var report = SessionReport()
    }

    let client: CacheClient
    let store: any BlobStore
    let options: Options
    let sources: LoadingSources
    let meter = TrafficMeter()
    /// Each step is fetched once for all who wait for it.
    let fetches = SharedWork<RecordID, CacheHit?>()
    let state: Mutex<State>

    init(_ client: CacheClient, store: any BlobStore, options: Options) {
        self.client = client
        self.store = store
        self.options = options
        state = Mutex(State(names: client.sources.map(\.name)))
        let progress = options.progress
        sources = TrafficMeter.$current.withValue(meter) {
            LoadingSources(
                client.sources, deadline: options.deadline, clock: options.clock, logger: options.logger,
                progress: progress)
        }
    }

    deinit { close() }

    /// Stops loads and prefetches, and lets the stores of the caches remove what was imported.
    ///
    /// What was noted stays, and can still be exported.
    public func close() {
        sources.cancel()
        for task in state.withLock({ $0.prefetches.values }) { task.cancel() }
    }

    // MARK: Noting

    /// What the build is made of so far.
    public var graph: LayerGraph { state.withLock { $0.graph } }

    /// Notes a step, or a source of one, and what it is built from.
    ///
    /// - Parameters:
    ///   - digest: See `Digest.record(operation:output:)` and `Digest.record(content:)`.
    ///   - inputs: Per input the links of which one must match, of this session, none of them to anything mutable: see `Link`. None for a
    ///     source.
    /// - Returns: The record; the same again for what is the same.
    /// - Throws: `CacheError` as `LayerGraph.addRecord(_:inputs:results:)`.
    public func record(_ digest: Digest, inputs: [[Link]] = []) throws(CacheError) -> RecordID {
        try noting { graph throws(CacheError) in try graph.addRecord(digest, inputs: inputs) }
    }

    /// Notes a source that only this machine can know, as a directory of the user's: no cache has it.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past 2³¹ records.
    public func recordEphemeral() throws(CacheError) -> RecordID {
        try noting { graph throws(CacheError) in try graph.addEphemeralRecord() }
    }

    /// Notes the result of a step that has run.
    ///
    /// It takes the place of any other result of the step, noted before or found in a cache: a step that ran again is not the hit any more,
    /// whatever the clocks say.
    ///
    /// - Parameters:
    ///   - layers: All layers of the result, the lowest first: those of the base it started from and its own.
    ///   - createdAt: When the step ended; also the time of its new layers.
    ///   - record: The step.
    /// - Throws: `CacheError` `.invalidSpec` for a record of another session, for one without inputs, which stands for something that was
    ///   read and has no result, and for a result without layers.
    public func addResult(
        _ layers: [ResultLayer], createdAt: Timestamp = .now(), to record: RecordID
    ) throws(CacheError) {
        try noting(mayLink: false) { graph throws(CacheError) in
            guard try !graph[record].inputs.isEmpty else {
                throw CacheError(
                    .invalidSpec,
                    "a record without inputs is a source, and a build exports no result of one; give the step an input")
            }
            var top: LayerID?
            for layer in layers {
                switch layer {
                case .stored(let descriptor): top = try graph.addLayer(descriptor, on: top)
                case .pending(let pending): top = try graph.addLayer(pending, on: top)
                }
            }
            guard let top else {
                throw CacheError(.invalidSpec, "a result without layers cannot be cached; leave it out")
            }
            try graph.removeResults(of: record)
            try graph.addResult(CacheResult(layer: top, createdAt: createdAt), to: record)
        }
    }

    /// - Parameter mayLink: Whether `body` may link records.
    private func noting<Value: Sendable>(
        mayLink: Bool = true, _ body: (inout LayerGraph) throws(CacheError) -> Value
    ) throws(CacheError) -> Value {
        let result = state.withLock { state -> Result<Value, CacheError> in
            let count = state.graph.identifierCount
            do throws(CacheError) {
                let value = try body(&state.graph)
                // A new link of a known record may let it, and all that is built on it, match more.
                if mayLink, state.graph.identifierCount == count { state.matches = [:] }
                return .success(value)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}

extension CacheClient {
    /// Begins a build: loads ``sources`` in the background, and notes what is to be written to ``destinations``.
    ///
    /// - Parameters:
    ///   - store: Where layers are fetched to, and read from first; a `ScratchStore` or a store of your own.
    ///   - options: How the session behaves.
    public func openSession(
        store: any BlobStore, options: CacheSession.Options = CacheSession.Options()
    ) -> CacheSession {
        CacheSession(self, store: store, options: options)
    }
}
