import Synchronization

/// Counts the requests of whatever runs within it, for the report of a build.
///
/// Bound to a task and its children, so that no client needs to be told of it, and two builds that share one are counted apart.
package final class TrafficMeter: Sendable {
    /// The meter of this task.
    @TaskLocal package static var current: TrafficMeter?

    private let sent = Atomic(0)
    private let repeated = Atomic(0)

    package init() {}

    /// Requests that were sent, those that were sent again included.
    package var requests: Int { sent.load(ordering: .relaxed) }
    /// How often an operation had to wait and try again.
    package var retries: Int { repeated.load(ordering: .relaxed) }

    package func countRequest() { sent.wrappingAdd(1, ordering: .relaxed) }
    package func countRetry() { repeated.wrappingAdd(1, ordering: .relaxed) }
}
