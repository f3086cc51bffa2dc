import NIOCore
import NIOPosix

/// Threads for work that would hold up Swift's cooperative pool: files that block, and long computations.
///
/// What runs here runs to its end, cancelled or not, so that cleaning up works in a cancelled task too. It is kept
/// short instead: one chunk at a time, and callers look at cancellation between two chunks.
package struct Workers: Sendable {
    /// For reading and writing files: several, so that one slow disk does not stop the others.
    package static let files = Workers(threads: 4)
    /// For hashing, compressing and decompressing: as many as there are cores.
    package static let processors = Workers(threads: System.coreCount)

    /// For making and reading the files of trees: work that never waits for other work of these threads.
    package static let trees = Workers(threads: 8)

    /// How many things run at once.
    package let threads: Int
    private let pool: NIOThreadPool

    private init(threads: Int) {
        self.threads = threads
        // Never shut down: both pools live as long as the process, and idle threads cost nothing.
        pool = NIOThreadPool(numberOfThreads: threads)
        pool.start()
    }

    /// Runs `body` on one of the threads.
    package func run<Value: Sendable, Failure: Error>(
        _ body: @escaping @Sendable () throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        let result: Result<Value, Failure> = await withCheckedContinuation { continuation in
            submit {
                do throws(Failure) {
                    continuation.resume(returning: .success(try body()))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }

    /// Runs `body` on one of the threads and does not wait for it.
    func submit(_ body: @escaping @Sendable () -> Void) {
        pool.submit { _ in body() }
    }
}
