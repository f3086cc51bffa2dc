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
        var runners = 0
        var failure: CacheError?
    }

    // Enough that no thread waits for another, few enough that the bytes stay below 32 MiB.
    private static let maximumBytes = 24 << 20

    private let maker: FileMaker
    private let runnerLimit: Int
    private let state = Mutex(State())
    private let isIdle = ConditionLock(value: true)

    /// - Parameter workers: How many threads make files, the reader's included.
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
        if startsRunner {
            isIdle.lock()
            isIdle.unlock(withValue: false)
            Workers.trees.submit { [self] in run() }
        }
        if isFull { try takeOne() }
        try throwFailure()
    }

    /// Returns when all files are made.
    ///
    /// - Throws: The first error of any of them.
    func wait() throws(CacheError) {
        while try takeOne() {}
        guard runnerLimit > 0 else { return }
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
        guard runnerLimit > 0 else { return }
        isIdle.lock(whenValue: true)
        isIdle.unlock()
    }

    private static func size(_ batch: [FileJob]) -> Int { batch.reduce(0) { $0 + $1.data.readableBytes } }

    private func throwFailure() throws(CacheError) {
        if let failure = state.withLock({ $0.failure }) { throw failure }
    }

    @discardableResult
    private func takeOne() throws(CacheError) -> Bool {
        let batch = state.withLock { state -> [FileJob]? in
            guard state.failure == nil, !state.waiting.isEmpty else { return nil }
            let batch = state.waiting.removeFirst()
            state.bytes -= FileJobs.size(batch)
            return batch
        }
        guard let batch else { return false }
        try make(batch)
        return true
    }

    private func run() {
        do throws(CacheError) {
            while try takeOne() {}
        } catch {
            state.withLock { $0.failure = $0.failure ?? error }
        }
        // A batch may have come between the last look and here.
        let end = state.withLock { state -> (again: Bool, isIdle: Bool) in
            if state.failure == nil, !state.waiting.isEmpty { return (true, false) }
            state.runners -= 1
            return (false, state.runners == 0)
        }
        if end.again { return Workers.trees.submit { [self] in run() } }
        if end.isIdle { settle() }
    }

    /// Says that no thread is working unless one has begun meanwhile.
    private func settle() {
        isIdle.lock()
        let runners = state.withLock { $0.runners }
        isIdle.unlock(withValue: runners == 0)
    }

    private func make(_ batch: [FileJob]) throws(CacheError) {
        for job in batch { try maker.make(job) }
    }
}
