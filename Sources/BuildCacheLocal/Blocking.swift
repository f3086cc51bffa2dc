import BuildCacheCore
import NIOPosix

/// Where blocking calls run: NIO's shared pool of threads, away from the cooperative pool.
enum Blocking {
    /// Runs `body` on a thread of the pool; a ``FileError`` leaves as the ``CacheError`` it means.
    ///
    /// Not cut short by cancellation, so that the clean-up of a cancelled task runs too: who loops asks
    /// `Task.checkCancellation()` between the rounds.
    static func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            NIOThreadPool.singleton.submit { state in
                // The shared pool is never shut down, so that work in it is always active.
                guard case .active = state else { return continuation.resume(throwing: CancellationError()) }
                do {
                    continuation.resume(returning: try body())
                } catch let error as FileError {
                    continuation.resume(throwing: CacheError(error))
                } catch {
                    continuation.resume(throwing: error)
                }
            }
        }
    }
}
