import BuildCacheBytes
package import BuildCacheCore
import Synchronization

/// A credential that expires: kept until shortly before its end, and renewed once for all tasks that wait for it.
///
/// It is renewed five minutes before it ends, or when three quarters of a shorter life have passed. A renewal that fails before the end leaves
/// the old value in use.
package final class RenewedValue<Value: Hashable & Sendable>: Sendable {
    private struct State {
        var value: Value?
        /// The time from which on a new one is fetched; `nil` for a value that does not expire.
        var renewsAt: Timestamp?
        /// The number of the value, so that of two rejections of one value only the first discards it.
        var generation = 0
    }

    private let expiry: @Sendable (Value) -> Timestamp?
    private let now: @Sendable () -> Timestamp
    private let fetch: @Sendable () async throws -> Value
    private let state = Mutex(State())
    private let fetches = SharedWork<Int, Value>()

    /// Seconds before the end.
    private static var margin: Int64 { 300 }

    /// - Parameters:
    ///   - expiry: Returns the end of a value, `nil` for one that does not expire.
    ///   - now: Returns the current time.
    ///   - fetch: Returns a new value.
    package init(
        expiry: @escaping @Sendable (Value) -> Timestamp?, now: @escaping @Sendable () -> Timestamp,
        fetch: @escaping @Sendable () async throws -> Value
    ) {
        self.expiry = expiry
        self.now = now
        self.fetch = fetch
    }

    /// A value that has not expired.
    ///
    /// - Parameter rejected: A value that a service no longer accepts.
    package func current(rejecting rejected: Value? = nil) async throws -> Value {
        let known = state.withLock { $0 }
        let usable = known.value.flatMap { $0 == rejected ? nil : $0 }
        if let usable, known.renewsAt.map({ now() < $0 }) ?? true { return usable }
        do {
            return try await fetches.value(for: known.generation) { try await self.renew(known.generation) }
        } catch let error as CacheError {
            if let usable, let end = expiry(usable), now() < end { return usable }
            throw error
        }
    }

    private func renew(_ generation: Int) async throws -> Value {
        let fresh = try await fetch()
        let time = now()
        let renewsAt = expiry(fresh).flatMap { end in
            Timestamp(seconds: end.seconds - min(Self.margin, max(0, (end.seconds - time.seconds) / 4)))
        }
        state.withLock { state in
            guard state.generation == generation else { return }
            state = State(value: fresh, renewsAt: renewsAt, generation: generation + 1)
        }
        return fresh
    }

    /// Discards the value, because a service has rejected it.
    package func forget() {
        state.withLock { $0 = State(generation: $0.generation + 1) }
    }
}
