public import BuildCacheBytes
public import BuildCacheCore

/// Something that happened while a cache was exported, imported, verified or pruned.
@nonexhaustive
public enum ProgressEvent: Hashable, Sendable {
    /// So many layers with so many stored bytes will be looked at; pending layers count without bytes.
    case planned(layers: Int, bytes: Int64)
    /// A blob is being read.
    case started(Descriptor)
    /// So many bytes of a blob have passed since it was started.
    case advanced(Digest, bytes: Int64)
    /// A layer was converted or made: what it was, if it was stored, and what it is now.
    case converted(from: Digest?, to: Descriptor)
    /// A blob is where it should be.
    case finished(Digest, PutOutcome)
    /// A layer was verified, and is sound or damaged.
    case verified(Digest, isSound: Bool)
    /// A name leads to a manifest.
    case published(name: String, Digest)
    /// This many names of a store were listed, and their documents read, for a prune or verification.
    case listedNames(Int)
    /// This many blobs of a store were listed for a prune.
    case listedBlobs(Int)
    /// A prune removed a name.
    case removedName(String)
    /// A prune removed a blob: its identifier in the store, and its size in bytes.
    case removedBlob(String, bytes: Int64)
    /// Something went wrong that does not fail the call.
    case problem(CacheProblem)
    /// A pause of this length begins, before another try or because of a limit of the service; the reason is one line.
    case waiting(Duration, reason: String)
}

/// Where progress goes.
///
/// It is called from many tasks at once and must not block: a slow observer must not slow a transfer.
public struct ProgressSink: Sendable {
    private let report: @Sendable (ProgressEvent) -> Void

    /// Reports to `report`.
    public init(_ report: @escaping @Sendable (ProgressEvent) -> Void) { self.report = report }

    /// Reports an event.
    public func callAsFunction(_ event: ProgressEvent) { report(event) }

    /// Runs `body`, and reports each pause in it as ``ProgressEvent/waiting(_:reason:)``.
    package func reportingPauses<Value>(_ body: () async throws -> Value) async rethrows -> Value {
        let report = report
        return try await PauseObserver.$current.withValue(
            PauseObserver { report(.waiting($0, reason: $1)) }, operation: body)
    }

    /// Goes nowhere.
    public static let discarded = ProgressSink { _ in }
}

/// Runs an operation of a backend: its errors say so, and its pauses are progress.
///
/// - Parameters:
///   - operation: The operation.
///   - backend: As in ``BackendTraits/name``.
///   - side: The side that is to blame for errors that do not say so.
///   - progress: The observer of pauses; `nil` for a part of an operation that has one.
package func running<Value>(
    _ operation: CacheError.Operation, at backend: String, side: CacheError.Side? = nil,
    progress: ProgressSink? = nil, _ body: () async throws -> Value
) async throws -> Value {
    do {
        guard let progress else { return try await body() }
        return try await progress.reportingPauses(body)
    } catch let error as CacheError {
        throw error.adding(backend: backend, operation: operation, side: side)
    }
}
