import BuildCacheBytes
import BuildCacheCore

/// Where the blocking calls of a layout run, away from the cooperative pool.
enum Blocking {
    /// Runs `body` on a thread for files; a ``FileError`` leaves as the `CacheError` it means.
    ///
    /// Not cut short by cancellation, so that the clean-up of a cancelled task runs too: who loops asks
    /// `Task.checkCancellation()` between the rounds.
    static func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        do {
            return try await Workers.files.run(body)
        } catch let error as FileError {
            throw CacheError(error)
        }
    }
}
