import BuildCacheCore
import NIOCore
import Synchronization

/// Lists a tree, reads its files on several threads, and hands out the tar in order.
///
/// The lister runs ahead as far as the bounds allow and stops there, until the reader of the tar comes up.
final class PackPipeline: Sendable {
    private struct State {
        /// Batches that wait to be read, and threads that read.
        var waiting: [(number: Int, items: [PackItem])] = []
        var readers = 0
        var results: [Int: Result<[PackReader.Piece], CacheError>] = [:]
        /// Batches listed, and batches handed out.
        var listed = 0
        var delivered = 0
        var isListing = false
        var isAtEnd = false
        var waiter: CheckedContinuation<Void, Never>?
    }

    // Of at most 768 KiB and 128 entries each.
    private static let maximumBatches = 16
    private static let batchCount = 128
    private static let batchBytes = 512 << 10
    // Each may be open.
    private static let batchDirectories = 8

    private let lister: Mutex<TreeLister>
    private let reader: PackReader
    private let workers: Int
    private let state = Mutex(State())
    private let counts = Mutex((entries: Int64(0), path: [UInt8]()))
    let skipped: SkippedParts

    init(_ tree: LayerPacker.Tree, _ options: LayerPacker.Options) throws(CacheError) {
        let skipped = SkippedParts()
        let lister = try TreeLister(tree, options, skipped: skipped)
        reader = PackReader(options: options, attributes: lister.reader, skipped: skipped)
        workers = options.workerCount
        self.lister = Mutex(lister)
        self.skipped = skipped
    }

    /// The entries listed so far, and the path of the last.
    var progress: (entries: Int64, path: [UInt8]) { counts.withLock { $0 } }

    /// The next pieces of the tar; `nil` behind the last.
    func next() async throws(CacheError) -> [PackReader.Piece]? {
        while true {
            startListing()
            let next = state.withLock { state -> Result<[PackReader.Piece], CacheError>?? in
                if let result = state.results.removeValue(forKey: state.delivered) {
                    state.delivered += 1
                    return result
                }
                return state.isAtEnd && state.delivered == state.listed ? .some(nil) : nil
            }
            if let next {
                startListing()
                return try next?.get()
            }
            await withCheckedContinuation { continuation in
                let isReady = state.withLock { state in
                    let isReady =
                        state.results[state.delivered] != nil || state.isAtEnd && state.delivered == state.listed
                    if !isReady { state.waiter = continuation }
                    return isReady
                }
                if isReady { continuation.resume() }
            }
        }
    }

    private func startListing() {
        let starts = state.withLock { state in
            guard !state.isListing, !state.isAtEnd, state.listed - state.delivered <= PackPipeline.maximumBatches / 2
            else { return false }
            state.isListing = true
            return true
        }
        if starts { Workers.trees.submit { [self] in list() } }
    }

    /// Lists batches until the bound is reached.
    private func list() {
        while true {
            let canGoOn = state.withLock { state in
                let canGoOn = !state.isAtEnd && state.listed - state.delivered < PackPipeline.maximumBatches
                if !canGoOn { state.isListing = false }
                return canGoOn
            }
            guard canGoOn else { return }
            let batch = lister.withLock { lister in
                Result { () throws(CacheError) in try PackPipeline.batch(&lister) }
            }
            let number = state.withLock { state in
                defer { state.listed += 1 }
                return state.listed
            }
            switch batch {
            case .success(let items):
                // The last batch is not full, and may be empty.
                guard !items.isEmpty else { return finish(number, .success([]), isLast: true) }
                counts.withLock { counts in
                    counts.entries += Int64(items.count)
                    counts.path = items.last?.path ?? []
                }
                let starts = state.withLock { state in
                    state.waiting.append((number, items))
                    guard state.readers < workers else { return false }
                    state.readers += 1
                    return true
                }
                if starts { Workers.trees.submit { [self] in read() } }
            case .failure(let error): return finish(number, .failure(error), isLast: true)
            }
        }
    }

    /// Reads the files of batches for as long as any wait.
    private func read() {
        while true {
            let next = state.withLock { state -> (number: Int, items: [PackItem])? in
                guard state.waiting.isEmpty else { return state.waiting.removeFirst() }
                state.readers -= 1
                return nil
            }
            guard let (number, items) = next else { return }
            finish(number, Result { () throws(CacheError) in try reader.pack(items) }, isLast: false)
        }
    }

    private static func batch(_ lister: inout TreeLister) throws(CacheError) -> [PackItem] {
        var items: [PackItem] = []
        items.reserveCapacity(batchCount)
        var bytes = 0
        var directories = 0
        var last: PackDirectory?
        while items.count < batchCount, bytes < batchBytes, directories < batchDirectories,
            let item = try lister.next()
        {
            bytes += PackReader.size(of: item)
            if let directory = item.directory, directory !== last {
                directories += 1
                last = directory
            }
            items.append(item)
        }
        return items
    }

    private func finish(_ number: Int, _ result: Result<[PackReader.Piece], CacheError>, isLast: Bool) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.results[number] = result
            if isLast {
                state.isAtEnd = true
                state.isListing = false
            }
            guard number == state.delivered || isLast else { return nil }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }
}

/// One reading of a tar, by one task at a time.
actor PackStream {
    private let pipeline: PackPipeline
    private var pieces: [PackReader.Piece] = []
    private var file: (LargeFile, offset: Int64)?
    private var isAtEnd = false
    private var hasEnded = false

    init(_ pipeline: PackPipeline) { self.pipeline = pipeline }

    /// The next bytes; `nil` at the end.
    func next() async throws -> ByteBuffer? {
        while true {
            try Task.checkCancellation()
            if let (file, offset) = file {
                let chunk = try await Workers.files.run { () throws(CacheError) in try file.chunk(at: offset) }
                let end = offset + Int64(LargeFile.chunkSize)
                self.file = end < file.size ? (file, end) : nil
                return chunk
            }
            if let piece = pieces.popLast() {
                switch piece {
                case .bytes(let bytes): return bytes
                case .large(let large): file = (large, 0)
                }
                continue
            }
            guard !isAtEnd else {
                defer { hasEnded = true }
                return hasEnded ? nil : TarWriter.end
            }
            if let next = try await pipeline.next() { pieces = next.reversed() } else { isAtEnd = true }
        }
    }
}
