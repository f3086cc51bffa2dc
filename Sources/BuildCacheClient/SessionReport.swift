import BuildCacheBytes
public import BuildCacheCore
import BuildCacheTransfer

/// What a session did, for the end of a build's log.
public struct SessionReport: Sendable, CustomStringConvertible {
    /// What became of a source.
    public struct Source: Sendable {
        /// How far it is.
        @nonexhaustive
        public enum State: Sendable {
            /// It has not answered yet.
            case loading
            /// There is no cache yet.
            case absent
            /// It has so many records.
            case loaded(records: Int)
            /// It could not be read, or not in time.
            case failed(CacheError)
        }
        /// The name of the endpoint.
        public var name: String
        /// How far it is.
        public var state: State
    }

    /// Seconds that were spent, those of calls that overlapped each for itself.
    public struct Seconds: Hashable, Sendable {
        /// From the opening until all sources had answered or were given up.
        public var importing = 0.0
        /// In ``CacheSession/fetch(_:)`` and what was fetched ahead, while layers moved.
        public var fetching = 0.0
        /// In ``CacheSession/exportCaches(from:targets:)``.
        public var exporting = 0.0
    }

    /// The caches that were read, in their order.
    public var sources: [Source] = []
    /// Steps that a cache had a result for.
    public var hits = 0
    /// Steps that were looked up and that no cache had a result for.
    public var misses = 0
    /// Stored bytes of layers that were fetched or written.
    public var bytesMoved: Int64 = 0
    /// Stored bytes of layers that did not have to move, because they were there.
    public var bytesSaved: Int64 = 0
    /// Where the time went.
    public var seconds = Seconds()
    /// Requests to servers, those that were sent again included.
    public var requests = 0
    /// How often something was tried again.
    public var retries = 0
    /// What each export did.
    public var exports: [ExportReport] = []

    mutating func add(_ size: Int64, _ outcome: PutOutcome) {
        if outcome == .written {
            bytesMoved = bytesMoved.saturatingAdding(size)
        } else {
            bytesSaved = bytesSaved.saturatingAdding(size)
        }
    }

    mutating func add(_ report: ExportReport) {
        exports.append(report)
        for case .success(let receipt) in report.outcomes.map(\.result) {
            bytesMoved = bytesMoved.saturatingAdding(receipt.bytesWritten)
            bytesSaved = bytesSaved.saturatingAdding(receipt.bytesSaved)
        }
    }

    /// The figures in one line.
    public var description: String {
        func text(_ seconds: Double) -> String { "\((seconds * 100).rounded() / 100) s" }
        let failed = sources.count { if case .failed = $0.state { true } else { false } }
        return
            "\(hits) \(hits == 1 ? "hit" : "hits"), \(misses) \(misses == 1 ? "miss" : "misses"), \(bytesMoved) bytes moved, \(bytesSaved) bytes saved, \(requests) requests, "
            + "\(retries) retries; \(text(seconds.importing)) importing, \(text(seconds.fetching)) fetching, "
            + "\(text(seconds.exporting)) exporting"
            + (failed == 0 ? "" : "; \(failed) of \(sources.count) sources failed")
    }
}
