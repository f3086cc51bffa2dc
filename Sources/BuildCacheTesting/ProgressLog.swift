public import BuildCacheClient
import Synchronization

/// Keeps all progress events.
public final class ProgressLog: Sendable {
    private let log = Mutex<[ProgressEvent]>([])

    /// Makes an empty log.
    public init() {}

    /// Where to report.
    public var sink: ProgressSink { ProgressSink { event in self.log.withLock { $0.append(event) } } }

    /// What was reported, in order.
    public var events: [ProgressEvent] { log.withLock { $0 } }
}
