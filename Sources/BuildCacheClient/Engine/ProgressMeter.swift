import BuildCacheCore
import Synchronization

/// Counts and times the events of transfers, for a progress bar that somebody else draws.
///
/// ```swift
/// let meter = ProgressMeter()
/// try await client.exportCaches(graph, from: layers) { meter.report($1, of: $0.name) }
/// // … and ten times a second, in another task:
/// let now = meter.snapshot()
/// print("\(Int(100 * now.fraction)) %, \(Int64(now.bytesPerSecond)) bytes/s, \(now.remaining ?? .zero) to go")
/// ```
public final class ProgressMeter: Sendable {
    /// How far transfers are.
    public struct Snapshot: Hashable, Sendable {
        /// What the events add up to.
        public var totals: ProgressTotals
        /// Since the meter was made.
        public var elapsed: Duration
        /// Bytes of layers per second, over the last seconds; 0 while nothing moves.
        public var bytesPerSecond: Double
        /// How long it will take at the pace so far, by the share of layers that are done; `nil` while that cannot be told.
        public var remaining: Duration?
        /// How much is done, from 0 to 1.
        public var fraction: Double { totals.fraction }
    }

    fileprivate struct State {
        var totals = ProgressTotals()
        /// When so many bytes had moved, oldest first; the first is as old as the window at least.
        var samples: [(at: Duration, bytes: Int64)] = [(.zero, 0)]
    }

    /// Seconds over which the rate is taken: long enough to stand still, short enough to be true.
    fileprivate static let window = Duration.seconds(5)
    /// No sample is closer to the one before.
    private static let pause = Duration.milliseconds(100)

    private let state = Mutex(State())
    private let elapsed: @Sendable () -> Duration

    /// Begins to measure.
    ///
    /// - Parameter clock: What time is measured with.
    public init<C: Clock>(clock: C = ContinuousClock()) where C.Duration == Duration {
        let start = clock.now
        elapsed = { start.duration(to: clock.now) }
    }

    /// Counts an event; never blocks for long.
    ///
    /// - Parameters:
    ///   - event: What happened.
    ///   - transfer: Tells apart transfers that may have layers in common, by the names of their endpoints.
    public func report(_ event: ProgressEvent, of transfer: String = "") {
        let now = elapsed()
        state.withLock { state in
            state.totals.add(event, of: transfer)
            if let last = state.samples.last, now - last.at >= ProgressMeter.pause { state.sample(at: now) }
        }
    }

    /// How far it is now.
    public func snapshot() -> Snapshot {
        let now = elapsed()
        return state.withLock { state in
            state.sample(at: now)
            let first = state.samples[0]
            let seconds = (now - first.at) / .seconds(1)
            let rate = seconds > 0 ? Double(max(0, state.totals.bytes - first.bytes)) / seconds : 0
            let fraction = state.totals.fraction
            return Snapshot(
                totals: state.totals, elapsed: now, bytesPerSecond: rate,
                remaining: fraction > 0 ? now * ((1 - fraction) / fraction) : nil)
        }
    }
}

extension ProgressMeter.State {
    fileprivate mutating func sample(at now: Duration) {
        samples.append((now, totals.bytes))
        // The last one before the window begins stays: the rate is over all of it.
        while samples.count > 2, now - samples[1].at >= ProgressMeter.window { samples.removeFirst() }
    }
}
