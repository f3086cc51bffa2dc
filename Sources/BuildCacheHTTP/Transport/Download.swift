package import BuildCacheBytes
import BuildCacheCore
import NIOCore
import NIOHTTP1

/// Bytes that a server has, fetched until they are all there.
///
/// A connection that breaks costs the bytes that were under way: what is missing is asked for with a range. Many bytes are fetched as
/// several ranges at once and handed out in order, if the server knows ranges.
package struct Download: Sendable {
    /// Bytes of one range.
    static let segmentSize: Int64 = 4 << 20
    /// Ranges that are fetched at once, and kept in memory until they are read.
    static let window = 3
    /// From so many bytes on, ranges are worth their requests.
    static let parallelSize: Int64 = 16 << 20

    /// Asks for bytes `first…last` of the blob, or for all of it.
    ///
    /// Returns a response with status 200 or 206, throws `CacheError` for any other; sends once, tries are counted here.
    package typealias Fetch = @Sendable (_ range: Range<Int64>?) async throws -> IncomingResponse

    private let size: Int64
    private let fetch: Fetch
    fileprivate let retries: @Sendable () -> Retries

    /// - Parameters:
    ///   - size: Bytes of the whole blob.
    ///   - retries: The tries of one range.
    package init(size: Int64, retries: @escaping @Sendable () -> Retries, fetch: @escaping Fetch) {
        self.size = size
        self.fetch = fetch
        self.retries = retries
    }

    /// Opens the blob, or a part of it; a server that does not have it fails here and not when it is read.
    package func open(_ range: Range<Int64>?) async throws -> BlobStream {
        guard (0...Descriptor.maximumSize).contains(size) else {
            throw CacheError(
                .corrupted, "invalid size of a blob, \(size): expected 0 to \(Descriptor.maximumSize) bytes")
        }
        let wanted = range ?? 0..<size
        guard wanted.lowerBound >= 0, wanted.upperBound <= size else {
            throw CacheError(.corrupted, "bytes \(wanted) of a blob of \(size) were asked for")
        }
        // An empty range has no header that names it.
        guard !wanted.isEmpty else {
            if range == nil { try await first(nil, retries()).0.discard() }
            return BlobStream(ByteBuffer())
        }
        let isLarge = Int64(wanted.count) >= Download.parallelSize
        let start = isLarge ? wanted.lowerBound..<wanted.lowerBound + Download.segmentSize : wanted
        let tries = retries()
        let (response, knowsRanges) = try await first(start == 0..<size ? nil : start, tries)
        if isLarge, knowsRanges {
            return BlobStream(length: Int64(wanted.count)) {
                let segments = Segments(self, wanted, first: SegmentReader(self, start, response, tries))
                return { try await segments.next() }
            }
        }
        return BlobStream(length: Int64(wanted.count)) {
            let reader = SegmentReader(self, wanted, response, tries)
            return { try await reader.next() }
        }
    }

    /// The first response, and whether it has the range and not the whole.
    private func first(_ range: Range<Int64>?, _ retries: Retries) async throws -> (IncomingResponse, Bool) {
        try await retries.retry {
            let response = try await fetch(range)
            return (response, try offset(of: response) != nil)
        }
    }

    /// Where the bytes of a partial response begin; `nil` if it is the whole blob.
    private func offset(of response: IncomingResponse) throws(CacheError) -> Int64? {
        guard response.status.code == 206 else { return nil }
        let text = response.headers.first(name: "Content-Range") ?? ""
        guard text.hasPrefix("bytes "),
            let start = Int64(decimal: text.dropFirst(6).prefix { $0 != "-" }, in: 0...Descriptor.maximumSize)
        else {
            throw CacheError(.corrupted, "\(response.summary) returned a part without saying which")
        }
        return start
    }

    /// Opens what is left of `range` after a break.
    fileprivate func reopen(_ range: Range<Int64>, _ retries: Retries) async throws -> Opened {
        let (response, _) = try await first(range, retries)
        return try opened(response, at: range.lowerBound)
    }

    fileprivate struct Opened {
        var chunks: BlobStream.AsyncIterator
        /// Bytes that come before the wanted ones, from a server that ignores ranges.
        var excess: Int64
        var summary: String
    }

    fileprivate func opened(_ response: IncomingResponse, at position: Int64) throws(CacheError) -> Opened {
        let start = try offset(of: response) ?? 0
        guard start <= position else {
            throw CacheError(
                .corrupted, "\(response.summary) returned bytes from \(start) on instead of \(position)")
        }
        return Opened(
            chunks: response.stream.makeAsyncIterator(), excess: position - start, summary: response.summary)
    }
}

/// Reads one range front to back, over as many connections as it takes.
private actor SegmentReader {
    private let download: Download
    private let retries: Retries
    private let end: Int64
    private var position: Int64
    /// The response that is being read; opened again when there is none.
    private var current: Download.Opened?
    private var response: IncomingResponse?

    init(_ download: Download, _ range: Range<Int64>, _ response: IncomingResponse?, _ retries: Retries) {
        self.download = download
        self.retries = retries
        self.response = response
        position = range.lowerBound
        end = range.upperBound
    }

    func next() async throws -> ByteBuffer? {
        while position < end {
            do {
                if let chunk = try await nextChunk(), chunk.readableBytes > 0 {
                    position += Int64(chunk.readableBytes)
                    retries.madeProgress()
                    if position == end { await finish() }
                    return chunk
                }
            } catch let error as CacheError {
                current = nil
                try await retries.pause(after: error)
            }
        }
        return nil
    }

    /// The bytes up to the end of the range, in the chunks that they came in.
    func collect() async throws -> CircularBuffer<ByteBuffer> {
        var all = CircularBuffer<ByteBuffer>()
        while let chunk = try await next() { all.append(chunk) }
        return all
    }

    /// Takes note of the end, without which the connection would be closed instead of used again.
    private func finish() async {
        guard var opened = current else { return }
        current = nil
        _ = try? await opened.chunks.next(isolation: self)
    }

    private func nextChunk() async throws -> ByteBuffer? {
        var opened: Download.Opened
        if let current {
            opened = current
        } else if let response {
            opened = try download.opened(response, at: position)
        } else {
            opened = try await download.reopen(position..<end, retries)
        }
        response = nil
        current = nil
        guard var chunk = try await opened.chunks.next(isolation: self) else {
            throw CacheError(
                .unavailable, "\(opened.summary): the body ends at byte \(position) instead of \(end)",
                retry: .worthwhile)
        }
        let skipped = min(opened.excess, Int64(chunk.readableBytes))
        opened.excess -= skipped
        chunk.moveReaderIndex(forwardBy: Int(skipped))
        current = opened
        // A server that ignores ranges sends what follows, too.
        return chunk.readSlice(length: Int(min(Int64(chunk.readableBytes), end - position)))
    }
}

/// Fetches the next ranges while the first is read.
private actor Segments {
    private let download: Download
    private let end: Int64
    private var offset: Int64
    /// What was fetched and not read yet: memory is given back chunk by chunk.
    private var ready = CircularBuffer<ByteBuffer>()
    // Tasks of their own, because they go on between two calls of `next`. They end when this is gone.
    private var waiting: [Task<CircularBuffer<ByteBuffer>, any Error>]

    init(_ download: Download, _ range: Range<Int64>, first: SegmentReader) {
        self.download = download
        end = range.upperBound
        offset = range.lowerBound + Download.segmentSize
        waiting = [Task { try await first.collect() }]
    }

    deinit { waiting.forEach { $0.cancel() } }

    func next() async throws -> ByteBuffer? {
        while ready.isEmpty {
            while offset < end, waiting.count < Download.window {
                let range = offset..<min(end, offset + Download.segmentSize)
                offset = range.upperBound
                let reader = SegmentReader(download, range, nil, download.retries())
                waiting.append(Task { try await reader.collect() })
            }
            guard let task = waiting.first else { return nil }
            ready = try await withTaskCancellationHandler {
                try await task.value
            } onCancel: {
                task.cancel()
            }
            waiting.removeFirst()
        }
        return ready.popFirst()
    }
}
