import BuildCacheCore
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

/// A file that is to be made in an open directory.
struct FileJob: Sendable {
    var directory: TreeDirectory
    var name: ArraySlice<UInt8>
    var attributes: EntryAttributes
    var data: ByteBuffer
    /// Whether the layer had something under this name before.
    var isRepeated: Bool

    var path: [UInt8] { directory.path(of: name) }
}

/// Makes files on several threads, in any order.
///
/// The thread that reads the layer hands over batches, works on them itself when too many wait, and waits for all of them before it does
/// something that depends on them.
final class FileJobs: Sendable {
    private struct State {
        var waiting: [[FileJob]] = []
        var bytes = 0
        /// Threads asked for; they may not have begun.
        var runners = 0
        /// Batches that threads are at.
        var underWay = 0
        var failure: CacheError?

        /// Takes the next batch.
        mutating func take() -> [FileJob]? {
            guard failure == nil, !waiting.isEmpty else { return nil }
            let batch = waiting.removeFirst()
            bytes -= FileJobs.size(batch)
            underWay += 1
            return batch
        }
    }

    // Enough that no thread waits for another, few enough that the bytes stay below 32 MiB.
    private static let maximumBytes = 24 << 20

    private let maker: FileMaker
    private let runnerLimit: Int
    private let state = Mutex(State())
    private let isIdle = ConditionLock(value: true)

    /// - Parameter workers: The number of threads that make files, the reader's included.
    init(_ maker: FileMaker, workers: Int) {
        self.maker = maker
        runnerLimit = max(0, workers - 1)
    }

    /// Makes these files soon.
    ///
    /// - Throws: The error of an earlier batch.
    func add(_ batch: [FileJob]) throws(CacheError) {
        guard !batch.isEmpty else { return }
        guard runnerLimit > 0 else { return try make(batch) }
        let size = FileJobs.size(batch)
        let (startsRunner, isFull) = state.withLock { state in
            state.waiting.append(batch)
            state.bytes += size
            let starts = state.runners < runnerLimit
            if starts { state.runners += 1 }
            return (starts, state.waiting.count > 4 * (runnerLimit + 1) || state.bytes > FileJobs.maximumBytes)
        }
        if startsRunner { Workers.trees.submit { [self] in run() } }
        if isFull { try makeOne() }
        try throwFailure()
    }

    /// Returns when all files are made.
    ///
    /// - Throws: The first error of any of them.
    func wait() throws(CacheError) {
        while try makeOne() {}
        // Threads that are at a batch wait for nothing; those that have not begun are not waited for.
        isIdle.lock(whenValue: true)
        isIdle.unlock()
        try throwFailure()
    }

    /// Stops making files and returns when no thread is at it.
    func abandon() {
        state.withLock { state in
            state.waiting = []
            state.failure = state.failure ?? CacheError(.unavailable, "the layer was abandoned")
        }
        isIdle.lock(whenValue: true)
        isIdle.unlock()
    }

    private static func size(_ batch: [FileJob]) -> Int { batch.reduce(0) { $0 + $1.data.readableBytes } }

    private func throwFailure() throws(CacheError) {
        if let failure = state.withLock({ $0.failure }) { throw failure }
    }

    /// Makes the files of the next batch; `false` if none waits.
    @discardableResult
    private func makeOne() throws(CacheError) -> Bool {
        guard let batch = change({ $0.take() }) else { return false }
        do throws(CacheError) { try make(batch) } catch {
            change { state in
                state.failure = state.failure ?? error
                state.underWay -= 1
            }
            throw error
        }
        change { $0.underWay -= 1 }
        return true
    }

    /// Changes the state, and says whether any thread is at a batch.
    private func change<Value: Sendable>(_ body: (inout State) -> Value) -> Value {
        isIdle.lock()
        let (value, isIdle) = state.withLock { state in
            let value = body(&state)
            return (value, state.underWay == 0)
        }
        self.isIdle.unlock(withValue: isIdle)
        return value
    }

    private func run() {
        // The failure is kept for the reader.
        while (try? makeOne()) == true {}
        // A batch may have come between the last look and here.
        let again = state.withLock { state in
            if state.failure == nil, !state.waiting.isEmpty { return true }
            state.runners -= 1
            return false
        }
        if again { Workers.trees.submit { [self] in run() } }
    }

    private func make(_ batch: [FileJob]) throws(CacheError) {
        for job in batch { try maker.make(job) }
    }
}
