public import BuildCacheBytes
public import BuildCacheCore

/// Something that happened while a cache was exported or imported.
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
    /// A name leads to a manifest.
    case published(name: String, Digest)
    /// Something went wrong that does not fail the call.
    case problem(CacheProblem)
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

    /// Goes nowhere.
    public static let discarded = ProgressSink { _ in }
}
