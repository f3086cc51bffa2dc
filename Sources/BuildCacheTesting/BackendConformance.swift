package import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheClient

/// What every backend promises, as checks that can be run on any of them, with any testing library or none.
///
/// ```swift
/// let conformance = BackendConformance { setup in MyCache(name: setup.cache, export: setup.export) }
/// for check in BackendConformance.checks { try await check.run(conformance) }
/// ```
///
/// A check returns if the promise is kept; if not it throws a ``ConformanceFailure`` or what the backend threw. Each uses caches of
/// its own that nobody used before, and leaves them behind.
public struct BackendConformance: Sendable {
    /// What a check needs of a backend.
    public struct Setup: Hashable, Sendable {
        /// The name of the cache, lower-case letters, digits and hyphens.
        ///
        /// Backends of one name share what is stored, others nothing but blobs.
        public var cache: String
        /// The options of an export: mode, compression and write policy.
        public var export: ExportOptions
    }

    /// One promise.
    public struct Check: Sendable, CustomStringConvertible {
        /// The end of a sentence that begins with "every backend".
        public let name: String
        /// Looks whether the promise is kept.
        public let run: @Sendable (BackendConformance) async throws -> Void
        /// The name.
        public var description: String { name }

        init(_ name: String, _ run: @escaping @Sendable (BackendConformance) async throws -> Void) {
            self.name = name
            self.run = run
        }
    }

    private let makeBackend: @Sendable (Setup) async throws -> any CacheBackend

    /// Checks backends made by `makeBackend`.
    public init(makeBackend: @escaping @Sendable (Setup) async throws -> any CacheBackend) {
        self.makeBackend = makeBackend
    }

    /// A backend for a cache of this name.
    func backend(
        _ cache: String, mode: CacheMode = .max, compression: CompressionOptions = CompressionOptions(),
        writePolicy: WritePolicy = .replace
    ) async throws -> any CacheBackend {
        try await makeBackend(
            Setup(
                cache: cache, export: ExportOptions(mode: mode, compression: compression, writePolicy: writePolicy)))
    }

    /// A name that no cache has yet.
    func newName() -> String { "check-" + String(UInt64.random(in: .min ... .max), radix: 36) }
}

/// A promise that a backend did not keep.
public struct ConformanceFailure: Error, CustomStringConvertible {
    /// What is wrong, in one line.
    public let description: String
}

/// Fails the check unless `isKept`.
func expect(_ isKept: Bool, _ problem: @autoclosure () -> String) throws(ConformanceFailure) {
    guard isKept else { throw ConformanceFailure(description: problem()) }
}

extension CacheBackend {
    /// Exports a sample, its stored layers perhaps from another source.
    @discardableResult
    package func export(_ sample: SampleCache, from source: LayerSource? = nil, progress: ProgressSink = .discarded)
        async throws -> ExportReceipt
    {
        try await exportCache(sample.graph, from: source ?? sample.source, progress: progress)
    }

    /// What is stored, which must be something.
    func stored() async throws -> ImportedCache {
        guard let cache = try await importCache(progress: .discarded) else {
            throw ConformanceFailure(description: "there is no cache although an export succeeded")
        }
        return cache
    }
}
